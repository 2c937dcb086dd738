"""Tell others of runs."""
