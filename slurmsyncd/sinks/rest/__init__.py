"""The REST sink: cc-backend's job API."""
