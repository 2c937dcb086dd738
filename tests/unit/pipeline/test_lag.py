"""The gauge of the event loop's lag."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from slurmsyncd.pipeline.loop_lag import WARN_S, WINDOW_S, LoopLag


def test_p6_the_worst_is_kept_and_the_recent_forgotten() -> None:
    """`max_s` is for ever, `recent_s` for a minute or two, however often it is measured."""
    lag = LoopLag()
    lag.note(0.5, 0.0)
    lag.note(0.1, 1.0)
    assert (lag.max_s, lag.recent_s) == (0.5, 0.5)
    lag.note(0.2, WINDOW_S)
    assert lag.recent_s == 0.5
    lag.note(0.0, 2 * WINDOW_S)
    assert lag.recent_s == 0.2
    lag.note(0.0, 3 * WINDOW_S)
    assert (lag.max_s, lag.recent_s) == (0.5, 0.0)


def test_p6_what_was_measured_before_a_long_silence_is_not_recent() -> None:
    """After a suspension of the host the gauge speaks of what is, not of what was hours ago."""
    lag = LoopLag()
    lag.note(0.5, 0.0)
    lag.note(0.1, 100 * WINDOW_S)
    assert lag.recent_s == 0.1


def test_p6_an_episode_of_stalls_is_said_once_and_its_end_too() -> None:
    """A host that is overloaded for an hour fills no log; the next episode is said again."""
    lag = LoopLag()
    with capture_logs() as said:
        for at in range(10):
            lag.note(WARN_S + at, float(at))
            lag.note(0.0, at + 0.5)
        assert lag.stalling
        lag.note(0.0, 9.0 + WINDOW_S)
        assert not lag.stalling
        lag.note(WARN_S, 10.0 + 2 * WINDOW_S)
    assert [line["event"] for line in said] == ["loop_stalled", "loop_in_time_again", "loop_stalled"]
    assert said[1]["worst_s"] == WARN_S + 9
    assert lag.stalls == 11


def test_s10_what_is_shorter_than_a_stall_is_measured_and_not_said() -> None:
    """Reading much output may hold the loop for a moment: a figure, no news."""
    lag = LoopLag()
    with capture_logs() as said:
        lag.note(WARN_S / 2, 0.0)
    assert not said
    assert (lag.max_s, lag.stalls) == (WARN_S / 2, 0)


@pytest.mark.anyio
async def test_p6_a_task_that_does_not_let_go_of_the_loop_is_noticed() -> None:
    """Whatever the task is busy with, the gauge beside it shows at least most of the time it took."""
    lag = LoopLag()
    with capture_logs() as said:
        async with anyio.create_task_group() as group:
            group.start_soon(lag.run)
            await anyio.lowlevel.checkpoint()  # the gauge sleeps now
            held_until = time.monotonic() + WARN_S + 0.5
            while time.monotonic() < held_until:  # a catastrophic regex, a huge document
                pass
            with anyio.fail_after(30):
                while not lag.stalls:  # noqa: ASYNC110 - it rings no event
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()
    assert lag.max_s >= WARN_S
    assert lag.recent_s == lag.max_s
    assert "loop_stalled" in {line["event"] for line in said}
