"""What is made of the parsers: help with examples, manual pages, completion for shells. Pure."""
