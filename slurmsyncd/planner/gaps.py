"""
Spans of accounting that cannot be read: when one is skipped, and what is read around them. Pure.

A window that fails is halved, down to ``FLOOR_S``. One that still fails may be an outage of slurmdbd, a limit
that no window meets, or hidden jobs: then every window fails, and skipping any would lose its runs. It is a
gap only if a later window answers and this one then fails once more.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.model import Gap

#: Seconds of the narrowest window. A cluster of a million jobs a day ends some 700 of them in it.
FLOOR_S: Final = 60
#: Failures in a row of a window as narrow as that before a later one is read for comparison.
FAILURES: Final = 3


class Advice(enum.Enum):
    """What to do about a window that failed."""

    WAIT = "wait"  # read it again later; the position stands
    COMPARE = "compare"  # read a later window
    REPEAT = "repeat"  # read it once more, since a later one answers
    SKIP = "skip"  # it is a gap


def advise(failures: int, *, later: bool | None = None, again: bool | None = None) -> Advice:
    """
    Return what to do about a window.

    Args:
        failures: How often it has failed in a row at its narrowest.
        later: Whether a later window answered; None if none was read.
        again: Whether it answered after that; None if it was not read again.
    """
    if failures < FAILURES or later is False or again:
        return Advice.WAIT
    if later is None:
        return Advice.COMPARE
    return Advice.REPEAT if again is None else Advice.SKIP


def later_windows(until: int, now: int) -> Iterator[tuple[int, int]]:
    """
    Return the windows to compare with one that ends at ``until``: the next one, and the newest.

    The newest one matters where a longer span fails: each of its windows is then a gap.
    """
    first, newest = until + 1, now - FLOOR_S
    if first < now:
        yield first, min(first + FLOOR_S, now)
    if newest > first:
        yield newest, now


def around(gaps: Iterable[Gap], since: int, until: int) -> tuple[int, int]:
    """Return the first part of a window that no gap covers (epoch seconds, inclusive)."""
    end = until
    for gap in sorted(gaps, key=_by_since):
        if gap.since <= since <= gap.until:
            since = gap.until + 1
        elif since < gap.since:
            end = min(end, gap.since)
    return min(since, until), max(min(since, until), end)


def merged(gaps: Iterable[Gap], new: Gap) -> tuple[Gap, ...]:
    """Return the gaps of a cluster with a new one; those that touch become one, with the first reason."""
    done: list[Gap] = []
    for gap in sorted((*gaps, new), key=_by_since):
        if done and gap.since <= done[-1].until + 1:
            done[-1] = replace(done[-1], until=max(done[-1].until, gap.until))
        else:
            done.append(gap)
    return tuple(done)


def without(gaps: Iterable[Gap], since: int, until: int) -> tuple[Gap, ...]:
    """Return what is left of the gaps of a cluster once a span has been read (epoch seconds, inclusive)."""
    return tuple(rest for gap in gaps for rest in _rest(gap, since, until))


def _rest(gap: Gap, since: int, until: int) -> Iterator[Gap]:
    if until <= gap.since or since >= gap.until:
        yield gap
        return
    if gap.since < since:
        yield replace(gap, until=since)
    if until < gap.until:
        yield replace(gap, since=until)


def next_window(gaps: Iterable[Gap], behind: int | None) -> tuple[int, int] | None:
    """
    Return the window of a gap to try again, None if there is no gap.

    Args:
        gaps: Of one cluster.
        behind: Where the window began that failed last; the one behind it follows, at the end the first.
    """
    windows = [
        (at, min(at + FLOOR_S, gap.until))
        for gap in sorted(gaps, key=_by_since)
        for at in range(gap.since, max(gap.until, gap.since + 1), FLOOR_S)
    ]
    rest = [window for window in windows if behind is None or window[0] > behind]
    return next(iter(rest or windows), None)


def _by_since(gap: Gap) -> int:
    return gap.since
