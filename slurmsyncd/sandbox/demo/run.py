"""The demo: runs all parts, shows a line with the progress, and prints the final account."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from slurmsyncd.delivery import REPLACED
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sandbox.demo.environment import COMMIT_S, DemoEnvironment, simulated_cluster, stop_daemon
from slurmsyncd.sandbox.demo.host_slurm import host_cluster
from slurmsyncd.sandbox.demo.reconciliation import Key, Reconciliation, reconcile
from slurmsyncd.store import open_store

if TYPE_CHECKING:
    import argparse
    import subprocess
    from collections.abc import Iterator

    from slurmsyncd.sandbox.slurm.engine import Simulation

#: Before the end of the duration, when what runs is cancelled; and the patience with what then arrives.
WIND_DOWN_S, PATIENCE_S = 10.0, 60.0


def show(args: argparse.Namespace) -> int:
    """Run the demo until a signal or for the duration, and return the exit status."""
    with ExitStack() as stack:
        root = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurmsyncd-demo-")))
        for part in (root, root / "run"):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        return anyio.run(_play, DemoEnvironment(root.resolve()), args)


async def _play(stage: DemoEnvironment, args: argparse.Namespace) -> int:
    seed = random.randrange(2**32) if args.seed is None else args.seed  # noqa: S311 - no secret
    async with AsyncExitStack() as stack:
        simulation = None
        if args.real:
            cluster, bin_dir, conf = await host_cluster(), "", os.environ.get("SLURM_CONF", "")
        else:
            simulation = stack.enter_context(closing(stage.simulation(args.release, seed)))
            cluster, bin_dir, conf = simulated_cluster(simulation.nodes), str(stage.root / "bin"), ""
        backend = await _open_backend(stack, cluster, args.listen, stage)
        stage.write(
            cluster=cluster["name"],
            url=backend.url,
            token=backend.token(),
            bin_dir=bin_dir,
            slurm_conf=conf,
        )
        _say(f"page      {backend.url}/")
        kind = f"simulated {args.release}, --seed {seed}" if simulation else "real"
        _say(f"slurm     {cluster['name']}, {kind}")
        _say(f"daemon    settings {stage.config}, log {stage.log}")
        daemon = stage.start_daemon()
        try:
            act = _DemoRun(stage, backend, daemon, simulation)
            finished = await act.run(args)
        finally:
            status = await stop_daemon(daemon)
        if status:
            _say(f"the daemon ended with status {status}; its log:\n{_tail(stage.log)}")
            return 1
        if not finished:  # interrupted: a last look, so that what has just begun is written down too
            await anyio.run_process(stage.once, check=False)
        return _settle(stage, backend, simulation)


async def _open_backend(
    stack: AsyncExitStack, cluster: dict[str, Any], listen: str, stage: DemoEnvironment
) -> EmbeddedBackend:
    for address in (listen, f"{listen.rpartition(':')[0]}:0"):
        config = BackendConfig(
            clusters=[cluster], listen=address, state=stage.root / "backend", commit_interval=COMMIT_S
        )
        try:
            return await stack.enter_async_context(EmbeddedBackend.open(config))
        except OSError as err:
            if err.errno != errno.EADDRINUSE or address != listen:
                raise
    raise AssertionError("unreachable")


class _DemoRun:
    """A demo between its start and its end."""

    def __init__(
        self,
        stage: DemoEnvironment,
        backend: EmbeddedBackend,
        daemon: subprocess.Popen[bytes],
        simulation: Simulation | None,
    ) -> None:
        self._stage = stage
        self._backend = backend
        self._daemon = daemon
        self._simulation = simulation
        self._began = time.time()

    async def run(self, args: argparse.Namespace) -> bool:
        """Run the demo. Return whether it completed without a signal and without an exit of the daemon."""
        finished = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_signals, group.cancel_scope)
            group.start_soon(self._watch_daemon, group.cancel_scope)
            group.start_soon(self._summarise)
            await self._submit(args.rate, args.duration)
            finished = True
            group.cancel_scope.cancel()
        _end_line()
        return finished

    async def _submit(self, rate: float, duration: float | None) -> None:
        """Submit jobs. With a duration, wait at the end until all runs have arrived."""
        if duration is None:
            await self._live(rate, float("inf"))
            return
        await self._live(rate, self._began + max(duration - WIND_DOWN_S, duration / 2))
        if self._simulation:
            self._simulation.cancel_all(time.time())
            async with anyio.create_task_group() as group:
                group.start_soon(self._live, 0.0, float("inf"))
                with anyio.move_on_after(PATIENCE_S):
                    while not self._arrived():  # noqa: ASYNC110 - another process has to do it
                        await anyio.sleep(0.2)
                group.cancel_scope.cancel()

    async def _live(self, rate: float, until: float) -> None:
        if self._simulation:
            await self._simulation.run(rate, until)
        else:
            await anyio.sleep(until - time.time())

    def _arrived(self) -> bool:
        """Return whether the backend has every run that it accepts: one per job id and day."""
        assert self._simulation is not None
        rows = {(row["job_id"], row["start_time"]): row for row in self._backend.rows()}
        taken = {job_id for job_id, _ in rows}
        for run in self._simulation.ledger():
            row = rows.get((run.job_id, run.start_at))
            if run.end_at is None or (row is None and not (run.restarts and run.job_id in taken)):
                return False
            if row is not None and row["job_state"] == "running":
                return False
        return True

    async def _summarise(self) -> None:
        every_s = 1.0 if sys.stdout.isatty() else 5.0
        while True:
            await anyio.sleep(every_s)
            _line(self._summary())

    def _summary(self) -> str:
        rows = self._backend.rows()
        running = sum(row["job_state"] == "running" for row in rows)
        there = f"backend: {running} running, {len(rows) - running} finished"
        seconds = f"{time.time() - self._began:4.0f} s"
        if self._simulation is None:
            return f"{seconds}  {there}"
        runs = list(self._simulation.ledger())
        active = sum(run.end_at is None for run in runs)
        waiting = self._simulation.waiting()
        return f"{seconds}  Slurm: {waiting} waiting, {active} running, {len(runs) - active} ended; {there}"

    async def _watch_signals(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()

    async def _watch_daemon(self, scope: anyio.CancelScope) -> None:
        while self._daemon.poll() is None:  # noqa: ASYNC110 - a process rings no event
            await anyio.sleep(0.2)
        scope.cancel()


def _settle(stage: DemoEnvironment, backend: EmbeddedBackend, simulation: Simulation | None) -> int:
    """Print the account of all runs, and return the exit status."""
    states = dict(_states(stage))
    if simulation is None:
        rows = backend.rows()
        _say(f"{len(rows)} runs in the backend, {len(states)} waiting or refused")
        return 0
    result: Reconciliation = reconcile(simulation.ledger(), backend.rows(), states)
    for line in result.lines():
        _say(line)
    return 1 if result.lost or result.wrong else 0


def _states(stage: DemoEnvironment) -> Iterator[tuple[Key, tuple[str, str]]]:
    """Yield each run that is undelivered, rejected or removed again, with its (state, reason)."""
    with closing(open_store(stage.root / "state", ["demo"]).store) as store:
        for state in ("dead", "dropped", "ready", "parked", "idle", "done"):
            after, reason = 0, REPLACED if state == "done" else None
            while found := store.list_deliveries("demo", state=state, reason=reason, after=after):
                for delivery in found:
                    yield (delivery.key.job_id, delivery.key.start_at), (state, delivery.reason)
                after = found[-1].id


def _tail(log: Path, lines: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(text: str) -> None:
    """Print the summary: in place on a terminal, otherwise as a new line."""
    if sys.stdout.isatty():
        width = os.get_terminal_size().columns
        sys.stdout.write(f"\r\x1b[K{text[: width - 1]}")
        sys.stdout.flush()
    else:
        _say(text)


def _end_line() -> None:
    if sys.stdout.isatty():
        _say("")
