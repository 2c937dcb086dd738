"""From a section of the configuration to the sink that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sinks.rest.sink import RestSink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.config import ClusterConfig, SinkConfig
    from slurmsyncd.ports import Clock, Inventory, Sink


def build_sink(config: SinkConfig, clusters: Mapping[str, ClusterConfig], clock: Clock) -> Sink:
    """
    Make a sink; nothing is asked of it yet.

    Raises:
        ConfigError: A file that it names cannot be used.
    """
    if config.type != "nats":
        return RestSink(config, clusters, clock)
    from slurmsyncd.sinks.nats.sink import NatsSink  # noqa: PLC0415 - megabytes that only its users pay

    backend = RestSink(config, clusters, clock) if config.url else None
    return NatsSink(config, clusters, clock, backend=backend)


def build_inventory(sink: Sink) -> Inventory | None:
    """Return who can list what the sink holds; None: there can be no audit."""
    if isinstance(sink, RestSink):
        return sink
    found: Inventory | None = getattr(sink, "inventory", None)
    return found


def stop_hold_s(config: SinkConfig) -> float:
    """Return how long a stop is held back; JSON's readers have no commit interval to wait for."""
    return 0.0 if config.type == "nats" and config.format == "json" else config.stop_hold
