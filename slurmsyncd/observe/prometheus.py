"""
Prometheus's text format, which is lines with a name, labels and a number.

Its own library takes along HTTP servers and what these need, 1.5 MB that a daemon has no use for. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class MetricFamily:
    """
    What is measured under one name.

    Args:
        kind: Prometheus's word for it: ``counter``, ``gauge``, ``histogram``, ``summary``.
        name: A counter's ends in ``_total``.
        about: One line.
        labels: Names of what tells the samples apart.
    """

    def __init__(self, kind: str, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self._kind = kind
        self._name = name
        self._about = about
        self._labels = tuple(labels)
        self._samples: list[str] = []

    def add(self, values: Sequence[str], value: float) -> None:
        """Add a sample, with the values of its labels."""
        self._add("", zip(self._labels, values, strict=True), value)

    def add_summary(self, values: Sequence[str], count: float, total: float) -> None:
        """Add how many there were of something, and what they come to."""
        self._add("_count", zip(self._labels, values, strict=True), count)
        self._add("_sum", zip(self._labels, values, strict=True), total)

    def add_histogram(
        self, values: Sequence[str], buckets: Sequence[tuple[str, float]], total: float
    ) -> None:
        """Add a histogram: upper bounds, the last one ``+Inf``, with how many are not above; and the sum."""
        for bound, count in buckets:
            self._add("_bucket", (*zip(self._labels, values, strict=True), ("le", bound)), count)
        self.add_summary(values, buckets[-1][1], total)

    def lines(self) -> Iterator[str]:
        """Return its lines."""
        yield f"# HELP {self._name} {self._about}\n"
        yield f"# TYPE {self._name} {self._kind}\n"
        yield from self._samples

    def _add(self, suffix: str, labels: Iterable[tuple[str, str]], value: float) -> None:
        pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
        told_apart = f"{{{pairs}}}" if pairs else ""
        self._samples.append(f"{self._name}{suffix}{told_apart} {float(value)!r}\n")


def exposition(families: Iterable[MetricFamily]) -> bytes:
    """Return all families as text."""
    return "".join(line for family in families for line in family.lines()).encode("utf-8", "replace")
