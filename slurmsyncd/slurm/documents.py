"""The envelope of Slurm's JSON: which answers are answers. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from slurmsyncd.errors import DecodeError, SourceUnavailable
from slurmsyncd.slurm.scalars import Scalar, parse_number, printable

if TYPE_CHECKING:
    from slurmsyncd.slurm.rows import Text


class _Envelope(Struct):
    errors: list[Any] | None = None
    last_update: Scalar = None
    jobs: list[Raw] | None = None
    nodes: list[Raw] | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)

# json-c, Slurm's writer, prints what no JSON may hold; one such number must not cost the whole document.
_NO_NUMBER: Final = re.compile(rb"(?<=[:,\[\s])-?(?:NaN|Infinity)(?=\s*[,}\]])")


def read_records(text: Text, key: str) -> list[Raw]:
    """
    Give the records of a document, each still undecoded, so that a bad one hurts only itself.

    Args:
        text: What the command printed. The records refer to it.
        key: ``jobs`` or ``nodes``.

    Raises:
        SourceUnavailable: Slurm says that it failed (``errors``), or the list is empty and was never
            updated: so 24.11 and later write down a dead slurmctld, with exit code 0 (S2).
        DecodeError: Nothing at all, no JSON, cut short, or not the document that was asked for (S7, S8).
    """
    if not len(text):
        raise DecodeError("the answer is empty")
    envelope = _envelope(text)
    if envelope.errors:
        raise SourceUnavailable(f"Slurm reports: {_reason(envelope.errors)}")
    records: list[Raw] | None = getattr(envelope, key)
    if records is None:
        raise DecodeError(f"the document has no {key!r}: {printable(text[:200])!r}")
    if not records and parse_number(envelope.last_update) == 0:
        raise SourceUnavailable(f"an empty list of {key} that was never updated: slurmctld does not answer")
    return records


def _envelope(text: Text) -> _Envelope:
    try:
        try:
            return _ENVELOPE.decode(text)  # type: ignore[arg-type]
        except msgspec.DecodeError:
            repaired, count = _NO_NUMBER.subn(b"null", text[:])
            if not count:
                raise
            return _ENVELOPE.decode(repaired)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise DecodeError(f"no JSON of Slurm ({printable(err)}): {printable(text[:200])!r}") from err


def _reason(errors: list[Any]) -> str:
    first = errors[0]
    if isinstance(first, dict):
        first = " ".join(str(first[key]) for key in ("source", "description", "error") if first.get(key))
    return printable(first)


def repair_text(record: Raw) -> bytes:
    """Give a record with its invalid UTF-8 replaced; Slurm passes broken names on as they are (S13)."""
    return bytes(record).decode("utf-8", "replace").encode()
