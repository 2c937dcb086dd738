"""The course of one run: a storm of troubles, then healing, then the account."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.sim import faults
from slurmsyncd.sim.workload import Submission, request
from slurmsyncd.store import open_store
from tests.oracle import verdict
from tests.oracle.troubles import DISK_FULL, STOP_S, Card, decks
from tests.oracle.verdict import Account, Evidence, settle
from tests.oracle.world import POLL_S, SIGHT_S, World, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slurmsyncd.sim.ledger import Obligation

#: For everything to arrive once nothing is wrong any more.
HEALING_S = 90.0
#: What takes longer than this once nothing is wrong is worth a look.
SLOW_S = 15.0
#: Share of the storm at its end without kills, so that a process lives long enough to be measured.
QUIET = 0.4
#: Growth of the resident size that is no leak: caches fill, the allocator keeps what it got.
GROWTH_KIB, MOST_KIB = 12 * 1024, 100 * 1024
RATE = 2.0


@dataclass(slots=True)
class Outcome:
    """
    All that a run came to.

    Attributes:
        problems: Sentences; empty if all is well.
        figures: Printable lines.
    """

    seed: int
    account: Account = field(default_factory=Account)
    problems: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Give everything as text."""
        return "\n".join((f"--- seed {self.seed}", *self.figures, *self.problems))


async def storm(
    root: Path, seed: int, seconds: float, *, release: str = "24.11", level: str = "info"
) -> Outcome:
    """
    Run a storm of at least `seconds`, and until each trouble has struck; then heal everything and settle.

    Args:
        root: Empty directory of ours.
        seed: Of all dice; the course of time is not repeated with them.
    """
    outcome = Outcome(seed)
    world = World(root, seed, release)
    try:
        await world.backend.start()
        await world.proxy.listen()
        world.daemon.configure(level)
        async with anyio.create_task_group() as group:
            group.start_soon(world.daemon.run)
            await _play(world, outcome, seconds)
            await _end(world, outcome)
    finally:
        world.close()
        with anyio.CancelScope(shield=True):
            await world.backend.aclose()
            await world.proxy.refuse()
    return outcome


async def _play(world: World, outcome: Outcome, seconds: float) -> None:
    async with anyio.create_task_group() as life:
        life.start_soon(world.live, RATE)
        await _rage(world, outcome, seconds)
        life.cancel_scope.cancel()
    await _heal(world)
    async with anyio.create_task_group() as life:
        world.hints_lost = 1.0
        life.start_soon(world.live, 0.0)
        await _fresh(world, outcome)
        world.slurm.cancel_all(time.time())
        await _arrive(world, outcome)
        life.cancel_scope.cancel()


async def _rage(world: World, outcome: Outcome, seconds: float) -> None:
    """Deal all decks at once until the time is over and each card has struck."""
    began = time.monotonic()
    with anyio.move_on_after(3 * seconds + 120) as patience:
        async with anyio.create_task_group() as group:
            for name, cards in decks(world).items():
                until = began + seconds * (1 - QUIET * (name == "daemon"))
                group.start_soon(_deal, world, Random(f"{world.seed} {name}"), cards, until)
    if patience.cancelled_caught:
        missing = [card.name for cards in decks(world).values() for card in cards if not world.met[card.name]]
        outcome.problems.append(f"troubles that never struck: {missing}")


async def _deal(world: World, dice: Random, cards: Sequence[Card], until: float) -> None:
    """Deal a deck over and over; what did not strike comes again."""
    deck: list[Card] = []
    while time.monotonic() < until or not all(world.met[card.name] for card in cards):
        if not deck:
            missing = [card for card in cards if not world.met[card.name]]
            deck = dice.sample(cards, len(cards)) if time.monotonic() < until else missing
        await anyio.sleep(_lull_s(until - time.monotonic()))
        card = deck.pop()
        world.met[card.name] += await card.happen(world, dice)
        await anyio.sleep(dice.uniform(0.0, 0.5))


def _lull_s(left_s: float) -> float:
    """Give how long to hold still: a quarter of each minute, so that some runs are seen from start to end."""
    return max(0.0, left_s % 60.0 - 45.0) if left_s > 60.0 else 0.0


async def _heal(world: World) -> None:
    faults.clear_faults(world.root / "slurm")
    world.proxy.fault = None
    world.disk.free()
    world.daemon.signal(signal.SIGCONT)
    with anyio.fail_after(STOP_S):
        await world.daemon.ready.wait()


async def _fresh(world: World, outcome: Outcome) -> None:
    """I10: what starts now, unannounced, is there within two polls, cores, GPUs and all."""
    world.slurm.cancel_all(time.time())  # so that it has not to wait for room
    asked = request(cores=2, gpus=1, gpu_type="a100", duration_s=60.0)
    (job_id,) = world.slurm.submit(Submission((asked,)), time.time())
    await until(lambda: any(run.job_id == job_id for run in world.slurm.ledger()), HEALING_S)
    began = time.monotonic()
    with anyio.move_on_after(HEALING_S):
        while not any(row["job_id"] == job_id for row in await world.backend.rows()):  # noqa: ASYNC110
            await anyio.sleep(0.2)
    took_s = time.monotonic() - began
    outcome.figures.append(f"fresh run there after {took_s:.1f} s (poll {POLL_S} s)")
    if took_s > 2 * POLL_S:
        outcome.problems.append(f"I10: the fresh job {job_id} took {took_s:.1f} s")
        outcome.problems += _log_of(world, job_id)


