"""
JSON as cc-backend's Go decoder takes it, unknown fields forbidden. Pure.

Stricter than ``json`` (unknown keys, integers without fraction or exponent, types) and laxer
(case-insensitive keys, trailing bytes, invalid UTF-8). The same for REST bodies and NATS events.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class BadJson(ValueError):
    """The text is not JSON or violates the schema; the message has cc-backend's markers."""


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: keys may repeat, and the last one wins."""


@dataclass(frozen=True, slots=True)
class JsonType:
    """
    How one type of value is read.

    Attributes:
        name: For error texts.
        read: Turns what ``json`` gave into our value; raises BadJson.
        zero: What a null element of a list or map becomes.
    """

    name: str
    read: Callable[[Any], Any]
    zero: Any = None

    def element(self, value: Any) -> Any:
        """Read an element of a list or map, where null becomes the zero value."""
        return self.zero if value is None else self.read(value)


def decode(kind: JsonType, body: bytes) -> Any:
    """
    Decode the first JSON value of a body.

    Returns:
        For a struct a dict with the canonical names of the keys that were given and not null;
        a null at top level is an empty struct.

    Raises:
        BadJson: With the markers ``EOF``, ``unexpected EOF``, ``unknown field``, ``cannot unmarshal``.
    """
    value = _parse(body.decode("utf-8", "replace"))
    return kind.read(_Object() if value is None else value)


def _refuse_constant(name: str) -> Any:
    raise BadJson(f"invalid character {name[0]!r} looking for beginning of value")


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_refuse_constant)


def _parse(text: str) -> Any:
    text = text.strip(" \t\r\n")
    if not text:
        raise BadJson("EOF")
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as err:
        cut = err.pos >= len(text) or err.msg.startswith("Unterminated")
        raise BadJson("unexpected EOF" if cut else f"invalid character: {err.msg}") from err
    except BadJson:
        raise
    except (ValueError, RecursionError) as err:  # thousands of digits, or of brackets
        raise BadJson("cannot unmarshal: a number too long or nested too deeply") from err
    return value


def _mismatch(value: Any, wanted: str) -> BadJson:
    return BadJson(f"json: cannot unmarshal {_go_name(value)} into Go value of type {wanted}")


def _go_name(value: Any) -> str:
    if isinstance(value, _Object):
        return "object"
    names = {list: "array", str: "string", bool: "bool"}
    return names.get(type(value)) or f"number {value}"[:40]


def integer(bits: int) -> JsonType:
    """Read an integer of the given number of bits, including the sign."""
    name, bound = f"int{bits}", 1 << (bits - 1)

    def read(value: Any) -> int:
        if type(value) is not int or not -bound <= value < bound:
            raise _mismatch(value, name)
        return value

    return JsonType(name, read, 0)


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise _mismatch(value, "string")
    # Go replaces lone surrogates; SQLite could not store them.
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def _read_number(value: Any) -> float:
    if type(value) not in {int, float} or (type(value) is float and math.isinf(value)):
        raise _mismatch(value, "float64")
    return float(value)


STRING = JsonType("string", _read_string, "")
NUMBER = JsonType("float64", _read_number, 0.0)
INT32 = integer(32)
INT64 = integer(64)


def array(of: JsonType) -> JsonType:
    """Read a list; null elements of structs stay None, as Go's nil pointers do."""

    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _mismatch(value, f"[]{of.name}")
        return [of.element(item) for item in value]

    return JsonType(f"[]{of.name}", read, [])


def mapping(of: JsonType) -> JsonType:
    """Read an object with free keys."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, _Object):
            raise _mismatch(value, f"map[string]{of.name}")
        return {_read_string(key): of.element(item) for key, item in value}

    return JsonType(f"map[string]{of.name}", read, {})


def struct(name: str, fields: Mapping[str, JsonType]) -> JsonType:
    """Read an object with these keys only, in any case; a null leaves the key out."""
    exact = {key: (key, kind) for key, kind in fields.items()}
    folded = {key.casefold(): field for key, field in exact.items()}

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, _Object):
            raise _mismatch(value, name)
        found: dict[str, Any] = {}
        for key, item in value:
            field = exact.get(key) or folded.get(key.casefold())
            if field is None:
                raise BadJson(f'json: unknown field "{key}"')
            if item is not None:
                found[field[0]] = field[1].read(item)
        return found

    return JsonType(name, read)
