"""What is written down: SQLite."""
