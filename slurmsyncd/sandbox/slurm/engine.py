"""The engine of the simulated Slurm: submits, starts, ends and purges jobs as time passes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.sandbox.slurm import hooks, lifecycle, workload
from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun, expected_run
from slurmsyncd.sandbox.slurm.hooks import HookCall
from slurmsyncd.sandbox.slurm.placement import NodePool
from slurmsyncd.sandbox.slurm.state import State

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from slurmsyncd.sandbox.slurm.records import HeldResources, NodeRow, RunRow
    from slurmsyncd.sandbox.slurm.workload import Submission

__all__ = ["ExpectedRun", "HookCall", "Simulation"]

_TICK_S = 0.1
_HOOK_LIMIT_S = 60.0
_PATIENCE_S = 30  # a job that waits longer is not overtaken any more


class Simulation:
    """
    A simulated cluster in a state directory. One process drives it; any number of commands read it.

    Args:
        nodes: None keeps those of the directory, or makes eight.
        min_job_age_s: How long slurmctld remembers what ended (up to 5 s more, as measured).
        requeue_delay_s: How long a requeued job waits; Slurm has 121.
        mean_s: Mean running time of random jobs.
        virtual: The commands take the time of the last tick for the present, so a test can turn the clock.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        cluster: str = "sim",
        shape: str = "24.11",
        nodes: Sequence[NodeRow] | None = None,
        seed: int = 0,
        min_job_age_s: int = 300,
        requeue_delay_s: int = 121,
        mean_s: float = 20.0,
        prolog: Sequence[str] = (),
        epilog: Sequence[str] = (),
        virtual: bool = False,
    ) -> None:
        self.cluster = cluster
        self._shape = shape
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._mean_s = mean_s
        self._min_job_age_s = min_job_age_s
        self._requeue_delay_s = requeue_delay_s
        self._argv = {"prolog": tuple(prolog), "epilog": tuple(epilog)}
        self._virtual = virtual
        self._calls: list[HookCall] = []
        self._unhooked: list[HookCall] = []
        self._state = State(state_dir, create=True)
        self._open(nodes)

    def _open(self, nodes: Sequence[NodeRow] | None) -> None:
        settings = self._state.settings()
        with self._state as state:
            state.set(cluster=self.cluster, min_job_age_s=self._min_job_age_s)
            state.set(boot_at=settings.get("boot_at", time.time()))
            if nodes is not None or not state.nodes():
                state.put_nodes(workload.nodes() if nodes is None else nodes)
            self._nodes = state.nodes()
            self._books = NodePool(self._nodes)
            for run in list(state.runs("WHERE phase != ''")):  # whoever was to end them has gone
                state.put(lifecycle.settled(run))
            for run in state.runs("WHERE start_at > 0 AND end_at = 0"):
                self._books.take(run["alloc"], run["request"])
            self._next_job_id = 1 + _last_id(state)

    @property
    def nodes(self) -> Sequence[NodeRow]:
        """The nodes, in Slurm's order."""
        return self._nodes

    def close(self) -> None:
        """Close the state, which can be opened again."""
        self._state.close()

    def meet(self, clusters: Mapping[str, str | os.PathLike[str]]) -> None:
        """Share a slurmdbd with other clusters: name → state directory of all of them, for ``-M``."""
        places = {name: str(Path(directory).resolve()) for name, directory in clusters.items()}
        with self._state as state:
            state.set(neighbours=json.dumps(places))

    def submit(self, submission: Submission, now: float) -> list[int]:
        """
        Submit a job, an array or a heterogeneous job.

        Returns:
            Its raw job ids; an array has one until its tasks start.
        """
        first = self._next_job_id
        self._next_job_id += len(submission.requests)
        with self._state as state:
            late = float(state.faults().get("late", 0)) + (5.0 if self._shape == "22.05" else 0.0)
            forecast = self._dice.choice((0, 30, 172800))
            for run in lifecycle.submitted(submission, first, now, forecast_s=forecast, late_s=late):
                state.put(run)
        return list(range(first, self._next_job_id))

    def submit_random(self, now: float) -> list[int]:
        """Submit a random job."""
        return self.submit(workload.draw(self._dice, self._nodes, self._mean_s), now)

    def tick(self, now: float) -> list[HookCall]:
        """
        Process everything that is due: ends, requeues, starts, purges.

        Returns:
            The hooks to call; each requires a ``hook_done`` afterwards. Without a hook, its
            phase (CONFIGURING, COMPLETING) ends with the next tick.
        """
        unhooked, self._unhooked = self._unhooked, []
        with self._state as state:
            if self._virtual:
                state.set(now=now)
            self._late_s = float(state.faults().get("late", 0))
            for call in unhooked:
                self._end_phase(call)
            for run in list(state.runs("WHERE next_at <= ? ORDER BY next_at", (now,))):
                self._advance(run, now)
            self._start_waiting(now)
        calls, self._calls = self._calls, []
        self._unhooked = [call for call in calls if not call.argv]
        return [call for call in calls if call.argv]

    def hook_done(self, call: HookCall, now: float, status: int = 0) -> None:
        """Go on after a hook; a prolog that failed has the job requeued, as in Slurm."""
        with self._state as state:
            self._end_phase(call)
            if call.context == "prolog" and status:
                for run in list(state.runs("WHERE id = ? AND end_at = 0", (call.run_id,))):
                    self._requeue(run, run["start_at"] if self._virtual else now)

    def cancel(self, job_id: int, now: float, uid: int = 0) -> None:
        """Cancel a job, waiting or running."""
        with self._state as state:
            for run in list(state.runs("WHERE job_id = ? AND end_at = 0", (job_id,))):
                self._end(run | {"killed_by": uid}, now, "CANCELLED", signal=15 if run["start_at"] else 0)

    def cancel_all(self, now: float) -> None:
        """Cancel everything that waits or runs."""
        with self._state as state:
            for run in list(state.runs("WHERE end_at = 0")):
                self._end(run | {"killed_by": 0}, now, "CANCELLED", signal=15 if run["start_at"] else 0)

    def requeue(self, job_id: int, now: float) -> None:
        """Requeue a running job: this run is over, another will come."""
        with self._state as state:
            for run in list(state.runs("WHERE job_id = ? AND start_at > 0 AND end_at = 0", (job_id,))):
                self._requeue(run, now)

    def take_down(self, node: str, now: float, reason: str) -> None:
        """Let a node fail: what runs there ends as NODE_FAIL, nothing starts there. No reason: up again."""
        self._books.take_down(node, reason)
        with self._state as state:
            state.put_nodes(self._nodes)
            for run in list(state.runs("WHERE start_at > 0 AND end_at = 0")) if reason else ():
                if any(held["node"] == node for held in run["alloc"]):
                    self._end(run, now, "NODE_FAIL")

    def ledger(self) -> Iterator[ExpectedRun]:
        """Return every run that ever started, by start."""
        for run in self._state.runs("WHERE start_at > 0 ORDER BY start_at, job_id"):
            yield expected_run(run, self.cluster)

    def waiting(self) -> int:
        """Count the jobs that wait."""
        return len(self._state.ids("WHERE state = 'PENDING'"))

    async def run(self, rate: float, until: float, max_waiting: int = 100) -> None:
        """
        Run the cluster in real time, and call hooks in parallel as slurmctld does.

        Args:
            rate: Submissions per second, at random moments; 0: none.
            until: End in seconds since the epoch; jobs that run then stay running.
            max_waiting: No job is submitted while more jobs wait.
        """
        due = time.time() if rate else float("inf")
        async with anyio.create_task_group() as group:
            while (now := time.time()) < until:
                while due <= now:
                    due += self._dice.expovariate(rate)
                    if self.waiting() < max_waiting:
                        self.submit_random(now)
                for call in self.tick(now):
                    group.start_soon(self._call, call)
                await anyio.sleep(_TICK_S)

    async def _call(self, call: HookCall) -> None:
        status = 1
        with anyio.move_on_after(_HOOK_LIMIT_S):
            done = await anyio.run_process(
                call.argv, env=call.env, check=False, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
            )
            status = done.returncode
        self.hook_done(call, time.time(), status)

    def _advance(self, run: RunRow, now: float) -> None:
        """Do with one run what is due."""
        if run["end_at"]:
            if not run["phase"]:
                self._state.put(run | {"in_memory": 0, "next_at": None})
        elif run["state"] == "PENDING":
            self._end(run | {"killed_by": 0}, now, "CANCELLED")
        elif run["phase"] != "CONFIGURING":  # the script waits for the prolog
            self._go_on(run, now)

    def _go_on(self, run: RunRow, now: float) -> None:
        asked = run["request"]
        match lifecycle.next_step(run)[1]:
            case "requeue":
                self._requeue(run, now)
            case "suspend":
                self._state.put(lifecycle.suspended(run, now))
            case "resume":
                self._state.put(lifecycle.resumed(run, now))
            case _:
                if asked["outcome"] == "CANCELLED":
                    run |= {"killed_by": asked["uid"]}
                self._end(run, now, asked["outcome"], asked["exit_code"], asked["signal"])

    def _start_waiting(self, now: float) -> None:
        """Start what fits, in order; small jobs overtake until one has waited too long."""
        where = "WHERE state = 'PENDING' AND phase = '' AND eligible_at BETWEEN 1 AND ? ORDER BY id LIMIT 200"
        for run in list(self._state.runs(where, (int(now),))):
            if run["het_offset"]:
                continue  # goes with its leader
            if (
                not self._start(run, now)
                and now - run["eligible_at"] > _PATIENCE_S
                and not run["array_tasks"]
            ):
                return

    def _start(self, run: RunRow, now: float) -> bool:
        if run["array_tasks"]:
            return self._start_tasks(run, now)
        parts = [run]
        if run["het_job_id"]:
            parts = list(
                self._state.runs("WHERE het_job_id = ? AND end_at = 0 ORDER BY job_id", (run["job_id"],))
            )
        placed: list[tuple[RunRow, list[HeldResources]]] = []
        for part in parts:
            alloc = self._books.place(part["request"])
            if alloc is None:
                for other, held in placed:
                    self._books.release(held, other["request"])
                return False
            placed.append((part, alloc))
        for part, alloc in placed:
            self._began(lifecycle.started(part, alloc, now, self._seen_s(0.1)))
        return True

    def _start_tasks(self, run: RunRow, now: float) -> bool:
        """Start tasks of an array; each gets an id of its own, but the last takes the array's."""
        where = "WHERE array_job_id = ? AND start_at > 0 AND end_at = 0"
        active = len(self._state.ids(where, (run["array_job_id"],)))
        while run["array_tasks"] and not (run["array_limit"] and active >= run["array_limit"]):
            alloc = self._books.place(run["request"])
            if alloc is None:
                return False
            task, rest = lifecycle.split(run)
            if rest is not None:
                task["job_id"], self._next_job_id = self._next_job_id, self._next_job_id + 1
                self._state.put(rest)
            self._began(lifecycle.started(task, alloc, now, self._seen_s(0.1)))
            active += 1
            if rest is None:
                return True
            run = rest
        self._state.put(run | {"reason": "JobArrayTaskLimit"})
        return True

    def _began(self, run: RunRow) -> None:
        self._hook("prolog", self._state.put(run))

    def _end(self, run: RunRow, now: float, state: str, code: int = 0, signal: int = 0) -> None:
        purge_at = now + self._min_job_age_s + self._dice.random() * 5.0
        over = lifecycle.ended(run, now, state, (code, signal), purge_at=purge_at, late_s=self._seen_s(0.2))
        self._state.put(over)
        if run["start_at"]:
            self._books.release(run["alloc"], run["request"])
            self._hook("epilog", over)

    def _requeue(self, run: RunRow, now: float) -> None:
        late = self._seen_s(5.0)
        over, again = lifecycle.requeued(run, now, self._requeue_delay_s, self._seen_s(0.2), late)
        self._books.release(run["alloc"], run["request"])
        self._state.put(over)
        self._state.put(again)
        self._hook("epilog", over)

    def _seen_s(self, old_release_s: float) -> float:
        """Return how late slurmdbd learns of a thing: 22.05 takes its time (measured)."""
        return self._late_s + (old_release_s if self._shape == "22.05" else 0.0)

    _late_s = 0.0

    def _hook(self, context: str, run: RunRow) -> None:
        env = hooks.environment(run, context, self._shape, self.cluster)
        self._calls.append(HookCall(run["id"], context, self._argv[context], env))

    def _end_phase(self, call: HookCall) -> None:
        """Take the phase off a run; the epilog of a requeued one frees the run that follows."""
        for run in list(self._state.runs("WHERE id = ?", (call.run_id,))):
            wanted = "CONFIGURING" if call.context == "prolog" else "COMPLETING"
            if run["state"] == "REQUEUED":
                where = "WHERE job_id = ? AND id > ? AND phase = 'COMPLETING' AND start_at = 0"
                for again in list(self._state.runs(where, (run["job_id"], run["id"]))):
                    self._state.put(lifecycle.settled(again))
            elif run["phase"] == wanted:
                self._state.put(lifecycle.settled(run))


def _last_id(state: State) -> int:
    return max((run["job_id"] for run in state.runs("ORDER BY job_id DESC LIMIT 1")), default=0)
