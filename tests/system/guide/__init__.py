"""The guide for beginners, followed word by word on a fresh machine."""
