"""``slurmsyncd relay``: chooses stream and backend out of the configuration, and runs until SIGTERM."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.config.nats_rules import TOKEN
from slurmsyncd.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from slurmsyncd.config import Config, SinkConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--from", dest="source", metavar="SINK", help="the NATS sink that fills the stream")
    parser.add_argument("--to", dest="target", metavar="SINK", help="the REST sink that is told")
    parser.add_argument(
        "--consumer", metavar="NAME", help="durable consumer that all relays share (default: relay-SINK)"
    )
    parser.add_argument(
        "--pid-file", type=Path, metavar="FILE", help="default: relay.pid beside daemon.pid_file"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", choices=("auto", "console", "json"))


def run(args: argparse.Namespace, read: Callable[[argparse.Namespace], Config]) -> int:
    """
    Relay until SIGTERM or SIGINT.

    Raises:
        ConfigError: The configuration has no stream or no backend to relay between.
        AlreadyRunning: Another relay holds the PID file.
    """
    import anyio  # noqa: PLC0415 - only the command itself pays for it

    from slurmsyncd.logs import configure_logs  # noqa: PLC0415

    config = read(args)
    source = choose(config, args.source, "nats")
    target = choose(config, args.target, "rest")
    durable = args.consumer or f"relay-{target.name}"
    problems = list(_problems(source, durable))
    if problems:
        raise ConfigError(problems)
    configure_logs(config.daemon.log_level, config.daemon.log_format)
    anyio.run(_serve, config, source, target, durable, args.pid_file)
    return 0


def choose(config: Config, wanted: str | None, kind: str) -> SinkConfig:
    """
    Return the sink of a kind that is wanted, or the only one that there is.

    Raises:
        ConfigError: There is none, or it is not clear which.
    """
    found = {name: sink for name, sink in config.sinks.items() if sink.type == kind}
    if kind == "nats":
        found = {name: sink for name, sink in found.items() if sink.mode == "jetstream"}
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    if wanted in found:
        return found[wanted]
    option, what = ("--from", "of the mode jetstream") if kind == "nats" else ("--to", "of the type rest")
    names = ", ".join(sorted(found)) or "none"
    raise ConfigError([f"sinks: one {what} is wanted, and there are: {names}; choose with {option}"])


def _problems(source: SinkConfig, durable: str) -> list[str]:
    problems = []
    if source.format != "json":
        problems.append(f'sinks.{source.name}.format = "{source.format}": a relay reads json only')
    if not TOKEN.fullmatch(durable):
        problems.append(f"--consumer {durable[:80]!a}: letters, digits, _ and - are wanted")
    return problems


async def _serve(
    config: Config, source: SinkConfig, target: SinkConfig, durable: str, pid: Path | None
) -> None:
    import anyio  # noqa: PLC0415 - only the command itself pays for it

    from slurmsyncd.host.directories import ensure_directory  # noqa: PLC0415
    from slurmsyncd.host.pid_file import pid_file  # noqa: PLC0415
    from slurmsyncd.relay.relay import Relay  # noqa: PLC0415

    daemon = config.daemon
    ensure_directory(daemon.state_dir, key="daemon.state_dir", mode=0o700)
    with (
        pid_file(pid or daemon.pid_file.with_name("relay.pid")),
        anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        await Relay(config, source, target, durable, daemon.state_dir / "relay-dead.jsonl").run(signals)
