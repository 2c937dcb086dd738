"""The course of one run: a storm of troubles, then healing, then the account."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.sandbox.slurm import faults
from slurmsyncd.sandbox.slurm.workload import Submission, request
from slurmsyncd.store import open_store
from tests.tools.oracle import verdict
from tests.tools.oracle.troubles import CLOCK_JUMPS, DISK_FULL, STOP_S, Card, decks
from tests.tools.oracle.verdict import Account, Evidence, settle
from tests.tools.oracle.world import SIGHT_S, World, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun
    from tests.tools.oracle.world import Peer

#: For everything to arrive once nothing is wrong any more.
HEALING_S = 150.0
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
        accounts: By sink.
        problems: Sentences; empty if all is well.
        figures: Printable lines.
    """

    seed: int
    accounts: dict[str, Account] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Return everything as text."""
        return "\n".join((f"--- seed {self.seed}", *self.figures, *self.problems))


async def storm(
    root: Path, seed: int, seconds: float, *, release: str = "24.11", level: str = "info", far: bool = False
) -> Outcome:
    """
    Run a storm of at least `seconds`, and until each trouble has struck; then heal everything and settle.

    Args:
        root: Empty directory of ours.
        seed: Of all dice; the course of time is not repeated with them.
        far: With a second backend that is mostly out of reach.
    """
    outcome = Outcome(seed)
    world = World(root, seed, release, far=far)
    try:
        await world.open()
        world.daemon.configure(level)
        async with anyio.create_task_group() as group:
            group.start_soon(world.daemon.run)
            fresh = await _play(world, outcome, seconds)
            await _end(world, outcome)
            _judge_fresh(world, outcome, fresh)
    except Exception:
        print(f"seed {seed}", *(peer.backend.last_words() for peer in world.peers), sep="\n")  # noqa: T201
        raise
    finally:
        await world.aclose()
    return outcome


async def _play(world: World, outcome: Outcome, seconds: float) -> Fresh:
    async with anyio.create_task_group() as life:
        life.start_soon(world.live, RATE)
        await _rage(world, outcome, seconds)
        life.cancel_scope.cancel()
    await _heal(world)
    async with anyio.create_task_group() as life:
        world.hints_lost = 1.0
        life.start_soon(world.live, 0.0)
        fresh = await _fresh(world, outcome)
        world.slurm.cancel_all(time.time())
        await _arrive(world, outcome)
        life.cancel_scope.cancel()
    return fresh


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
    """Return how long to hold still: a quarter of each minute, so that some runs are seen from start to end."""
    return max(0.0, left_s % 60.0 - 45.0) if left_s > 60.0 else 0.0


async def _heal(world: World) -> None:
    faults.clear_faults(world.root / "slurm")
    world.proxy.fault = None
    world.disk.free()
    world.turn_clock(0)
    world.daemon.signal(signal.SIGCONT)
    with anyio.fail_after(STOP_S):
        await world.daemon.ready.wait()


@dataclass(frozen=True)
class Fresh:
    """
    A run that began when all troubles were over.

    Attributes:
        listings: When (epoch seconds) how often the queue had been listed since it began.
        failed: Whether a poll failed meanwhile.
    """

    job_id: int
    listings: list[tuple[float, int]]
    failed: bool


async def _fresh(world: World, outcome: Outcome) -> Fresh:
    """Start a run, unannounced, with cores and GPU, and wait until the backend has it."""
    world.slurm.cancel_all(time.time())  # so that it has not to wait for room
    asked = request(cores=2, gpus=1, gpu_type="a100", duration_s=60.0)
    (job_id,) = world.slurm.submit(Submission((asked,)), time.time())
    await until(lambda: any(run.job_id == job_id for run in world.slurm.ledger()), HEALING_S)
    before, failures, listings = _listings(world), _failures(world), list[tuple[float, int]]()
    with anyio.move_on_after(HEALING_S) as patience:
        while not any(row["job_id"] == job_id for row in await world.backend.rows()):
            listings.append((time.time(), _listings(world) - before))
            await anyio.sleep(0.2)
    if patience.cancelled_caught:
        outcome.problems.append(f"I10: the fresh job {job_id} did not arrive")
        outcome.problems += _log_of(world, job_id)
    return Fresh(job_id, listings, failed=not _failures(world) <= failures)


def _listings(world: World) -> int:
    """Count the polls of the controller so far."""
    return sum(line.startswith("squeue") and " -o " in line for line in world.words())


def _failures(world: World) -> set[str]:
    """Return the lines of the log about failed polls; each has its own time."""
    return {line for line in world.daemon.lines if '"look_failed"' in line}


def _judge_fresh(world: World, outcome: Outcome, fresh: Fresh) -> None:
    """
    I10: what starts unannounced is recorded by the second poll at the latest.

    Polls are counted, not seconds, so a busy machine changes nothing. The delivery after that has its own time.
    """
    with contextlib.closing(open_store(world.disk.path / "state", [world.peers[0].name]).store) as store:
        seen_at = min(
            (story.started_seen_at for story in store.run_histories(fresh.job_id)), default=float("inf")
        )
    count = max((count for at, count in fresh.listings if at < seen_at), default=0)
    outcome.figures.append(
        f"fresh run recorded by poll {count} at the latest" + fresh.failed * ", one failed"
    )
    if count > 2 and not fresh.failed:
        outcome.problems.append(f"I10: the fresh job {fresh.job_id} was recorded after {count} polls")
        outcome.problems += _log_of(world, fresh.job_id)


async def _arrive(world: World, outcome: Outcome) -> None:
    """Wait until everything is there, as far as it can be seen from outside."""
    began = time.monotonic()
    waiting: list[ExpectedRun] = []
    slow: list[ExpectedRun] = []
    with anyio.move_on_after(HEALING_S):
        while True:
            waiting = [run for peer in world.peers for run in await _waiting(world, peer)]
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


async def _waiting(world: World, peer: Peer) -> list[ExpectedRun]:
    """Return the runs that have not ended, or that the backend does not show as ended and should."""
    rows = {(row["job_id"], row["start_time"]): row["job_state"] for row in await peer.backend.rows()}
    latest: dict[int, int] = {}
    for job_id, start_at in rows:
        latest[job_id] = max(latest.get(job_id, 0), start_at)
    found = []
    for run in world.slurm.ledger():
        key = run.job_id, run.start_at
        gone = key in world.daemon.refused[peer.name] or (
            peer.replaces and latest.get(run.job_id, 0) > run.start_at
        )
        if run.end_at is None or rows.get(key, "" if gone else "running") == "running":
            found.append(run)
    return found


async def _end(world: World, outcome: Outcome) -> None:
    """Stop the daemon, settle the account, and see how the daemon fared."""
    sizes = world.daemon.sizes[:]
    world.daemon.keep = False
    world.daemon.asked_to_end = True
    world.daemon.signal(signal.SIGTERM)
    if not await until(lambda: world.daemon.status is not None, STOP_S) or world.daemon.status:
        outcome.problems.append(f"the daemon ended with status {world.daemon.status}")
        world.daemon.kill()
    for peer in world.peers:
        evidence = Evidence(
            owed=list(world.slurm.ledger()),
            rows=await peer.backend.rows(),
            refused=_left(world, peer, outcome),
            passed=peer.proxy.passed,
            blind=world.blind,
            unmapped=world.unmapped,
            sight_s=SIGHT_S,
            cluster=world.cluster,
            replaces=peer.replaces,
            races=peer.races,
        )
        outcome.accounts[peer.name] = settle(evidence)
        _tell_account(world, peer, outcome)
    _tell_daemon(world, outcome)
    _tell_figures(world, outcome)
    _tell_sizes(outcome, sizes)


def _left(world: World, peer: Peer, outcome: Outcome) -> dict[verdict.Key, str]:
    """Return what the store has as rejected or left out; nothing else may be left in it."""
    opened = open_store(world.disk.path / "state", [peer.name])
    if opened.recovered:
        outcome.problems.append(f"the store was {opened.recovered}")
    with contextlib.closing(opened.store) as store:
        for state in ("ready", "parked", "idle"):
            for letter in store.list_deliveries(peer.name, state=state):
                outcome.problems.append(
                    f"{peer.name}: left {state}: {letter.key} {letter.step.value} {letter.reason}"
                )
        refused: dict[verdict.Key, str] = {}
        for state in ("dead", "dropped"):  # what the requeue policy leaves out is dropped
            after = 0
            while found := store.list_deliveries(peer.name, state=state, after=after):
                refused |= {(letter.key.job_id, letter.key.start_at): letter.reason for letter in found}
                after = found[-1].id
    return refused


def _tell_account(world: World, peer: Peer, outcome: Outcome) -> None:
    account = outcome.accounts[peer.name]
    for kind, found in account.findings.items():
        for key, what in found[:5]:
            outcome.problems.append(f"{peer.name}: {kind}: job {key[0]} started at {key[1]}: {what}")
            outcome.problems += _story(world, peer, key)
    counts = {kind: len(account.findings.get(kind, ())) for kind in ("lost", "doubled", "wrong")}
    more = {kind: len(found) for kind, found in account.findings.items() if kind not in counts}
    outcome.figures += [
        f"{peer.name}: runs {account.owed}: delivered {account.delivered}, found {counts | more}",
        f"{peer.name}: refused by rule {account.refused}, replaced by later runs {account.replaced}",
        f"{peer.name}: closed wrongly by the backend itself (R1): {account.victims}",
        f"{peer.name}: {account.incomplete} of the delivered without what nobody saw",
        f"{peer.name}: reached the backend: {dict(verdict.kinds(peer.proxy.passed))}",
    ]
    if not account.delivered:
        outcome.problems.append(f"{peer.name}: nothing was delivered")
    if peer.replaces and not account.replaced:
        outcome.figures.append(f"{peer.name}: no run was replaced")


def _tell_daemon(world: World, outcome: Outcome) -> None:
    daemon = world.daemon
    outcome.problems += [f"log: {line}" for line in daemon.bad[:40]]
    if sum(daemon.exits.values()):
        outcome.problems.append(f"the daemon ended by itself: {dict(daemon.exits)}")
        for at, status, lines in daemon.last_words[:5]:
            outcome.problems += [f"    at {at:.1f} with {status}", *(f"    {line}" for line in lines)]
    if world.met["hook failed"]:
        outcome.problems.append("hooks failed")


def _story(world: World, peer: Peer, key: verdict.Key) -> list[str]:
    """Return what the store, the log and the proxy know of a run."""
    with contextlib.closing(open_store(world.disk.path / "state", [peer.name]).store) as store:
        found = [f"    store: {story}" for story in store.run_histories(key[0])]
    found += _log_of(world, key[0])
    passed = [one for one in peer.proxy.passed if one.body["jobId"] == key[0]]
    found += [f"    sent {one.step} at {one.began:.1f} → {one.status}" for one in passed]
    slurm = [run for run in world.slurm.ledger() if run.job_id == key[0]]
    return found + [f"    slurm: {run}" for run in slurm]


def _log_of(world: World, job_id: int) -> list[str]:
    named = f'"job": {job_id},'
    return [f"    log: {line}" for line in world.daemon.lines if named in line][-30:]


def _tell_figures(world: World, outcome: Outcome) -> None:
    kills = world.met["kill -9"] + 2 * world.met["kill -9 twice"]
    outcome.figures += [
        f"daemon lives {world.daemon.lives}, kills {kills}",
        f"troubles: {dict(sorted(world.met.items()))}",
        f"wire: {dict(world.proxy.met)}",
    ]
    if not world.met[DISK_FULL]:
        outcome.figures.append("*** NOT RUN ***: disk full (no tmpfs can be mounted here)")
    if not world.met[CLOCK_JUMPS]:
        outcome.figures.append("*** NOT RUN ***: clock jumps (no C compiler)")


def _tell_sizes(outcome: Outcome, sizes: Sequence[tuple[float, int, int]]) -> None:
    """Judge the last life, which nothing but its end interrupted."""
    if not sizes:
        outcome.problems.append("the daemon was never measured")
        return
    settled = next((size for size in sizes if size[0] > min(10.0, sizes[-1][0] / 3)), sizes[0])
    last = sizes[-1]
    outcome.figures.append(
        f"last life {last[0]:.0f} s: RSS {settled[1]} → {last[1]} KiB, descriptors {settled[2]} → {last[2]}"
    )
    course = [size[1] for size in sizes[:: max(1, len(sizes) // 12)]]
    slope = slope_per_min([(at, kib) for at, kib, _ in sizes if at >= sizes[-1][0] / 2])
    outcome.figures.append(f"RSS in its course: {course} KiB; slope of its second half {slope:+.0f} KiB/min")
    if last[1] > settled[1] + GROWTH_KIB or last[1] > MOST_KIB:
        outcome.problems.append("the daemon's memory grew")
    if last[2] > max(settled[2], sizes[0][2]) + 10:
        outcome.problems.append("the daemon's descriptors grew")


def slope_per_min(course: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line that fits best through (seconds, value), in value a minute."""
    count = len(course) or 1
    middle_at, middle = (sum(each[axis] for each in course) / count for axis in (0, 1))
    spread = sum((at - middle_at) ** 2 for at, _ in course)
    return 60 * sum((at - middle_at) * (value - middle) for at, value in course) / spread if spread else 0.0