async def _arrive(world: World, outcome: Outcome) -> None:
    """Wait until everything is there, as far as it can be seen from outside."""
    began = time.monotonic()
    waiting: list[Obligation] = []
    slow: list[Obligation] = []
    with anyio.move_on_after(HEALING_S):
        while True:
            states = {
                (row["job_id"], row["start_time"]): row["job_state"] for row in await world.backend.rows()
            }
            refused = world.daemon.refused
            waiting = [
                run
                for run in world.slurm.ledger()
                if run.end_at is None
                or states.get(key := (run.job_id, run.start_at), "" if key in refused else "running")
                == "running"
            ]
            if not waiting:
                break
            if time.monotonic() - began < SLOW_S:
                slow = waiting
            await anyio.sleep(0.5)
    if time.monotonic() - began > SLOW_S:
        outcome.figures.append(f"slow: {slow}")
        for run in slow[:3]:
            outcome.figures += _log_of(world, run.job_id)
    outcome.figures.append(
        f"all there {time.monotonic() - began:.1f} s after the last end, {len(waiting)} not"
    )


async def _end(world: World, outcome: Outcome) -> None:
    """Stop the daemon, settle the account, and see how the daemon fared."""
    sizes = world.daemon.sizes[:]
    world.daemon.keep = False
    world.daemon.asked_to_end = True
    world.daemon.signal(signal.SIGTERM)
    if not await until(lambda: world.daemon.status is not None, STOP_S) or world.daemon.status:
        outcome.problems.append(f"the daemon ended with status {world.daemon.status}")
        world.daemon.kill()
    refused = _left(world, outcome)
    evidence = Evidence(
        owed=list(world.slurm.ledger()),
        rows=await world.backend.rows(),
        refused=refused,
        passed=world.proxy.passed,
        blind=world.blind,
        unmapped=world.unmapped,
        sight_s=SIGHT_S,
        cluster=world.cluster,
    )
    outcome.account = settle(evidence)
    _tell_findings(world, outcome)
    _tell_figures(world, outcome, sizes)


def _left(world: World, outcome: Outcome) -> dict[verdict.Key, str]:
    """Give what the store has as refused; nothing else may be left in it."""
    opened = open_store(world.disk.path / "state", ["cc"], expected=True)
    if opened.recovered:
        outcome.problems.append(f"the store was {opened.recovered}")
    with contextlib.closing(opened.store) as store:
        for state in ("ready", "parked", "idle"):
            for letter in store.letters("cc", state=state):
                outcome.problems.append(f"left {state}: {letter.key} {letter.step.value} {letter.reason}")
        refused: dict[verdict.Key, str] = {}
        after = 0
        while dead := store.letters("cc", after=after):
            refused |= {(letter.key.job_id, letter.key.start_at): letter.reason for letter in dead}
            after = dead[-1].id
    return refused


def _tell_findings(world: World, outcome: Outcome) -> None:
    for kind, found in outcome.account.findings.items():
        for key, what in found[:5]:
            outcome.problems.append(f"{kind}: job {key[0]} started at {key[1]}: {what}")
            outcome.problems += _story(world, key)
    daemon = world.daemon
    outcome.problems += [f"log: {line}" for line in daemon.bad[:40]]
    if sum(daemon.exits.values()):
        outcome.problems.append(f"the daemon ended by itself: {dict(daemon.exits)}")
        for at, status, lines in daemon.last_words[:5]:
            outcome.problems += [f"    at {at:.1f} with {status}", *(f"    {line}" for line in lines)]
    if world.met["hook failed"]:
        outcome.problems.append("hooks failed")


def _story(world: World, key: verdict.Key) -> list[str]:
    """Tell what the store, the log and the proxy know of a run."""
    with contextlib.closing(open_store(world.disk.path / "state", ["cc"], expected=True).store) as store:
        found = [f"    store: {story}" for story in store.runs_of(key[0])]
    found += _log_of(world, key[0])
    passed = [one for one in world.proxy.passed if one.body["jobId"] == key[0]]
    found += [f"    sent {one.step} at {one.began:.1f} → {one.status}" for one in passed]
    slurm = [run for run in world.slurm.ledger() if run.job_id == key[0]]
    return found + [f"    slurm: {run}" for run in slurm]


def _log_of(world: World, job_id: int) -> list[str]:
    named = f'"job": {job_id},'
    return [f"    log: {line}" for line in world.daemon.lines if named in line][-30:]


def _tell_figures(world: World, outcome: Outcome, sizes: Sequence[tuple[float, int, int]]) -> None:
    account = outcome.account
    counts = {kind: len(found) for kind, found in account.findings.items()}
    outcome.figures += [
        f"runs {account.owed}: delivered {account.delivered}, of these {account.incomplete} without what nobody saw",
        f"refused by the backend's rule {account.refused}, found: {counts or 'nothing'}",
        f"daemon lives {world.daemon.lives}; reached the backend: {dict(verdict.kinds(world.proxy.passed))}",
        f"troubles: {dict(sorted(world.met.items()))}",
        f"wire: {dict(world.proxy.met)}",
    ]
    if not world.met[DISK_FULL]:
        outcome.figures.append("*** NOT RUN ***: disk full (no tmpfs can be mounted here)")
    if not sizes:
        outcome.problems.append("the daemon was never measured")
        return
    settled = next((size for size in sizes if size[0] > min(10.0, sizes[-1][0] / 3)), sizes[0])
    last = sizes[-1]
    outcome.figures.append(
        f"last life {last[0]:.0f} s: RSS {settled[1]} → {last[1]} KiB, descriptors {settled[2]} → {last[2]}"
    )
    course = [size[1] for size in sizes[:: max(1, len(sizes) // 12)]]
    outcome.figures.append(f"RSS in its course: {course} KiB")
    if last[1] > settled[1] + GROWTH_KIB or last[1] > MOST_KIB:
        outcome.problems.append("the daemon's memory grew")
    if last[2] > max(settled[2], sizes[0][2]) + 10:
        outcome.problems.append("the daemon's descriptors grew")
