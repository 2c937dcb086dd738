"""The NATS sink: publishes events in cc-backend's line protocol or as documented JSON."""
