"""Construction of sinks from their sections of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sinks.rest.sink import RestSink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.config import ClusterConfig, SinkConfig
    from slurmsyncd.ports import Clock, Inventory, Sink


def build_sink(config: SinkConfig, clusters: Mapping[str, ClusterConfig], clock: Clock) -> Sink:
    """
    Build a sink. No connection is opened yet.

    Raises:
        ConfigError: A file that the section names cannot be used.
    """
    if config.type != "nats":
        return RestSink(config, clusters, clock)
    from slurmsyncd.sinks.nats.sink import NatsSink  # noqa: PLC0415 - megabytes that only its users pay

    backend = RestSink(config, clusters, clock) if config.url else None
    return NatsSink(config, clusters, clock, backend=backend)


def build_inventory(sink: Sink) -> Inventory | None:
    """Return the inventory that lists the runs of a sink; None if the sink cannot be audited."""
    if isinstance(sink, RestSink):
        return sink
    found: Inventory | None = getattr(sink, "inventory", None)
    return found


def stop_hold_s(config: SinkConfig) -> float:
    """Return the stop hold in seconds; 0 for JSON, whose readers have no commit interval."""
    return 0.0 if config.type == "nats" and config.format == "json" else config.stop_hold
