"""Relays on a real nats-server, in front of the embedded backend."""
