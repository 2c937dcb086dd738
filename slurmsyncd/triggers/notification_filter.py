"""
Who may ring, how often, and what became of it. Decides; reads no socket.

Every message that came in goes through here, so that the counts are complete and a flood ends here.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.errors import NotificationError
from slurmsyncd.triggers.notification import parse_notification

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slurmsyncd.model import Notification

log = structlog.get_logger(__name__)

#: The place of a uid for hints over TCP, where there is none.
TCP = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationCounts:
    """
    What came in since the start.

    Attributes:
        rejected: By reason: uid, rate, slow, or what ``parse_notification`` says.
        accepted_at: Epoch seconds of the last accepted hint, None before the first.
    """

    received: int = 0
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    accepted_at: float | None = None


@dataclass(slots=True)
class _Bucket:
    """Allowance of one sender: refilled steadily, emptied by one for each message."""

    left: float
    at: float
    complained_at: float = float("-inf")


class NotificationFilter:
    """
    Lets hints through to ``on_hint``.

    Args:
        on_hint: Called for each accepted hint, in the event loop's thread.
        uids: Senders on the UNIX socket whose hints count.
        secret: What hints over TCP must carry; without it none is accepted.
        per_second: Messages of one sender (or of all TCP together) that are looked at, on average.
        burst: How many of them at once. A whole array starting is no flood.
    """

    def __init__(
        self,
        on_hint: Callable[[Notification], None],
        *,
        uids: frozenset[int],
        secret: str = "",
        per_second: float = 1000.0,
        burst: float = 20_000.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_hint = on_hint
        self._uids = uids
        self._secret = secret
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[int, _Bucket] = {}
        self._received = 0
        self._accepted = 0
        self._accepted_at: float | None = None
        self._refused: Counter[str] = Counter()

    def counts(self) -> NotificationCounts:
        """Return a copy of the counts."""
        return NotificationCounts(
            received=self._received,
            accepted=self._accepted,
            rejected=dict(self._refused),
            accepted_at=self._accepted_at,
        )

    def admit_local(self, data: bytes, uid: int) -> None:
        """Judge a datagram by its sender, as the kernel says it."""
        if uid in self._uids:
            self._admit(data, uid, secret="")
        else:
            self.reject("uid", uid)

    def admit_remote(self, data: bytes) -> None:
        """Judge what a TCP connection carried, by its secret."""
        if self._secret:
            self._admit(data, TCP, secret=self._secret)
        else:
            self.reject("secret", TCP)

    def _admit(self, data: bytes, sender: int, *, secret: str) -> None:
        if not self._allowed(sender):
            self.reject("rate", sender)
            return
        try:
            hint = parse_notification(data, secret=secret)
        except NotificationError as err:
            self.reject(str(err), sender)
            return
        self._received += 1
        self._accepted += 1
        self._accepted_at = time.time()
        self._on_hint(hint)

    def reject(self, reason: str, sender: int) -> None:
        """Count a message that does not get through; say so at most once a minute for each sender."""
        self._received += 1
        self._refused[reason] += 1
        bucket = self._bucket(sender)
        if self._clock() - bucket.complained_at >= 60.0:
            bucket.complained_at = self._clock()
            log.warning("hint_refused", reason=reason, uid="tcp" if sender == TCP else sender)

    def _allowed(self, sender: int) -> bool:
        bucket, now = self._bucket(sender), self._clock()
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left < 1.0:
            return False
        bucket.left -= 1.0
        return True

    def _bucket(self, sender: int) -> _Bucket:
        # Strangers share one: a uid is cheap to have in a user namespace, a dictionary of them is not.
        key = sender if sender in self._uids or sender == TCP else TCP - 1
        return self._buckets.setdefault(key, _Bucket(self._burst, self._clock()))
