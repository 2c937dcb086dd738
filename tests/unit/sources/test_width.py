"""How wide windows of accounting are, after failures and answers."""

from __future__ import annotations

import pytest

from slurmsyncd.planner.gaps import FLOOR_S
from slurmsyncd.sources.width import MOST_S, PATIENCE, ROWS, Width


def test_s4_each_failure_halves_the_window_down_to_the_floor() -> None:
    """Then nothing makes it narrower."""
    width, seen = Width(900), []
    for _ in range(6):
        seen.append(width.s)
        width.failed(int(width.s))
    assert seen == [900, 450, 225, 112.5, FLOOR_S, FLOOR_S]
    assert width.is_narrowest


@pytest.mark.parametrize("limit_s", [100, 600, 3600, 7200])
def test_s4_a_constant_limit_lets_few_windows_fail(limit_s: int) -> None:
    """Once the width is found one in nine fails, and the windows are as wide as half of the limit."""
    width = Width(3600)
    failed, widths = 0, []
    for n in range(600):
        span = int(width.s)
        if span > limit_s:
            width.failed(span)
            failed += n >= 100
        else:
            width.answered(1, span)
            widths.append(span)
    assert failed <= 500 / (PATIENCE + 1) + 1
    assert all(span >= min(limit_s / 2, limit_s, FLOOR_S) for span in widths[50:])


def test_after_an_outage_windows_get_wide_again() -> None:
    """What failed because nothing answered is no limit."""
    width = Width(3600)
    for _ in range(10):
        width.failed(int(width.s))
    for _ in range(3 * PATIENCE):
        width.answered(0, int(width.s))
    assert width.s == MOST_S


def test_busy_spans_are_read_in_narrow_windows() -> None:
    """A window with more rows than fit narrows the next one, and one with few widens it."""
    width = Width(3600)
    width.answered(10 * ROWS, 3600)
    assert width.s == 180
    width.answered(ROWS // 2, 180)
    assert width.s == 180
    width.answered(ROWS // 5, 180)
    assert width.s == 360
    width.answered(0, 100)
    assert width.s == 360, "it was no whole window"


def test_a_slice_below_the_floor_is_widened_to_it_by_a_failure() -> None:
    """So that a gap is never wider than what was tried."""
    width = Width(20)
    width.failed(20)
    assert width.s == FLOOR_S
