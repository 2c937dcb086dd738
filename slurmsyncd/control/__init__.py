"""Requests of operators, answered by the running daemon or, if none is running, from the store."""
