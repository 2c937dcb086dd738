"""Events to NATS: as line protocol for cc-backend, or as documented JSON for everybody."""
