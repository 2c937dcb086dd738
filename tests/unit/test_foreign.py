"""The one place where JSON from outside the process is decoded."""

from __future__ import annotations

import msgspec
import pytest

from slurmsyncd.foreign import MalformedJson, decode_json


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"name": "caf\xe9"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\\ud800"}',
        b'{"name": 7}',
        b'{"name": "a"',
        b'{"other": ' + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_bad_data_raises_one_exception(data: bytes) -> None:
    """Whatever is wrong with the data, and whichever msgspec is installed, the exception is the same."""
    with pytest.raises(MalformedJson):
        decode_json(data, msgspec.json.Decoder(dict[str, str]))


def test_good_data_is_decoded() -> None:
    """A document of the decoder's shape is returned as that shape."""
    assert decode_json(b'{"name": "caf\xc3\xa9"}', msgspec.json.Decoder(dict[str, str])) == {"name": "café"}
