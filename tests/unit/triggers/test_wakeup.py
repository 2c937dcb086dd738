"""Many rings, one answer."""

from __future__ import annotations

import anyio
import pytest

from slurmsyncd.model import Notification
from slurmsyncd.triggers.notification_queue import NotificationQueue

pytestmark = pytest.mark.anyio


def hint(job_id: int, *, restarts: int = 0) -> Notification:
    return Notification(cluster="alpha", job_id=job_id, context="prolog", restarts=restarts)


async def test_k3_ten_thousand_hints_are_one_answer() -> None:
    """A flood of hints, repeated ones among them, is answered once, with each hint once."""
    wakeup = NotificationQueue(0.0)
    answers: list[frozenset[Notification]] = []

    async def ring() -> None:  # in one step, as the listener does with a batch
        for number in range(10_000):
            wakeup.put(hint(number % 5_000))

    async with anyio.create_task_group() as group:
        group.start_soon(ring)
        answers.append(await wakeup.wait(30))
        answers.append(await wakeup.wait(0.01))

    assert answers == [frozenset(hint(number) for number in range(5_000)), frozenset()]
    assert wakeup.dropped == 0


async def test_the_delay_counts_from_the_first_ring() -> None:
    """A ring long ago is answered at once, however fresh the last one is."""
    now = 100.0
    wakeup = NotificationQueue(600.0, clock=lambda: now)
    wakeup.put(hint(1))
    now = 3600.0
    wakeup.put(hint(2))
    with anyio.fail_after(20):  # a delay from the last ring on would not have passed by this clock
        assert await wakeup.wait(30) == {hint(1), hint(2)}


async def test_no_ring_is_an_empty_answer() -> None:
    """Without a hint the wait ends with the timer's turn."""
    assert await NotificationQueue(30.0).wait(0.01) == frozenset()


async def test_k3_beyond_the_limit_hints_are_dropped_and_counted() -> None:
    """Memory does not grow with a flood; what is known already is not counted as dropped."""
    wakeup = NotificationQueue(0.0, limit=10)
    for number in range(25):
        wakeup.put(hint(number))
    wakeup.put(hint(3))
    assert await wakeup.wait(1) == {hint(number) for number in range(10)}
    assert wakeup.dropped == 15


async def test_k4_repeated_reordered_and_unknown_hints_are_all_the_same() -> None:
    """Order and repetition of hints leave no trace; the restart count of another run is just another hint."""
    one, other = NotificationQueue(0.0), NotificationQueue(0.0)
    for rung in (hint(1), hint(2), hint(2, restarts=1), hint(1)):
        one.put(rung)
    for rung in (hint(2, restarts=1), hint(1), hint(2)):
        other.put(rung)
    assert await one.wait(1) == await other.wait(1)


async def test_a_cancelled_wait_loses_no_hint() -> None:
    """What came before a cancelled wait is in the next answer."""
    now = 0.0
    wakeup = NotificationQueue(600.0, clock=lambda: now)
    wakeup.put(hint(7))
    with anyio.move_on_after(0.01) as scope:
        await wakeup.wait(30)
    assert scope.cancelled_caught
    now = 600.0
    assert await wakeup.wait(30) == {hint(7)}
