"""T9: whatever comes in from outside becomes a value of the right kind within its limits, or the named error."""
