"""When a window of accounting that fails is skipped, and what is read around it."""

from __future__ import annotations

import pytest

from slurmsyncd.model import Gap
from slurmsyncd.planner.gaps import (
    FAILURES,
    FLOOR_S,
    Advice,
    advise,
    around,
    later_windows,
    merged,
    next_window,
    without,
)

NOW = 1_800_000_000


def gap(since: int, until: int, reason: str = "x") -> Gap:
    return Gap(cluster="alpha", since=since, until=until, reason=reason, recorded_at=float(since))


def spans(*gaps: Gap) -> list[tuple[int, int]]:
    return [(each.since, each.until) for each in gaps]


@pytest.mark.parametrize(
    ("failures", "later", "again", "advice"),
    [
        (1, None, None, Advice.WAIT),
        (FAILURES - 1, True, False, Advice.WAIT),
        (FAILURES, None, None, Advice.COMPARE),
        (FAILURES, False, None, Advice.WAIT),  # an outage, a limit that no window meets, hidden jobs
        (FAILURES + 99, False, None, Advice.WAIT),
        (FAILURES, True, None, Advice.REPEAT),
        (FAILURES, True, True, Advice.WAIT),  # the outage ended in between
        (FAILURES, True, False, Advice.SKIP),
    ],
)
def test_s4_a_window_is_skipped_only_if_a_later_one_answers_before_it_fails_again(
    failures: int, later: bool | None, again: bool | None, advice: Advice
) -> None:
    """Nothing else makes a gap, however often the window fails."""
    assert advise(failures, later=later, again=again) is advice


def test_the_next_window_and_the_newest_are_compared() -> None:
    """Where nothing lies behind the window yet, there is nothing to compare."""
    until = NOW - 600
    assert list(later_windows(until, NOW)) == [(until + 1, until + 1 + FLOOR_S), (NOW - FLOOR_S, NOW)]
    assert list(later_windows(NOW - 30, NOW)) == [(NOW - 29, NOW)]
    assert list(later_windows(NOW, NOW)) == []


@pytest.mark.parametrize(
    ("since", "until", "read"),
    [
        (0, 50, (0, 50)),
        (0, 150, (0, 100)),
        (0, 900, (0, 100)),
        (100, 900, (161, 300)),
        (130, 900, (161, 300)),
        (161, 900, (161, 300)),
        (350, 900, (361, 900)),
        (120, 140, (140, 140)),
    ],
)
def test_what_is_read_lies_between_the_gaps(since: int, until: int, read: tuple[int, int]) -> None:
    """A window ends where a gap begins, and begins behind one; within one it is empty."""
    assert around((gap(300, 360), gap(100, 160)), since, until) == read


def test_gaps_that_touch_become_one() -> None:
    """The reason is that of the first; others stay apart."""
    known = (gap(100, 160, "first"),)
    (both,) = merged(known, gap(161, 221, "second"))
    assert (both.since, both.until, both.reason, both.recorded_at) == (100, 221, "first", 100.0)
    assert spans(*merged(known, gap(162, 222))) == [(100, 160), (162, 222)]
    assert spans(*merged((gap(100, 160), gap(200, 260)), gap(161, 199))) == [(100, 260)]


@pytest.mark.parametrize(
    ("since", "until", "left"),
    [
        (100, 160, []),
        (0, 900, []),
        (0, 100, [(100, 160)]),
        (160, 900, [(100, 160)]),
        (100, 130, [(130, 160)]),
        (130, 160, [(100, 130)]),
        (120, 140, [(100, 120), (140, 160)]),
    ],
)
def test_what_has_been_read_is_no_gap_any_more(since: int, until: int, left: list[tuple[int, int]]) -> None:
    """What is left of the gap keeps its reason and time."""
    rest = without((gap(100, 160),), since, until)
    assert spans(*rest) == left
    assert {(each.reason, each.recorded_at) for each in rest} <= {("x", 100.0)}


def test_gaps_are_tried_again_one_window_after_the_other() -> None:
    """The one behind that which failed last, and at the end the first again."""
    gaps = (gap(100, 230), gap(500, 530))
    tried: list[tuple[int, int]] = []
    behind = None
    for _ in range(5):
        window = next_window(gaps, behind)
        assert window is not None
        tried.append(window)
        behind = window[0]
    assert tried == [(100, 160), (160, 220), (220, 230), (500, 530), (100, 160)]
    assert next_window((), None) is None
