"""
Whether a rejection concerns one entry or the sink. Pure: no I/O, no clock.

A rejection of one entry is proven by another one that the sink accepts afterwards. Many rejections in
succession, for one reason and with nothing accepted in between, are a failure of the sink.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import NamedTuple

from slurmsyncd.delivery import Standing

#: Different entries rejected in succession, for one reason, after which the sink is suspected.
SUSPECT_AFTER = 5
#: Rejected entries that each acceptance recalls: bad ones alone must not make a good sink suspected.
RECALLED = SUSPECT_AFTER - 1
#: Rejected entries that are remembered. Of a forgotten one the next rejection counts as the first.
REMEMBERED = 10_000


class _Rejection(NamedTuple):
    number: int
    parked: bool


class Rejections:
    """
    What a sink rejected of one step, and what it accepted in between.

    Attempts overlap. An acceptance therefore proves only rejections that were known when its attempt began.
    """

    def __init__(self) -> None:
        self._number = 0
        self._proven = 0
        self._row: dict[int, _Rejection] = {}
        self._reason = ""
        self._waiting: OrderedDict[int, int] = OrderedDict()  # by number, the oldest first
        self._recalled: set[int] = set()

    @property
    def number(self) -> int:
        """The number of rejections so far, to be noted when an attempt begins."""
        return self._number

    @property
    def suspicious(self) -> bool:
        """Whether the sink rejects one entry after the other."""
        return len(self._row) >= SUSPECT_AFTER

    def add(self, id_: int, reason: str, *, final: bool) -> Standing:
        """
        Note a rejection.

        Args:
            id_: Of the entry.
            reason: Of the rejection.
            final: It would make a dead letter; else the entry would be parked.
        """
        self._number += 1
        if reason != self._reason:
            self._row, self._reason = {}, reason
        self._row.setdefault(id_, _Rejection(self._number, parked=not final and not self.suspicious))
        proven = self._waiting.pop(id_, self._number) <= self._proven
        if final or self.suspicious:
            self._wait(id_)
        if self.suspicious:
            return Standing.SUSPECTED
        return Standing.PROVEN if proven else Standing.UNPROVEN

    def accept(self, id_: int, began: int) -> tuple[int, ...]:
        """
        Note an acceptance.

        Args:
            id_: Of the entry.
            began: ``number`` when its attempt began.

        Returns:
            Rejected entries that can be decided again at once: a few, the oldest first.
        """
        self.forget(id_)
        self._proven = max(self._proven, began)
        before, suspected = self._row, self.suspicious
        self._row = {each: found for each, found in before.items() if found.number > began}
        if self.suspicious:
            return ()
        parked = [each for each, found in before.items() if found.parked and suspected]
        return (*parked, *self._recall())

    def forget(self, id_: int) -> None:
        """Remove an entry that is settled."""
        self._row.pop(id_, None)
        self._waiting.pop(id_, None)
        self._recalled.discard(id_)

    def _wait(self, id_: int) -> None:
        self._waiting[id_] = self._number
        self._recalled.discard(id_)
        if len(self._waiting) > REMEMBERED:
            self._recalled.discard(self._waiting.popitem(last=False)[0])

    def _recall(self) -> tuple[int, ...]:
        proven = takewhile(lambda each: each[1] <= self._proven, self._waiting.items())
        again = tuple(islice((id_ for id_, _ in proven if id_ not in self._recalled), RECALLED))
        self._recalled.update(again)
        return again
