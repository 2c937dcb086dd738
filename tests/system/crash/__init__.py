"""Crashes and errors at every system call of a small scripted life of the store."""
