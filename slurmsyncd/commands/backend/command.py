"""``slurmsyncd backend``: run the embedded backend, or write a token for it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.numbers import argument, read_number

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.server import BackendConfig

_DAY_S = 86400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing heavy."""
    parser.description = (
        "A look-alike of cc-backend's job API on SQLite, for demonstrations and tests; it stores no metrics."
        " Its page at / is served on loopback only."
    )
    add = parser.add_argument
    add("--listen", default="127.0.0.1:8080", metavar="ADDRESS", help="host:port or unix:/path (%(default)s)")
    state = Path("slurmsyncd-backend")
    add("--state", type=Path, default=state, metavar="DIR", help="database and key pair (%(default)s)")
    add("--clusters", type=Path, metavar="FILE", help="a cluster.json, or a list of them")
    add(
        "--commit-interval",
        type=argument(lambda text: read_number(text, 0.0, 1e9)),
        default=60.0,
        metavar="S",
        help="of the commit tick (%(default)s)",
    )
    add("--nats", default="", metavar="URL", help="take jobs from this NATS server, and none by REST")
    add("--nats-subject", default="cc.jobs", metavar="NAME", help="of starts and stops (%(default)s)")
    add("--nats-node-subject", default="cc.nodes", metavar="NAME", help="of node states (%(default)s)")
    add("--test-api", action="store_true", help="mount /-/: tick, rows, requests, failures on demand")
    commands = parser.add_subparsers(dest="backend_command", metavar="[token]", title="instead of running")
    _add_token(commands.add_parser("token", help="write a token to standard output or a private file"))


def _add_token(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    # SUPPRESS: a default here would overwrite what was given before the word token.
    add("--state", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="of the backend")
    add("--user", default="slurmsyncd", metavar="NAME", help="whom it stands for (%(default)s)")
    add("--roles", default="api", metavar="LIST", help="comma-separated (%(default)s)")
    add(
        "--days",
        type=argument(lambda text: read_number(text, 0.0, 36500.0)),
        metavar="N",
        help="lifetime; without it the token never expires",
    )
    add("--out", type=Path, metavar="FILE", help="new file, mode 0600")


def run(args: argparse.Namespace) -> int:
    """
    Run the command until SIGINT or SIGTERM, or write a token; gives the exit status.

    Raises:
        SlurmsyncdError: It cannot be done; the message says what to change.
    """
    try:
        return _write_token(args) if args.backend_command == "token" else _serve(args)
    except (OSError, ValueError) as err:
        sys.stderr.write(f"slurmsyncd backend: {err}\n")
        return 1


def _write_token(args: argparse.Namespace) -> int:
    from slurmsyncd.sandbox.backend.tokens import Tokens, write_private  # noqa: PLC0415

    args.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    lifetime_s = None if args.days is None else args.days * _DAY_S
    roles = [role for role in args.roles.split(",") if role]
    token = Tokens.open(args.state).issue(args.user, roles, lifetime_s)
    if args.out:
        write_private(args.out, token.encode() + b"\n")
    else:
        sys.stdout.write(token + "\n")
    return 0


def _serve(args: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415  # heavy, and not needed to show --help

    from slurmsyncd.sandbox.backend.clusters import read_clusters  # noqa: PLC0415
    from slurmsyncd.sandbox.backend.page import is_loopback  # noqa: PLC0415
    from slurmsyncd.sandbox.backend.server import BackendConfig  # noqa: PLC0415

    if args.test_api and not is_loopback(args.listen):
        raise ValueError(f"--test-api lets anybody remove all jobs: not on {args.listen}, use 127.0.0.1")
    config = BackendConfig(
        clusters=read_clusters(args.clusters) if args.clusters else (),
        listen=args.listen,
        state=args.state,
        commit_interval=args.commit_interval or None,
        test_api=args.test_api,
        nats=args.nats,
        job_subject=args.nats_subject,
        node_subject=args.nats_node_subject,
    )
    os.umask(0o077)  # the database holds what users wrote in their jobs
    anyio.run(_until_stopped, config)
    return 0


async def _until_stopped(config: BackendConfig) -> None:
    import anyio  # noqa: PLC0415

    from slurmsyncd.sandbox.backend.server import EmbeddedBackend  # noqa: PLC0415

    async with EmbeddedBackend.open(config) as backend:
        sys.stderr.write(f"slurmsyncd backend: listening on {backend.url}\n")
        if not config.clusters:
            sys.stderr.write("slurmsyncd backend: without --clusters every start is refused\n")
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
