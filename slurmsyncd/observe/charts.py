"""Small charts as inline SVG. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 720, 90


def bars(points: Mapping[int, int], *, now: float, hours: int, about: str) -> str:
    """
    Draw how many there were by the minute.

    Args:
        points: Minute (epoch seconds) → how many; minutes that are missing had none.
        now: Right edge (epoch seconds).
        hours: From the left edge to the right one.
        about: What is counted, for those who cannot see it; must be our own text.
    """
    minutes = hours * 60
    first = int(now) // 60 * 60 - 60 * (minutes - 1)
    # Five minutes a bar: one that is a pixel wide is not seen.
    groups = [
        sum(points.get(first + 60 * (at + inner), 0) for inner in range(5)) for at in range(0, minutes, 5)
    ]
    top = _ceiling(max(groups, default=0))
    width = _WIDTH / max(1, len(groups))
    drawn = "".join(_bar(at * width, width, count / top) for at, count in enumerate(groups) if count)
    total, most = sum(groups), max(groups, default=0)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 16}" role="img" preserveAspectRatio="none" '
        f'aria-label="{about}: {total:,} in the last {hours} hours, at most {most:,} in 5 minutes">'
        f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" class="axis"/>{drawn}</svg>'
        f'<p class="scale"><span>{hours} h ago</span><span>{total:,} in all, at most {most:,} in 5 min</span>'
        "<span>now</span></p>"
    )


def _bar(left: float, width: float, part: float) -> str:
    height = max(1.0, part * _HEIGHT)
    return (
        f'<rect x="{left:.1f}" y="{_HEIGHT - height:.1f}" width="{max(1.0, width - 1):.1f}" '
        f'height="{height:.1f}"/>'
    )


def _ceiling(most: int) -> int:
    """Give the next of 1, 2, 5, 10, … so that the scale does not jump with each job."""
    if most < 1:
        return 1
    power: int = 10 ** int(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def in_minutes(minutes: Sequence[tuple[int, Mapping[str, int]]], *names: str) -> dict[int, int]:
    """Give the sum of some counts by the minute."""
    return {at: sum(counts.get(name, 0) for name in names) for at, counts in minutes}
