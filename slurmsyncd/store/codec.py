"""A run's record as bytes with a checksum, and back. Pure."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import msgspec

from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.model import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

# Below it zlib saves too little to pay for itself: 13 us for 270 bytes of a stop's 670.
_COMPRESS_FROM = 1024

#: (at in epoch seconds, step, reason, detail) of a failed attempt.
Attempt = tuple[float, str, str, str]

_decoder = msgspec.json.Decoder(Job)
_history_decoder = msgspec.json.Decoder(tuple[Attempt, ...])


class CorruptBody(ValueError):
    """The bytes are not what was written."""


def encode(job: Job) -> tuple[bytes, int]:
    """
    Return a run's body and its CRC-32.

    The body is JSON with the fields' names, so that releases with other fields can read it;
    compressed when it is long (zlib starts with another byte than JSON).
    """
    try:
        body = msgspec.json.encode(job)
    except UnicodeEncodeError:
        # A lone surrogate in some user's text must not keep everybody's records out.
        text = json.dumps(msgspec.to_builtins(job), ensure_ascii=False)
        body = text.encode("utf-8", errors="replace")
    if len(body) > _COMPRESS_FROM:
        body = zlib.compress(body, 1)
    return body, zlib.crc32(body)


def decode(body: bytes, crc: int) -> Job:
    """
    Return the run of a body.

    Raises:
        CorruptBody: The checksum differs, or the body is not a run, or it was discarded (``dead_letters``).
    """
    if not isinstance(body, bytes):
        raise CorruptBody("no bytes")
    if not body:
        raise CorruptBody("given up, since there were too many dead letters")
    if zlib.crc32(body) != crc:
        raise CorruptBody("checksum differs")
    try:
        return decode_json(body if body[:1] == b"{" else zlib.decompress(body), _decoder)
    except (MalformedJson, zlib.error) as err:
        raise CorruptBody(str(err)) from err


def encode_history(attempts: Iterable[Attempt]) -> str:
    """Return a delivery's history as it is stored."""
    return json.dumps([*attempts])


def decode_history(text: str) -> tuple[Attempt, ...]:
    """Return a delivery's history, empty if unreadable, since no decision depends on it."""
    try:
        return decode_json(text.encode(), _history_decoder)
    except MalformedJson:
        return ()
