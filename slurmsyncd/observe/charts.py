"""Small charts as inline SVG. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 720, 90


def bar_chart(points: Mapping[int, int], *, now: float, hours: int, about: str) -> str:
    """
    Draw how many there were by the minute.

    Args:
        points: Minute (epoch seconds) → how many; minutes that are missing had none.
        now: Right edge (epoch seconds).
        hours: From the left edge to the right one.
        about: What is counted, for those who cannot see it; must be our own text.
    """
    groups = _five_minutes(points, now, hours)
    top = _ceiling(max(groups, default=0))
    width = _WIDTH / max(1, len(groups))
    drawn = "".join(_bar(at * width, width, count / top) for at, count in enumerate(groups) if count)
    words = f"{sum(groups):,} in all, at most {max(groups, default=0):,} in 5 min"
    return _chart(drawn, f"{about}: {words}, in the last {hours} hours", hours, words)


def _five_minutes(points: Mapping[int, int], now: float, hours: int) -> list[int]:
    """Return sums of five minutes each: a bar that is a pixel wide is not seen."""
    minutes = hours * 60
    first = int(now) // 60 * 60 - 60 * (minutes - 1)
    return [
        sum(points.get(first + 60 * (at + inner), 0) for inner in range(5)) for at in range(0, minutes, 5)
    ]


def _chart(drawn: str, label: str, hours: int, words: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 16}" role="img" preserveAspectRatio="none" '
        f'aria-label="{label}">'
        f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" class="axis"/>{drawn}</svg>'
        f'<p class="scale"><span>{hours} h ago</span><span>{words}</span><span>now</span></p>'
    )


def average_chart(
    sums: Mapping[int, int], counts: Mapping[int, int], *, now: float, hours: int, about: str
) -> str:
    """
    Draw an average in seconds by five minutes.

    Args:
        sums: Minute (epoch seconds) → milliseconds of all together.
        counts: Minute → how many they were.
        now: Right edge (epoch seconds).
        hours: From the left edge to the right one.
        about: What is drawn; must be our own text.
    """
    total, number = _five_minutes(sums, now, hours), _five_minutes(counts, now, hours)
    means = [ms / 1000 / count if count else 0.0 for ms, count in zip(total, number, strict=True)]
    top = _ceiling(math.ceil(max(means, default=0.0) * 10)) / 10
    width = _WIDTH / max(1, len(means))
    drawn = "".join(_bar(at * width, width, mean / top) for at, mean in enumerate(means) if mean)
    worst = f"at worst {max(means, default=0.0):,.1f} s in 5 min"
    return _chart(drawn, f"{about}: {worst}", hours, worst)


def _bar(left: float, width: float, part: float) -> str:
    height = max(1.0, part * _HEIGHT)
    return (
        f'<rect x="{left:.1f}" y="{_HEIGHT - height:.1f}" width="{max(1.0, width - 1):.1f}" '
        f'height="{height:.1f}"/>'
    )


def _ceiling(most: int) -> int:
    """Return the next of 1, 2, 5, 10, … so that the scale does not jump with each job."""
    if most < 1:
        return 1
    power: int = 10 ** int(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def sums_by_minute(minutes: Sequence[tuple[int, Mapping[str, int]]], *names: str) -> dict[int, int]:
    """Return the sum of some counts by the minute."""
    return {at: sum(counts.get(name, 0) for name in names) for at, counts in minutes}
