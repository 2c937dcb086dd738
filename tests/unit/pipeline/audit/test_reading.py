"""Lists from a backend that misbehaves: bounded, and never taken for whole when they are not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind, RemoteState
from slurmsyncd.model import RunKey
from slurmsyncd.sinks.dialect import V1_5
from slurmsyncd.sinks.rest import listing as running
from tests.unit.sinks.parts import START, error, sink_on, token_file
from tests.unit.sinks.rude import Rude, answer, rude_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from slurmsyncd.sinks.rest.sink import RestSink
    from tests.unit.sinks.rude import Seen

    Behaviour = Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[Rude]:
    async with rude_server() as rude:
        yield rude


@pytest.fixture
async def sink(server: Rude, tmp_path: Path) -> AsyncIterator[RestSink]:
    clusters = {"slurm": ClusterConfig(name="slurm", backend_name="demo")}
    made = sink_on(server.url, token_file(tmp_path / "token"), clusters, dialect=V1_5)
    yield made
    await made.aclose()


def row(
    job_id: int, start_at: int = START, cluster: str = "demo", state: str = "running", **more: Any
) -> Any:
    return {"jobId": job_id, "cluster": cluster, "startTime": start_at, "jobState": state, **more}


def page(*rows: Any) -> str:
    return json.dumps({"jobs": rows, "items": 25, "page": 1})


def pages_of(rows: Sequence[Any]) -> Behaviour:
    """Return an honest backend's pages of these rows."""

    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> bool:
        query = parse_qs(urlsplit(seen.path).query)
        size, number = int(query["items-per-page"][0]), int(query["page"][0])
        shown = rows[(number - 1) * size : number * size]
        return await answer(200, page(*shown))(writer, seen)

    return behave


async def listed(sink: RestSink) -> tuple[Outcome, list[RunKey]]:
    found: list[RunKey] = []

    async def keep(keys: Sequence[RunKey]) -> None:
        found.extend(keys)

    return await sink.list_running("slurm", keep), found


def keys(*job_ids: int) -> list[RunKey]:
    return [RunKey("slurm", job_id, START) for job_id in job_ids]


async def test_runs_are_listed_under_slurms_name_of_the_cluster(server: Rude, sink: RestSink) -> None:
    """The backend is asked by its own; rows of other clusters are not taken, whoever sends them."""
    server.plans["/api/jobs/?"] = [answer(200, page(row(1), row(2, cluster="slurm"), row(3)))]
    outcome, found = await listed(sink)
    assert (outcome.result, found) == (OutcomeKind.ACCEPTED, keys(1, 3))
    query = parse_qs(urlsplit(server.paths()[0]).query)
    assert query == {"state": ["running"], "cluster": ["demo"], "items-per-page": ["2000"], "page": ["1"]}


async def test_f1_a_page_that_is_too_long_is_asked_for_in_halves(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs on many nodes make long rows; every one is listed, once, and no answer is read beyond the limit."""
    monkeypatch.setattr(running, "PAGE", 16)
    monkeypatch.setattr(running, "PAGE_LIMIT", 4096)
    rows = [row(n, resources=["x" * (700 if 20 < n < 40 else 10)]) for n in range(1, 61)]
    server.plans["/api/jobs/?"] = [pages_of(rows)]
    outcome, found = await listed(sink)
    assert (outcome.result, found) == (OutcomeKind.ACCEPTED, keys(*range(1, 61)))


async def test_h16_a_single_row_beyond_the_limit_ends_the_list(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no whole list then, and says so."""
    monkeypatch.setattr(running, "PAGE", 4)
    monkeypatch.setattr(running, "PAGE_LIMIT", 1024)
    server.plans["/api/jobs/?"] = [pages_of([row(1), row(2, resources="x" * 5000), row(3)])]
    outcome, found = await listed(sink)
    assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "too_long")
    assert found == keys(1)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answer(200, "[]"), "wrong_shape"),
        (answer(200, '{"jobs":null}'), "wrong_shape"),
        (answer(200, '{"jobs":[{"jobId":"7"}]}'), "wrong_shape"),
        (answer(200, "<html>"), "wrong_shape"),
        (answer(200, b'{"jobs":[' + b"[" * 100_000), "wrong_shape"),
        (answer(500, error("unreadable archive")), "http_500"),
        (answer(502, "<html>"), "http_502"),
        (answer(401, error("no")), "credentials"),
    ],
)
async def test_what_is_no_list_is_no_list(
    server: Rude, sink: RestSink, behaviour: Behaviour, reason: str
) -> None:
    """Neither the list nor a look-up is taken for empty."""
    server.plans["/api/jobs/?"] = [behaviour]
    outcome, found = await listed(sink)
    assert (outcome.reason, found) == (reason, [])
    there = await sink.find_runs("slurm", START)
    assert isinstance(there, Outcome)
    assert there.reason == reason


async def test_a_backend_that_knows_no_pages_is_found_out(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same page again, or pages without end, are no whole list."""
    monkeypatch.setattr(running, "PAGE", 2)
    server.plans["/api/jobs/?"] = [answer(200, page(row(1), row(2)))]
    assert (await listed(sink))[0].reason == "repeats_itself"
    monkeypatch.setattr(running, "PAGES", 5)
    server.plans["/api/jobs/?"] = [pages_of([row(n) for n in range(1, 100)])]
    assert (await listed(sink))[0].reason == "without_end"


async def test_h16_a_page_with_more_rows_than_were_asked_for_is_refused_whole(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is kept, so a page that fills 16 MiB with short rows costs no memory for long."""
    monkeypatch.setattr(running, "PAGE", 2)
    server.plans["/api/jobs/?"] = [answer(200, page(row(1), row(2), row(3)))]
    outcome, found = await listed(sink)
    assert (outcome.result, outcome.reason, found) == (OutcomeKind.FAILED, "too_many_rows", [])
    there = await sink.find_runs("slurm", START)
    assert isinstance(there, Outcome)
    assert there.reason == "too_many_rows"


async def test_h16_a_list_without_end_ends_at_its_bound(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one second a bounded number of runs is kept, however many pages a backend has."""
    monkeypatch.setattr(running, "PAGE", 10)
    monkeypatch.setattr(running, "AT_ONCE", 50)
    server.plans["/api/jobs/?"] = [pages_of([row(n) for n in range(1, 500)])]
    there = await sink.find_runs("slurm", START)
    assert isinstance(there, Outcome)
    assert (there.reason, len(server.seen)) == ("without_end", 5)
    server.plans["/api/jobs/?"] = [pages_of([row(n) for n in range(1, 50)])]
    assert len(await sink.find_runs("slurm", START)) == 49  # type: ignore[arg-type]


async def test_a_look_up_tells_running_from_ended(server: Rude, sink: RestSink) -> None:
    """Of the wanted second alone, whatever else is sent."""
    rows = (row(1), row(2, state="failed"), row(3, START + 1), row(4, state="suspended"), row(-1), row(2**70))
    server.plans["/api/jobs/?"] = [answer(200, page(*rows))]
    there = await sink.find_runs("slurm", START)
    assert there == {1: RemoteState.RUNNING, 2: RemoteState.ENDED, 4: RemoteState.RUNNING}
