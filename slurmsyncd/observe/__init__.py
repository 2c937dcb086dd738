"""What others watch us by: metrics, health, and a page to look at. Reads ``control.status``."""
