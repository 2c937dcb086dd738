"""What earlier looks left open, and when it is asked again. The clock is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from slurmsyncd.model import Notification

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A hook's hint, or the job id of a run that a plan could not judge yet.
Item = Union[Notification, int]

#: Asked again so often, after 1, 2, 4, … seconds; from then on only the polls ask.
ROUNDS = 6
#: What is due within this is asked along: one question for many.
_TOGETHER_S = 0.5


class Rechecks:
    """
    Items that are still open, each with its own backoff: a busy hour's new ones do not renew the old.

    A hint is dropped after its rounds, since the polls find its job. An id stays for them to ask.
    """

    def __init__(self) -> None:
        self._rounds: dict[Item, int] = {}
        self._due_at: dict[Item, float] = {}

    def __len__(self) -> int:
        return len(self._rounds)

    def add(self, items: Iterable[Item], now: float) -> None:
        """Ask at once; an item that is open already begins anew."""
        for item in items:
            self._rounds[item], self._due_at[item] = 0, now

    def next_at(self) -> float | None:
        """Return when something is due (the clock's seconds), None if nothing is."""
        return min(self._due_at.values(), default=None)

    def take(self, now: float | None) -> frozenset[Item]:
        """Return the items that are due, or all items if ``now`` is None."""
        due = (
            self._rounds if now is None else [i for i, at in self._due_at.items() if at <= now + _TOGETHER_S]
        )
        return frozenset(due)

    def settle(self, asked: Iterable[Item], left: Iterable[Item], now: float) -> None:
        """Keep of what was asked only what is left open, and put it off; take up what is new."""
        left = set(left)
        for item in set(asked) - left:
            self._rounds.pop(item, None)
            self._due_at.pop(item, None)
        for item in left:
            self._put_off(item, now)

    def _put_off(self, item: Item, now: float) -> None:
        rounds = self._rounds.get(item, 0)
        self._rounds[item], self._due_at[item] = rounds + 1, now + 2.0**rounds
        if rounds < ROUNDS:
            return
        del self._due_at[item]
        if isinstance(item, Notification):
            del self._rounds[item]
