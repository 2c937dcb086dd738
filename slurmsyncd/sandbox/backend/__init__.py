"""The embedded backend: a look-alike of cc-backend's job API on SQLite. Usage: see server.py."""
