"""What the daemon needs of the operating system: its files, its manager, its users."""
