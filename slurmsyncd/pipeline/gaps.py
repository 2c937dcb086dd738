"""Spans of one cluster's accounting that cannot be read: found, left out, and tried again now and then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Gap, Observation
from slurmsyncd.planner.gaps import FLOOR_S, Advice, advise, around, later_windows, next_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.model import Plan
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Source, Store

log = structlog.get_logger(__name__)

#: Seconds between two rounds of trying gaps again. A round ends with the first window that fails.
RETRY_S: Final = 3600.0


class Gaps:
    """
    The gaps of one cluster.

    Args:
        monotonic: Seconds of a clock that never jumps.
    """

    def __init__(
        self, source: Source, store: Store, thread: StoreThread, monotonic: Callable[[], float]
    ) -> None:
        self._source = source
        self._store = store
        self._thread = thread
        self._monotonic = monotonic
        self._known: tuple[Gap, ...] = ()
        self._failing: tuple[int, int] = (-1, 0)  # where the narrowest window fails, and how often in a row
        self._retry_at = float("-inf")
        self._behind: int | None = None

    @property
    def is_due(self) -> bool:
        """Whether a gap is to be tried again now."""
        return bool(self._known) and self._monotonic() >= self._retry_at

    async def around(self, since: int, until: int) -> tuple[int, int]:
        """Return the first part of a window that no gap covers (epoch seconds, inclusive)."""
        self._known = await self._thread(self._store.gaps, self._source.cluster)
        return around(self._known, since, until)

    async def observe(
        self, since: int, until: int, *, now: int, listing: bool, accounting: bool
    ) -> Observation:
        """
        Look at the cluster. Where accounting fails for this window alone, the observation has a gap.

        Args:
            since: First second of accounting.
            until: Last second of it.
            now: The present (epoch seconds).
            listing: Ask the controller.
            accounting: Ask accounting.
        """
        is_narrow = is_narrowest(self._source, since, until)
        seen = await observe(self._source, since, until, listing=listing, accounting=accounting)
        if not accounting or seen.accounting_read_until is not None or seen.disk_full or not is_narrow:
            return seen
        failures = self._failing[1] + 1 if self._failing[0] == since else 1
        self._failing = since, failures
        window = since, min(since + FLOOR_S, until)
        again = await examine(self._source, window, now, failures)
        return seen if again is None else _with_accounting(seen, again)

    def try_next(self) -> tuple[int, int] | None:
        """Return the window of a gap to try now, None if there is none."""
        return next_window(self._known, self._behind)

    def tried(self, since: int, *, filled: bool) -> None:
        """Note whether a window of a gap was filled; if not, the round is over."""
        if filled:
            return
        self._behind = since
        self._retry_at = self._monotonic() + RETRY_S

    async def recorded(self, plan: Plan) -> None:
        """Follow a plan that is on the disk."""
        if plan.gap is not None:
            self._retry_at = max(self._retry_at, self._monotonic() + RETRY_S)
            _log_gap(plan.gap)
        if plan.filled is not None:
            since, until = plan.filled
            log.info("accounting_gap_closed", cluster=plan.cluster, since=since, until=until)
            self._known = await self._thread(self._store.gaps, plan.cluster)


async def observe(
    source: Source, since: int, until: int, *, listing: bool = False, accounting: bool = True
) -> Observation:
    """Look at a cluster; what does not answer is missing from the observation."""
    try:
        return await source.poll(since, until, listing=listing, accounting=accounting)
    except SourceUnavailable as err:
        return Observation(
            cluster=source.cluster, observed_at=until, errors=(str(err),), disk_full=err.disk_full
        )


def is_narrowest(source: Source, since: int, until: int) -> bool:
    """Return whether a failing window cannot be made narrower."""
    return source.is_narrowest or until - since <= FLOOR_S


async def examine(source: Source, window: tuple[int, int], now: int, failures: int) -> Observation | None:
    """
    Find out why the narrowest window fails.

    Args:
        source: The cluster.
        window: Its first and last second (epoch seconds).
        now: The present.
        failures: How often it has failed in a row.

    Returns:
        What the window shows now, or its gap; None if it has to be read again later.
    """
    if advise(failures) is Advice.WAIT:
        return None
    later = False
    for since, until in later_windows(window[1], now):
        later = later or (await observe(source, since, until)).accounting_read_until is not None
    if advise(failures, later=later) is Advice.WAIT:
        return None
    seen = await observe(source, *window)
    if seen.disk_full:  # no fault of the window
        return None
    if advise(failures, later=later, again=seen.accounting_read_until is not None) is Advice.WAIT:
        return seen
    gap = Gap(
        cluster=source.cluster,
        since=window[0],
        until=window[1],
        reason="; ".join(seen.errors),
        recorded_at=float(now),
    )
    return replace(seen, accounting_read_until=gap.until, errors=(), gap=gap)


def _with_accounting(seen: Observation, again: Observation) -> Observation:
    """Return an observation with the accounting of another one."""
    return replace(
        seen,
        ended_runs=again.ended_runs,
        accounting_read_until=again.accounting_read_until,
        never_started=again.never_started,
        records_skipped=seen.records_skipped + again.records_skipped,
        errors=again.errors,
        disk_full=again.disk_full,
        gap=again.gap,
    )


def _log_gap(gap: Gap) -> None:
    log.warning(
        "accounting_gap",
        cluster=gap.cluster,
        since=gap.since,
        until=gap.until,
        reason=gap.reason,
        remedy=f"slurmsyncd verify --repair --since {gap.since}",
    )
