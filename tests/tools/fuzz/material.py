"""What the fuzzing feeds: words of the formats, things that real programs printed, and damage to both."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from slurmsyncd.slurm.json_documents import read_records
from tests.unit.slurm.captures import CAPTURES, JOB_DOCUMENTS, VERSIONS, sacct_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Numbers at which programs change their minds.
NUMBERS = (
    *(0, 1, -1, 9, 1023, 1024, 65534, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32),
    *(2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 2**64, 10**20, 10**40),
)
FLOATS = (0.5, -0.0, 1e18, 1e19, 1e300, 5e-324)
TEXTS = (
    *("", " ", "\n", "\0", "\x1b[31m", "\ud800", "\u202e", "é", "٣", "²", "x" * 300, "(null)", "N/A", "None"),
    *(
        "Unknown",
        "UNLIMITED",
        "1.5",
        "1e9",
        "-1",
        "+1",
        "0x10",
        "1_0",
        "nan",
        "inf",
        "True",
        "n[1-3]",
        "..",
        "/",
    ),
)

numbers = st.sampled_from(NUMBERS) | st.integers(-(2**70), 2**70)
digits = numbers.map(str) | st.text("0123456789", min_size=1, max_size=24)
texts = st.sampled_from(TEXTS) | st.text(max_size=12)
scalars = st.none() | st.booleans() | numbers | st.sampled_from(FLOATS) | st.floats() | texts
wrapped = st.fixed_dictionaries(
    {"set": st.booleans(), "infinite": st.booleans(), "number": scalars}, optional={"more": scalars}
)
nested = st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth)
values = st.recursive(
    scalars | wrapped, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


def joined(words: st.SearchStrategy[str], separator: str, most: int = 6) -> st.SearchStrategy[str]:
    return st.lists(words, min_size=1, max_size=most).map(separator.join)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Bytes with some of them flipped, dropped, doubled, or replaced by words that the format knows."""
    data = draw(whole)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        cut = data[start:end]
        new = draw(
            st.binary(max_size=6)
            | st.sampled_from([b"", cut * 2, cut[::-1], *words])
            | digits.map(str.encode)
        )
        data = data[:start] + new + data[end:]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


def slim(record: bytes, names: Sequence[str]) -> bytes:
    """Return a record with these fields alone, so that damage does not miss."""
    return json.dumps({name: value for name, value in json.loads(record).items() if name in names}).encode()


@st.composite
def altered(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A JSON document with one or two of its values, wherever they are, replaced by others."""
    tree: Any = {"whole": json.loads(draw(whole))}
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw_place(draw, tree)
        if draw(st.integers(0, 7)) == 0:
            del place[key]
        else:
            place[key] = draw(values)
        if "whole" not in tree:
            return b""
    return json.dumps(tree["whole"]).encode()


def draw_place(draw: st.DrawFn, tree: Any) -> tuple[Any, Any]:
    """Walk down a tree to a value, and give what holds it and under which key."""
    place, key = tree, "whole"
    while isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 5)):
        place = place[key]
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    return place, key


@cache
def job_records() -> tuple[bytes, ...]:
    """Real job records, of each release and each form."""
    return tuple(bytes(record) for path in JOB_DOCUMENTS for record in _some(path, "jobs"))


@cache
def node_records() -> tuple[bytes, ...]:
    """Real node records."""
    paths = [
        path for version in VERSIONS for path in sorted((CAPTURES / version).glob("running.*nodes--json"))
    ]
    paths += [CAPTURES / "22.05.8" / "running.sinfo--json"]
    return tuple(bytes(record) for path in paths for record in _some(path, "nodes"))


def _some(path: Path, key: str) -> list[Any]:
    """Return a few records: those of one document are much alike."""
    found = list(read_records(path.read_bytes(), key))
    return found[:: max(1, len(found) // 4)]


@cache
def documents() -> tuple[bytes, ...]:
    """Small real documents, failures among them."""
    paths = sorted(path for version in VERSIONS for path in (CAPTURES / version).glob("*--json"))
    return tuple(data for path in paths if 0 < len(data := path.read_bytes()) < 100_000)


@cache
def accounting_rows() -> tuple[dict[str, str], ...]:
    """Real rows of accounting."""
    return tuple(row for version in VERSIONS for row in sacct_rows(version, "ended.sacct-X-D-p2-epoch"))
