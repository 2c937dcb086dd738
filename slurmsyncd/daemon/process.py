"""The process: one daemon at a time, its signals, and a reload that keeps what ran if need be."""

from __future__ import annotations

import gc
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.control.server import control_sockets
from slurmsyncd.daemon.service import ListeningSockets, Service, refused
from slurmsyncd.errors import ConfigError
from slurmsyncd.host.pid_file import pid_file
from slurmsyncd.host.sd_notify import ServiceManager, inherited_sockets
from slurmsyncd.pipeline.minute_counters import MinuteCounters
from slurmsyncd.triggers.hook_sockets import open_hook_sockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.config import Config


async def run_daemon(config: Config, reread: Callable[[], Config]) -> None:
    """
    Run until SIGTERM or SIGINT; SIGHUP reads the configuration again and keeps the old one if it is wrong.

    Args:
        config: To begin with.
        reread: Reads it again.

    Raises:
        AlreadyRunning: Another daemon holds the PID file or the store.
        ConfigError: Something it names cannot be used.
        StoreError: The state on disk cannot be used.
    """
    manager = ServiceManager()
    inherited = inherited_sockets()
    # One receiver for all rounds: a signal that came between two would have its default effect.
    with (
        pid_file(config.daemon.pid_file),
        open_hook_sockets(config.hook, inherited) as hints,
        control_sockets(config.daemon) as control,
        anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals,
    ):
        following: Config | None = config
        rates = MinuteCounters()
        while following is not None:
            config, loops = _build(following, config, manager, rates)
            _spare_what_stays()
            with closing(loops), loops.store.examined():
                following = await loops.run(ListeningSockets(hints=hints, control=control), signals, reread)


async def run_once(config: Config) -> int:
    """
    Look once, send what is due, and tell how it went.

    Returns:
        0: Slurm answered and nothing that is due is left. 75: Slurm or a sink did not do its part.
    """
    with (
        pid_file(config.daemon.pid_file),
        closing(Service(config, ServiceManager({}))) as loops,
        loops.store.examined(),
    ):
        looked = await loops.intake.poll_once()
        sent = await loops.outlet.drain_once()
    return 0 if looked and sent else 75


def _spare_what_stays() -> None:
    """
    Keep the collector off all that is there before the loops run.

    It would look through these 100,000 objects again and again, and therefore waits with a full collection
    until a quarter as many new ones have gathered: megabytes of garbage. What a reload left is let go.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _build(
    wanted: Config, proven: Config, manager: ServiceManager, rates: MinuteCounters
) -> tuple[Config, Service]:
    """Build the loops; what a reload asked for and cannot be had gives way to what ran before."""
    try:
        return wanted, Service(wanted, manager, rates)
    except ConfigError as err:
        if wanted is proven:
            raise
        why = refused(err)
        loops = Service(proven, manager, rates)
        loops.refused = why
        return proven, loops
