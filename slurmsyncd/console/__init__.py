"""What commands share: terminal, parser, options, times."""
