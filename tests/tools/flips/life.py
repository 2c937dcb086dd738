"""The lives of a daemon after a flip, and the account at the end."""

from __future__ import annotations

import shutil
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from slurmsyncd.cli import _leaves
from slurmsyncd.control.health import assess, summary_line
from slurmsyncd.control.status import GetStatus
from slurmsyncd.control.store_requests import GetRunHistories, ListDeliveries
from slurmsyncd.errors import StoreError
from slurmsyncd.store.queries import DeliverySelection
from tests.tools.flips.left import BACK_AT, OVER_AT, leave
from tests.tools.flips.places import NOWHERE, Place, drawing, flip
from tests.tools.flips.world import SINK, Daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from slurmsyncd.control.store_requests import ControlRequest
    from slurmsyncd.model import Job, RunKey
    from slurmsyncd.store import SqliteStore
    from tests.tools.flips.left import Left
    from tests.tools.flips.world import World

T = TypeVar("T")

#: A daemon that ends by itself more often than this never gets anywhere.
RESTARTS = 1
#: When the daemon looks and delivers: once all runs have ended, what was held is due, and then what was parked.
_TIMES = (BACK_AT, OVER_AT, OVER_AT + 200, OVER_AT + 8000)
#: A sink that rejects much is probed with one run at a time, so not all may be told in one round.
_MORE_ROUNDS = 20


@dataclass
class Aftermath:
    """
    What a flip led to.

    Attributes:
        ends: Exit status and last words of each life that ended by itself.
        recovered: Why the store was recovered, as each life found it.
        named: Runs that are dead letters, and should have been told.
        lost: Runs neither told nor named.
        wrong: What the backend has and Slurm never said.
    """

    place: Place = NOWHERE
    ends: list[tuple[int, str]] = field(default_factory=list)
    recovered: list[str | None] = field(default_factory=list)
    named: list[RunKey] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeats: int = 0

    @property
    def loops(self) -> bool:
        return len(self.ends) > RESTARTS

    @property
    def bad(self) -> bool:
        """Whether anything is not as it must be."""
        return bool(self.loops or self.lost or self.wrong or any(status != 74 for status, _ in self.ends))


async def flips(numbers: Iterable[int], seed: int, root: Path) -> AsyncIterator[tuple[int, Aftermath]]:
    """Flip bits, in turn of a store that was stopped, of one that was killed, and of one in use."""
    lefts = [await leave(root / word, killed=word == "killed") for word in ("stopped", "killed")]
    for number in numbers:
        left, in_use = lefts[number % 3 % 2], number % 3 == 2
        yield number, await aftermath(left, drawing(seed, number), root / "scratch", in_use=in_use)


async def aftermath(
    left: Left, draw: Callable[[Path], Place], scratch: Path, *, in_use: bool = False
) -> Aftermath:
    """
    Flip one bit of a copy of what was left, and let the daemon live on it.

    Args:
        draw: Draws the bit.
        in_use: It flips while the daemon runs, which is started again some time later.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(left.directory, scratch)
    world = left.world.copy()
    found = Aftermath()
    times = list(_TIMES)
    if in_use:
        await _try(_live_through_it, scratch, world, times, found, draw=draw)
    else:
        found.place = draw(scratch)
        flip(scratch, found.place)
    while times and not found.loops:
        await _try(_live, scratch, world, times, found)
    found.repeats = world.repeats
    return found


async def _try(
    live: Callable[..., Awaitable[None]],
    directory: Path,
    world: World,
    times: list[int],
    found: Aftermath,
    **more: object,
) -> None:
    try:
        await live(directory, world, times, found, **more)
    except Exception as err:  # noqa: BLE001 - whatever ends the daemon
        found.ends.append(_end(err))


def _end(err: BaseException) -> tuple[int, str]:
    """Return what the command would end with, and the words."""
    leaves = [*_leaves(err)]
    status = 74 if all(isinstance(leaf, StoreError) for leaf in leaves) else 70
    return status, " | ".join("".join(traceback.format_exception_only(leaf)) for leaf in leaves)


async def _live_through_it(
    directory: Path, world: World, times: list[int], found: Aftermath, *, draw: Callable[[Path], Place]
) -> None:
    """Live for two rounds. Between them the bit flips, and SQLite has to read the file again."""
    daemon = Daemon(directory, world)
    with daemon.closing(), daemon.store.examined():
        await daemon.begin()
        await _round(daemon, world, times)
        daemon.store._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        found.place = draw(directory)
        flip(directory, found.place)
        daemon.store._db.rows("PRAGMA shrink_memory")
        await _round(daemon, world, times)


async def _live(directory: Path, world: World, times: list[int], found: Aftermath) -> None:
    """Live until everything has been told; ``times`` is what is left of it for the next life."""
    daemon = Daemon(directory, world)
    with daemon.closing(), daemon.store.examined():
        found.recovered.append(daemon.opened.recovered)
        await daemon.begin()
        _be_asked(daemon.store, world)
        while times:
            await _round(daemon, world, times)
        await _finish(daemon, world)
        _be_asked(daemon.store, world)
        _settle_account(daemon.store, world, found)


async def _finish(daemon: Daemon, world: World) -> None:
    """Deliver until nothing waits."""
    for _ in range(_MORE_ROUNDS):
        if not daemon.store.counts(SINK).states.keys() & {"ready", "parked"}:
            break
        world.clock.at += 8000
        await daemon.deliver()


async def _round(daemon: Daemon, world: World, times: list[int]) -> None:
    world.clock.at = times[0]
    if times[0] > OVER_AT + 200:
        world.unmapped.clear()
    await daemon.look()
    await daemon.deliver()
    await daemon.keep_house()
    times.pop(0)


def _be_asked(store: SqliteStore, world: World) -> None:
    """Answer what operators, the web page and the audit ask, as it goes over the wire."""
    summary_line(assess(_answer(GetStatus(), store)))
    for state in ("ready", "parked", "idle", "dead", "dropped"):
        _answer(ListDeliveries(DeliverySelection(state=state)), store)
    for run in world.runs:
        _answer(GetRunHistories(run.key.job_id), store)
    store.delivery_summaries(SINK, [run.key for run in world.runs])
    for cluster in ("alpha", "beta"):
        list(store.delivered_open_runs(SINK, cluster, world.clock.at))
        list(store.delivered_ended_runs(SINK, cluster, 0.0, world.clock.at))


def _answer(request: ControlRequest[T], store: SqliteStore) -> T:
    answer: T = msgspec.json.decode(msgspec.json.encode(request.run(store)), type=request.response_type)
    return answer


def _settle_account(store: SqliteStore, world: World, found: Aftermath) -> None:
    dead = {letter.key for letter in store.list_deliveries()}
    settled = dead | {letter.key for letter in store.list_deliveries(state="dropped")}
    owed = {run.key: run for run in world.runs}
    for key, run in owed.items():
        start, stop = world.taken.get(key, (None, None))
        if key in dead - world.refused:
            found.named.append(key)
        elif (start is None or stop is None) and key not in settled:
            deliveries = [each for story in store.run_histories(key.job_id) for each in story.deliveries]
            stands = [(each.step.value, each.state) for each in deliveries]
            found.lost.append(f"{run.name}: start {start is not None}, stop {stop is not None}, {stands}")
    found.wrong += [f"{key}" for key, told in world.taken.items() if not _is_right(told, owed.get(key))]


def _is_right(told: tuple[Job, Job | None], owed: Job | None) -> bool:
    start, stop = told
    if owed is None or start.name != owed.name:
        return False
    return stop is None or (stop.end_at, stop.state) == (owed.end_at, owed.state)
