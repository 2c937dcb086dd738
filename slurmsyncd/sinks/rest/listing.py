"""Read back what the backend holds: in pages, each bounded in time and bytes, of keys and states only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from slurmsyncd.delivery import Outcome, OutcomeKind, RemoteState
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.model import RunKey
from slurmsyncd.sinks.rest.client import BackendRequest
from slurmsyncd.sinks.rest.responses import BackendResponse, RequestContext, RequestKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from slurmsyncd.sinks.rest.responses import LookupNeeded

    Ask = Callable[
        [RequestContext, BackendRequest], Awaitable[tuple[Outcome | LookupNeeded, BackendResponse | None]]
    ]

#: Rows of one page: some 1 MB of small jobs, some 0.1 s of the backend's time.
PAGE = 2000
#: Bytes of one page that are read. What runs on many nodes has long rows; a page that is cut is halved.
PAGE_LIMIT = 16 * 2**20
#: Pages of one list: four million rows, or fewer where rows are long.
PAGES = 2000
#: Runs of one second that are kept; all tasks of an array may begin in one.
AT_ONCE = 100_000

#: Rows that one list may skip because the backend cannot show them, each found by some 20 requests; and such
#: rows in succession after which the backend is at fault, not a row.
SKIPPED, IN_A_ROW = 16, 3

_INT64 = 2**63 - 1
_NARROWED = frozenset({"too_long", "http_500"})
_NOT_ENDED = frozenset({"running", "suspended", "pending"})


class _Row(msgspec.Struct, gc=False):
    jobId: int  # noqa: N815 - the backend's spelling
    cluster: str
    startTime: int  # noqa: N815 - the backend's spelling
    jobState: str  # noqa: N815 - the backend's spelling
    duration: int = 0


class _Page(msgspec.Struct):
    jobs: list[_Row]


_PAGE: Final = msgspec.json.Decoder(_Page)


class Shown(NamedTuple):
    """
    What a backend shows of a run.

    Attributes:
        state: The backend's word.
        duration: In seconds.
    """

    state: str
    duration: int

    @property
    def running(self) -> bool:
        """Whether the run has not ended there."""
        return self.state in _NOT_ENDED


class Page(NamedTuple):
    """A page in a list, counted from 1."""

    number: int
    size: int

    def halved(self) -> Page:
        """Return the page of half the size that begins with the same row."""
        return Page(2 * self.number - 1, self.size // 2)

    def next(self) -> Page:
        """Return the page behind."""
        return Page(self.number + 1, self.size)

    def behind(self, most: int) -> Page:
        """Return the largest page of at most ``most`` rows that begins behind this one."""
        first, size = self.number * self.size, self.size
        while 2 * size <= most and first % (2 * size) == 0:
            size *= 2
        return Page(first // size + 1, size)


class BackendListing:
    """
    Reads lists from one backend.

    Args:
        ask: Makes one exchange and judges it.
        cluster: Slurm's name.
        backend_cluster: The backend's name of it. Rows of others are left alone.
    """

    def __init__(self, ask: Ask, cluster: str, backend_cluster: str) -> None:
        self._ask = ask
        self._cluster = cluster
        self._backend_cluster = backend_cluster

    async def running(self, each_page: Callable[[Sequence[RunKey]], Awaitable[None]]) -> Outcome:
        """List what runs there; see ``ports.Inventory``."""

        async def take(rows: Mapping[RunKey, RemoteState]) -> None:
            await each_page([key for key, there in rows.items() if there is RemoteState.RUNNING])

        return await self._list({"state": "running"}, take)

    async def presence(self, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        """Return what is there of the runs that began at ``start_at``; see ``ports.Inventory``."""
        found: dict[int, RemoteState] = {}

        async def take(rows: Mapping[RunKey, RemoteState]) -> None:
            found.update({key.job_id: there for key, there in rows.items() if key.start_at == start_at})

        outcome = await self._list({"start-time": f"{start_at}-{start_at}"}, take, most=AT_ONCE)
        return found if outcome.result is OutcomeKind.ACCEPTED else outcome

    async def ended(
        self, first: int, last: int, take: Callable[[Mapping[RunKey, Shown]], object]
    ) -> int | Outcome:
        """
        List the runs that began from ``first`` to ``last`` (epoch seconds, inclusive), page by page.

        A page that answers 500 holds a row that the backend cannot show. It is narrowed to that row, which is
        skipped.

        Returns:
            The number of skipped rows; an Outcome if the list is incomplete for another reason.
        """
        place, skipped, in_a_row = Page(1, PAGE), 0, 0
        for _ in range(PAGES):
            outcome, rows = await self._page({"start-time": f"{first}-{last}"}, place)
            if rows is None and outcome.reason in _NARROWED and place.size > 1:
                place = place.halved()
                continue
            if rows is None:
                skipped, in_a_row = skipped + 1, in_a_row + 1
                if outcome.reason != "http_500" or skipped > SKIPPED or in_a_row > IN_A_ROW:
                    return outcome
                place = place.behind(PAGE)
                continue
            if len(rows) > place.size:
                return _failed("too_many_rows")
            take({key: Shown(row.jobState, row.duration) for key, row in self._keyed(rows)})
            if len(rows) < place.size:
                return skipped
            in_a_row = 0
            place = place.behind(PAGE) if skipped else place.next()
        return _failed("without_end")

    async def _list(
        self,
        query: Mapping[str, str],
        take: Callable[[Mapping[RunKey, RemoteState]], Awaitable[None]],
        *,
        most: int = PAGES * PAGE,
    ) -> Outcome:
        place, count = Page(1, PAGE), 0
        before: list[_Row] = []
        for _ in range(PAGES):
            outcome, rows = await self._page(query, place)
            if outcome.reason == "too_long" and place.size > 1:
                place = place.halved()
                continue
            if rows is None:
                return outcome
            if len(rows) > place.size:
                return _failed("too_many_rows")
            if rows and rows == before:
                return _failed("repeats_itself")
            await take(self._ours(rows))
            if len(rows) < place.size:
                return outcome
            place, before, count = place.next(), rows, count + len(rows)
            if count >= most:
                break
        return _failed("without_end")

    async def _page(self, query: Mapping[str, str], place: Page) -> tuple[Outcome, list[_Row] | None]:
        page = {"items-per-page": place.size, "page": place.number}
        path = f"/api/jobs/?{urlencode({**query, 'cluster': self._backend_cluster, **page})}"
        outcome, answer = await self._ask(
            RequestContext(RequestKind.LOOK_UP), BackendRequest("GET", path, limit=PAGE_LIMIT)
        )
        assert isinstance(outcome, Outcome)
        if outcome.result is not OutcomeKind.ACCEPTED or answer is None:
            return outcome, None
        try:
            return outcome, decode_json(answer.body, _PAGE).jobs
        except MalformedJson:
            return _failed("wrong_shape"), None

    def _ours(self, rows: Sequence[_Row]) -> dict[RunKey, RemoteState]:
        return {
            key: RemoteState.RUNNING if row.jobState in _NOT_ENDED else RemoteState.ENDED
            for key, row in self._keyed(rows)
        }

    def _keyed(self, rows: Sequence[_Row]) -> Iterator[tuple[RunKey, _Row]]:
        """Return the rows that can be runs of the cluster: others may send rows of any kind, too."""
        return (
            (RunKey(self._cluster, row.jobId, row.startTime), row)
            for row in rows
            if row.cluster == self._backend_cluster
            and 0 < row.jobId <= _INT64
            and 0 < row.startTime <= _INT64
        )


def _failed(reason: str) -> Outcome:
    return Outcome(result=OutcomeKind.FAILED, reason=reason)
