"""When the halves of Slurm are asked while one of them is away, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio.lowlevel
import pytest

from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from tests.fakes import CLUSTER, FakeClock, FakeSlurm, FakeSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurmsyncd.model import Notification, Observation, Plan
    from slurmsyncd.store import SqliteStore
    from tests.unit.pipeline.conftest import CountingThread

pytestmark = pytest.mark.anyio

NEVER = float("inf")
DICE = [lambda: 0.0, lambda: 1.0]


class OverError(Exception):
    """The time of a test is over."""


class Asked(NamedTuple):
    """A look: when (seconds since the beginning), and what of Slurm was asked."""

    at: float
    listing: bool
    accounting: bool


class Turned(FakeSource):
    """
    Slurm, a daemon's clock, and the wait between two looks, which turns the clock.

    Attributes:
        at: Seconds since the beginning.
        looks: What was asked, and when.
        down: From when to when each half does not answer.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        super().__init__(FakeSlurm())
        self.chance = chance
        self.clock = FakeClock(self.slurm.now)
        self.began, self.at = self.clock.at, 0.0
        self.looks: list[Asked] = []
        self.down = {"listing": (NEVER, NEVER), "accounting": (NEVER, NEVER)}
        self.over_at = NEVER

    async def wait(self, at_most_s: float) -> frozenset[Notification]:
        await anyio.lowlevel.checkpoint()
        self.at += at_most_s
        self.clock.at = self.began + self.at
        self.slurm.now = int(self.clock.at)
        if self.at >= self.over_at:
            raise OverError
        return frozenset()

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        self.looks.append(Asked(self.at, listing, accounting))
        self.slurm.listing = None if self._is_down("listing") else tuple
        self.slurm.accounting_up = not self._is_down("accounting")
        return await super().poll(since, until, listing=listing, accounting=accounting)

    def _is_down(self, half: str) -> bool:
        since, until = self.down[half]
        return since <= self.at < until

    async def run(self, store: SqliteStore, thread: CountingThread, poll_s: float, for_s: float) -> None:
        """Have a collector run for some seconds."""
        self.over_at = for_s

        async def recorded(_: Plan) -> None: ...

        collector = Collector(
            self,
            store,
            thread,
            CollectPolicy(poll_s=poll_s, overlap_s=300, max_span_s=3600),
            self.clock,
            recorded=recorded,
            monotonic=lambda: self.at,
            chance=self.chance,
        )
        with pytest.raises(OverError):
            await collector.run(self)


@pytest.fixture(params=DICE)
def turned(request: pytest.FixtureRequest) -> Turned:
    return Turned(request.param)


def _most_within(times: Sequence[float], span_s: float) -> int:
    return max(sum(begin <= at < begin + span_s for at in times) for begin in times)


@pytest.mark.parametrize("halves", [("listing", "accounting"), ("listing",), ("accounting",)])
@pytest.mark.parametrize(("poll_s", "within_10_min"), [(2, 152), (60, 26)])
async def test_s1_s2_a_half_that_is_away_is_asked_ever_more_rarely(
    turned: Turned,
    store: SqliteStore,
    thread: CountingThread,
    halves: Sequence[str],
    poll_s: float,
    within_10_min: int,
) -> None:
    """Never five times in 10 s, and after a minute as often as polls, or each 4 s."""
    turned.down.update(dict.fromkeys(halves, (0, NEVER)))
    await turned.run(store, thread, poll_s, 600)
    for half in halves:
        times = [each.at for each in turned.looks if getattr(each, half)]
        assert _most_within(times, 10) < 5
        assert len(times) <= within_10_min


@pytest.mark.parametrize("half", ["listing", "accounting"])
async def test_a_half_that_answers_is_asked_no_more_often_because_the_other_does_not(
    turned: Turned, store: SqliteStore, thread: CountingThread, half: str
) -> None:
    """What was not answered is asked again, alone."""
    turned.down[half] = (100, 1000)
    await turned.run(store, thread, 60, 3000)
    (well,) = {"listing", "accounting"} - {half}
    times = [each.at for each in turned.looks if getattr(each, well)]
    assert times == pytest.approx([60 * n for n in range(50)])


@pytest.mark.parametrize("halves", [("listing", "accounting"), ("listing",), ("accounting",)])
@pytest.mark.parametrize("length_s", [0.5, 7, 33.3, 59])
async def test_s1_s2_i10_a_brief_outage_is_over_within_5_s_of_its_end(
    turned: Turned,
    store: SqliteStore,
    thread: CountingThread,
    halves: Sequence[str],
    length_s: float,
) -> None:
    """It begins just before a poll, and whatever was away has answered soon after it."""
    end = 600 + length_s
    turned.down.update(dict.fromkeys(halves, (599.9, end)))
    await turned.run(store, thread, 600, end + 5.1)
    for half in halves:
        assert any(end <= each.at <= end + 5 for each in turned.looks if getattr(each, half))


async def test_after_an_outage_both_halves_are_asked_together_again(
    turned: Turned, store: SqliteStore, thread: CountingThread
) -> None:
    """One poll a minute, with both, and nothing in between."""
    turned.down["accounting"], turned.down["listing"] = (50, 500), (200, 300)
    await turned.run(store, thread, 60, 2000)
    later = [each for each in turned.looks if each.at > 600]
    assert all(each.listing and each.accounting for each in later)
    assert [each.at for each in later] == pytest.approx([660 + 60 * n for n in range(len(later))], abs=60)
    assert len(later) >= 22
    assert store.cursor(CLUSTER) == int(turned.began + later[-1].at)
