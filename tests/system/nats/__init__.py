"""The NATS sink on Debian's nats-server, and the embedded backend that reads from it."""
