"""What makes us look: hooks and the timer."""
