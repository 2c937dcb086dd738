"""The output of a command as a file, which is read like the bytes in it."""

from __future__ import annotations

import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.slurm.json_documents import PORTION, read_records
from slurmsyncd.sources.output import FileText


def file_text(data: bytes) -> FileText:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        return FileText(os.dup(file.fileno()), len(data))


@given(st.binary(max_size=40), st.integers(-50, 50), st.integers(-50, 50) | st.none())
def test_slices_are_those_of_the_bytes(data: bytes, start: int, stop: int | None) -> None:
    """Each slice of the file is the slice of its bytes."""
    text = file_text(data)
    assert len(text) == len(data)
    assert text[start:stop] == data[start:stop]
    text.close()


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"ab", b"abc", b"."]), st.integers(0, 9000)), max_size=6),
    st.sampled_from([b"a", b"ab", b"abc", b"bc.", b"c.."]),
    st.integers(0, 20_000),
)
def test_finds_what_the_bytes_hold(parts: list[tuple[bytes, int]], sub: bytes, start: int) -> None:
    """What lies across two windows is found, too, and nothing before the start."""
    data = b"".join(part + b"." * gap for part, gap in parts)
    text = file_text(data)
    assert text.find(sub, start) == data.find(sub, start)
    text.close()


@pytest.mark.parametrize("first", ["job_id", "other"])
def test_a_document_is_read_from_its_file(first: str) -> None:
    """Records are the same whether the document can be taken apart in portions or not."""
    records = [{first if not number else "job_id": number, "name": "x" * 1000} for number in range(1500)]
    text = file_text(json.dumps({"jobs": records}).encode())
    assert len(text) > PORTION
    assert [json.loads(bytes(record)) for record in read_records(text, "jobs")] == records
    text.close()
