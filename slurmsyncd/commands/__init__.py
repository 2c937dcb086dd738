"""The commands: `command` declares arguments and imports nothing heavy, `run` works, `view` prints."""
