"""Decoding of JSON from other programs, with one exception for every error. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from msgspec import Raw

T = TypeVar("T")


class MalformedJson(ValueError):
    """Bytes that are not JSON, or JSON of an unexpected shape."""


def decode_json(data: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """
    Decode JSON that another program wrote.

    Raises:
        MalformedJson: The data cannot be decoded. msgspec raises several exceptions for that, and not the
            same ones in each release: invalid UTF-8 is a UnicodeDecodeError before 0.23.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise MalformedJson(str(err)) from err
