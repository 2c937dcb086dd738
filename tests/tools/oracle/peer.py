"""The embedded backend as a process of its own: `python -m tests.tools.oracle.peer STATE CLUSTERS PORT COMMIT_S`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio

from slurmsyncd.sandbox.backend.clusters import read_clusters
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend

#: Few, so that a slow archive blocks stops, and then starts, as a busy one of a site does.
ARCHIVE_QUEUE = 4


async def main(state: str, clusters: str, port: str, commit_s: str) -> None:
    """Run until SIGTERM."""
    config = BackendConfig(
        clusters=read_clusters(Path(clusters)),
        listen=f"127.0.0.1:{port}",
        state=Path(state),
        commit_interval=float(commit_s),
        archive_queue=ARCHIVE_QUEUE,
        test_api=True,
    )
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with EmbeddedBackend.open(config):
            async for _ in signals:
                break


if __name__ == "__main__":
    STATE, CLUSTERS, PORT, COMMIT = sys.argv[1:]
    anyio.run(main, STATE, CLUSTERS, PORT, COMMIT)
