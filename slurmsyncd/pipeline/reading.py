"""How far the accounting of a cluster has been read, and from where it is read next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from slurmsyncd.pipeline.rereads import LATE_S, Rereads

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Store

log = structlog.get_logger(__name__)

#: How far back a first start reads accounting again.
FIRST_S = 86400
#: Seconds between two lines about catching up.
PROGRESS_S = 10.0
#: Seconds behind from which a failure of accounting is logged with that, and between two such lines.
STANDS_S, STANDS_EVERY_S = 900, 3600.0


class AccountingProgress:
    """
    The position in one cluster's accounting.

    Args:
        overlap_s: By how much windows overlap.
        span_s: How far back to read at most.
        monotonic: Seconds of a clock that never jumps.

    Attributes:
        position: Where catching up continues (epoch seconds), None if accounting is read from the cursor.
        reached: Whether accounting was read up to the present at least once.
        read_to: Up to where accounting has been read and recorded (epoch seconds), None if it never was.
    """

    def __init__(
        self,
        cluster: str,
        store: Store,
        thread: StoreThread,
        *,
        overlap_s: int,
        span_s: int,
        monotonic: Callable[[], float],
    ) -> None:
        self.position: int | None = None
        self.reached = False
        self.read_to: int | None = None
        self._cluster = cluster
        self._store = store
        self._thread = thread
        self._overlap_s = overlap_s
        self._span_s = span_s
        self._monotonic = monotonic
        self._limited = False
        self._doubted: float | None = None
        self._progress_at: float | None = None
        self._rereads: Rereads | None = None  # until the store is asked
        self._again: float | None = None  # when what is read again was begun
        self._stands_at = float("-inf")

    async def since(self, until: int) -> int:
        """Return from where to read (epoch seconds): the cursor less the overlap, or what is due again."""
        if self.position is not None:
            return self.position
        since = await self._from_cursor(until)
        rereads = await self._begun(since, until)
        now = self._monotonic()
        self._again = now if rereads.is_due(now) else None
        return since if self._again is None else max(min(since, rereads.settled), until - self._span_s)

    async def _begun(self, since: int, until: int) -> Rereads:
        """
        Return what is read again, from the position that the store has.

        Without a position, or with one in the future, more is in doubt than with any: what was read last, and
        a day at least. It is recorded, since the outage may last and the daemon be restarted meanwhile.
        """
        if self._rereads is None:
            settled = await self._thread(self._store.settled_until, self._cluster)
        else:
            settled = self._rereads.settled
        if settled is None or settled > until:
            settled = until - FIRST_S
            if await self._thread(self._store.cursor, self._cluster) is not None:  # no first start
                settled = min(since - LATE_S, settled)
            await self._thread(self._store.settle_until, self._cluster, settled)
            self._rereads = None
        self._rereads = self._rereads or Rereads(settled)
        return self._rereads

    def note(self, *, doubtful: bool, agreed: bool) -> None:
        """Note of a look whether a half of Slurm did not answer, or both did and accounting is read."""
        if self._rereads is None:
            return
        if doubtful:
            self._rereads.doubt()
            self._again = None
        elif agreed:
            self._rereads.agree(self._monotonic())

    def asks(self) -> bool:
        """Return whether slurmctld must be asked how many messages it holds for slurmdbd."""
        return self._rereads is not None and self._again is None and self._rereads.asks(self._monotonic())

    def note_queue(self, queued: int | None) -> None:
        """Note how many messages slurmctld holds for slurmdbd, None if it does not say."""
        if self._rereads is not None:
            self._rereads.note_queue(queued, self._monotonic())

    async def _from_cursor(self, until: int) -> int:
        cursor = self.read_to = await self._thread(self._store.cursor, self._cluster)
        floor, overlap = until - self._span_s, self._overlap_s
        if cursor is None:
            return floor
        if cursor > until + overlap:
            # Some clock was wrong, so the checkpoint does not say what was read: read all that we may.
            log.warning("checkpoint_in_future", cluster=self._cluster, checkpoint=cursor, read_from=floor)
            await self._thread(self._store.set_cursor, self._cluster, floor)
            return floor
        if cursor < floor:
            self._note_limit(cursor, floor)
        return max(min(cursor, until) - overlap, floor)

    async def set_back(self, doubted: float | None) -> None:
        """Set the position back, once, to where accounting became doubtful; see ``Source.doubted_from``."""
        if doubted is None or doubted == self._doubted:
            return
        self._doubted = doubted
        cursor = await self._thread(self._store.cursor, self._cluster)
        if cursor is not None and int(doubted) < cursor:
            await self._thread(self._store.set_cursor, self._cluster, int(doubted))
            self.position = None

    async def advance(self, through: int | None, since: int, until: int) -> None:
        """
        Note how far a window came that has been recorded.

        Args:
            through: Read up to here (epoch seconds); None if there was no answer.
            since: From where.
            until: The present.
        """
        if through is None:
            return
        self.reached = self.reached or through >= until
        self.read_to = through if self.read_to is None else max(self.read_to, through)
        self._stands_at = float("-inf") if through >= until else self._stands_at
        if self._again is not None and through >= until:
            began_at, self._again = self._again, None
            await self._read_again(began_at, until)
        # A source that came no further is left to the next poll.
        self.position = through if since < through < until else None
        self._note_progress(until, caught_up=through >= until)

    async def _read_again(self, began_at: float, until: int) -> None:
        if self._rereads is not None and self._rereads.read(began_at, self._monotonic(), until):
            await self._thread(self._store.settle_until, self._cluster, self._rereads.settled)

    def stands(self, until: int, reason: str) -> None:
        """Log, now and then, how far accounting is behind while it does not answer."""
        if self.read_to is None or until - self.read_to < STANDS_S:
            return
        if (now := self._monotonic()) >= self._stands_at + STANDS_EVERY_S:
            log.warning(
                "accounting_behind", cluster=self._cluster, behind_s=until - self.read_to, reason=reason
            )
            self._stands_at = self._progress_at = now

    def _note_limit(self, cursor: int, floor: int) -> None:
        """Name the span that is left out, once."""
        if not self._limited:
            log.warning(
                "look_back_limited",
                cluster=self._cluster,
                skipped_from=cursor,
                skipped_to=floor,
                remedy=f"slurmsyncd backfill --from {cursor} --to {floor}",
            )
        self._limited = True

    def _note_progress(self, until: int, *, caught_up: bool) -> None:
        """Log a long way to catch up: at its beginning, now and then, and at its end."""
        if caught_up:
            if self._progress_at is not None:
                log.info("caught_up", cluster=self._cluster)
            self._progress_at = None
        elif self.position is None:
            return
        elif self._progress_at is None or self._monotonic() >= self._progress_at + PROGRESS_S:
            self._progress_at = self._monotonic()
            log.info("catching_up", cluster=self._cluster, behind_s=until - self.position)
