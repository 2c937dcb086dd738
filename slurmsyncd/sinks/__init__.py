"""Sinks: deliver run events to REST backends and NATS."""
