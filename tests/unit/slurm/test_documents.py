from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError, SourceError, SourceUnavailable
from slurmsyncd.slurm.json_documents import read_records
from tests.unit.slurm.captures import CAPTURES, JOB_DOCUMENTS, records_by_id

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    [
        "22.05.8/ctld-down.squeue--json",
        "22.05.8/ctld-down.sinfo--json",
        "24.11.5/ctld-down.scontrol-show-job--json",
        "26.05.5/ctld-down.scontrol-show-job--json",
    ],
)
def test_s2_a_dead_slurmctld_is_no_empty_cluster(name: str) -> None:
    """Exit code 0 and an empty list are an outage, in each release's way to write it."""
    key = "nodes" if "sinfo" in name else "jobs"
    with pytest.raises(SourceUnavailable):
        read_records((CAPTURES / name).read_bytes(), key)


def test_an_empty_list_that_was_updated_is_an_answer() -> None:
    """A cluster without jobs has no jobs."""
    assert read_records(b'{"jobs": [], "errors": []}', "jobs") == []
    text = (
        b'{"jobs": [], "errors": [], "last_update": {"set": true, "infinite": false, "number": 1795237265}}'
    )
    assert read_records(text, "jobs") == []


@pytest.mark.parametrize("path", JOB_DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_document_is_read(path: Path) -> None:
    """Each release's envelope is understood, whatever its version says."""
    assert len(list(read_records(path.read_bytes(), "jobs"))) == len(records_by_id(path))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        b"\x00\x01\xff",
        b'slurm: warning\n{"jobs": []}',
        b'{"jobs": []}{"jobs": []}',
        b'\xef\xbb\xbf{"jobs": []}',
        b"[1, 2]",
        b"null",
        b'{"jobs": null}',
        b'{"jobs": 7}',
        b'{"nodes": []}',
        b"[" * 100_000,
        b'{"x": ' * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_s8_what_is_no_document_is_refused(text: bytes) -> None:
    """Garbage is refused with its beginning, printable and short, in the message."""
    with pytest.raises(DecodeError) as caught:
        read_records(text, "jobs")
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


def test_s14_numbers_that_are_none_do_not_cost_the_document() -> None:
    """json-c writes NaN and Infinity, which are no JSON."""
    records = read_records(
        b'{"jobs": [{"a": NaN}, {"b": -Infinity, "name": "NaN"}, {"c": [1, NaN ]}]}', "jobs"
    )
    assert [bytes(record) for record in records] == [
        b'{"a": null}',
        b'{"b": null, "name": "NaN"}',
        b'{"c": [1, null ]}',
    ]


def test_s13_an_error_with_invalid_utf8_is_an_error() -> None:
    """What Slurm reports is passed on, with replacement characters."""
    with pytest.raises(SourceUnavailable, match="caf\ufffd"):
        read_records(b'{"jobs": [], "errors": [{"description": "caf\xe9"}]}', "jobs")


def test_s7_a_document_that_is_cut_is_refused_whole() -> None:
    """Wherever the text ends too early, nothing of it is believed."""
    text = (CAPTURES / "24.11.5" / "prolog-running.squeue--json").read_bytes().rstrip()
    for end in range(0, len(text), 211):
        with pytest.raises(DecodeError):
            read_records(text[:end], "jobs")


@pytest.mark.parametrize("path", JOB_DOCUMENTS[::5], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recorded_documents_are_taken_apart(path: Path) -> None:
    """Each release prints its records so that a long document need not be decoded at once."""
    text = path.read_bytes()
    size = max(len(text) // 3, 12_000)
    found = read_records(text, "jobs", portion=size)
    assert isinstance(found, list) is (len(text) <= size or len(records_by_id(path)) == 1)


values = st.recursive(
    st.none() | st.integers(-9, 9) | st.sampled_from(["", '},{"a"', '"jobs":[{"a":', "],", "\n}, {", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
parts = st.fixed_dictionaries({"a": values}, optional={"b": values})
documents = st.builds(
    lambda before, jobs, after, indent: json.dumps({**before, "jobs": jobs, **after}, indent=indent),
    st.dictionaries(st.sampled_from(["meta", "errors"]), st.lists(values, max_size=2), max_size=2),
    st.lists(parts | values, max_size=9) | st.lists(parts, min_size=3, max_size=30),
    st.dictionaries(st.sampled_from(["nodes", "warnings", "errors"]), st.lists(parts, max_size=3)),
    st.sampled_from([None, 0, 2]),
)


@given(documents.map(str.encode), st.integers(1, 200), st.none() | st.integers(0, 2000))
def test_a_document_in_portions_is_the_same_document(text: bytes, portion: int, cut: int | None) -> None:
    """Wherever records seem to meet: each is given once and in order, or all is refused as it would be."""
    text = text[:cut]
    assert _outcome(text, portion) == _outcome(text, len(text))


def _outcome(text: bytes, portion: int) -> Any:
    with suppress(SourceError):
        return [bytes(record) for record in read_records(text, "jobs", portion=portion)]
    return None


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_nothing_else_can_happen(text: bytes) -> None:
    """Any bytes are a document or refused."""
    try:
        read_records(text, "jobs")
    except SourceError:
        return
    assert b"jobs" in text
