"""The commands of an operator: they ask the running daemon, or the store where none runs."""
