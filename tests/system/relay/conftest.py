"""The same server that the NATS sink is tested on."""

from tests.system.nats.conftest import nats_package, server

__all__ = ["nats_package", "server"]
