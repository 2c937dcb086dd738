"""
The forms in which Slurm prints: each is walked field by field, and what is between the fields stays. Pure.

Text is decoded with ``surrogateescape``, so that broken UTF-8 stays as broken as it was.
"""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.capture.field_kinds import (
    CONFIG,
    LISTING_KINDS,
    SACCT,
    SCONTROL,
    FieldKind,
    json_kind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Visit = Callable[[FieldKind, str, str], str]
    """Gets a field's kind, name and text; gives the text to put there."""


class FileFormat(enum.Enum):
    """How a file is laid out."""

    VERBATIM = "verbatim"  # Slurm's alone
    JSON = "json"
    SACCT = "sacct"  # columns that end with a token
    LISTING = "listing"
    SCONTROL = "scontrol"  # Key=Value
    CONFIG = "config"  # Key = Value
    MESSAGE = "message"


_JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_WRAPPED: Final = frozenset({"set", "infinite", "number"})
_BARE: Final = re.compile(r"[:,\[\]{}]|true|false|null|-?(?:NaN|Infinity|[0-9.eE+-]+)", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z_]\w*|[0-9]+", re.ASCII)
_INTEGER: Final = re.compile(r"[0-9]+", re.ASCII)
_LONE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_LABEL: Final = re.compile(r"(?:(?<=\s)|^)([A-Z][\w/:]*)=")
_SETTING: Final = re.compile(r"(?m)^(\S+)( *= )(.*)$")
_PLAIN: Final = re.compile(r"[0-9]+(?: [a-z/]+)?", re.ASCII)


def walk(form: FileFormat, text: str, visit: Visit, *, token: str = "", columns: Sequence[str] = ()) -> str:
    """
    Visit each field of a file; gives the file with what the visits gave.

    Args:
        form: Its layout.
        text: All of it.
        visit: Called in order.
        token: Ends each column of ``SACCT`` and ``LISTING``.
        columns: Names of the columns of ``SACCT``.
    """
    if form is FileFormat.JSON:
        return _Json(visit).walk(text)
    if form is FileFormat.SACCT:
        return _columns(text, token, [(SACCT.get(name, FieldKind.TEXT), name) for name in columns], visit)
    if form is FileFormat.LISTING:
        return _columns(text, token, [(kind, "listing") for kind in LISTING_KINDS], visit)
    if form is FileFormat.SCONTROL:
        return _labels(text, visit)
    if form is FileFormat.CONFIG:
        return _settings(text, visit)
    return visit(FieldKind.REASON, "message", text) if form is FileFormat.MESSAGE else text


def strings(text: str) -> list[str]:
    """Return every string of a JSON document, keys too."""
    return [_unquoted(found[0]) for found in _JSON.finditer(text) if found[0][0] == '"']


class _Json:
    """Rewrites a document in place: numbers, blanks and the order of keys stay byte for byte."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._keys: list[str] = [""]  # of the objects around, outermost first; the last is the current one's
        self._objects: list[bool] = []

    def walk(self, text: str) -> str:
        pieces, position = [], 0
        for found in _JSON.finditer(text):
            pieces += [self._between(text[position : found.start()])]
            pieces += [self._part(found[0], text, found.end())]
            position = found.end()
        return "".join([*pieces, self._between(text[position:])])

    def _between(self, text: str) -> str:
        return self._visit(FieldKind.TEXT, "broken", text) if text.strip() else text

    def _part(self, part: str, text: str, end: int) -> str:
        if part in "{[":
            self._objects.append(part == "{")
            if part == "{":
                self._keys.append("")
        elif part in "}]":
            if self._objects and self._objects.pop() and len(self._keys) > 1:
                self._keys.pop()
        elif part[0] == '"':
            return self._string(part, is_key=_is_key(text, end) and self._in_object())
        elif _INTEGER.fullmatch(part):
            return self._number(part)
        return part if _BARE.fullmatch(part) else self._between(part)

    def _in_object(self) -> bool:
        return bool(self._objects) and self._objects[-1]

    def _string(self, part: str, *, is_key: bool) -> str:
        text = _unquoted(part)
        if is_key:
            own = _KEY.fullmatch(text) and not self._keyed_by_host()
            kind = FieldKind.OWN if own else FieldKind.STEM
            self._keys[-1] = text
            new = self._visit(kind, "key", text)
        else:
            kind, name = self._kind()
            new = self._visit(kind, name, text)
        return part if new == text else _quoted(new)

    def _number(self, part: str) -> str:
        kind, name = self._kind()
        return (
            self._visit(kind, name, part)
            if kind in (FieldKind.UID, FieldKind.TIME, FieldKind.JOB_ID)
            else part
        )

    def _keyed_by_host(self) -> bool:
        # Slurm's own versions disagree whether it is a list of nodes or an object with their names for keys.
        return self._keys[-2:-1] == ["allocated_nodes"] and self._objects[-2:-1] == [True]

    def _kind(self) -> tuple[FieldKind, str]:
        keys = ["", *self._keys]
        if keys[-1] in _WRAPPED and len(keys) > 2:
            keys.pop()
        return json_kind(keys[-2], keys[-1]), keys[-1]


def _is_key(text: str, end: int) -> bool:
    while text[end : end + 1].isspace():
        end += 1
    return text[end : end + 1] == ":"


def _unquoted(part: str) -> str:
    try:
        text: str = json.loads(part, strict=False)
    except ValueError:
        return part[1:-1]
    return text


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _columns(text: str, token: str, columns: Sequence[tuple[FieldKind, str]], visit: Visit) -> str:
    fields = text.split(token)
    if (len(fields) - 1) % len(columns):
        columns = [(FieldKind.TEXT, "row")]  # cut, or none: then nobody knows which column is which
    tail = visit(FieldKind.TEXT, "tail", fields.pop())
    new = [_field(field, *columns[at % len(columns)], visit) for at, field in enumerate(fields)]
    return token.join([*new, tail])


def _field(field: str, kind: FieldKind, name: str, visit: Visit) -> str:
    inner = field.lstrip("\n") if kind is not FieldKind.TEXT else field
    return field[: len(field) - len(inner)] + visit(kind, name, inner)


def _labels(text: str, visit: Visit) -> str:
    found = list(_LABEL.finditer(text))
    pieces = [visit(FieldKind.TEXT, "head", text[: found[0].start()] if found else text)]
    for label, following in zip(found, [*found[1:], None], strict=True):
        name = label[1]
        # A label that we do not know may be part of somebody's text.
        shown = name if name in SCONTROL else visit(FieldKind.MIXED, "label", name)
        value = text[label.end() : following.start() if following else len(text)]
        inner = value.rstrip()
        pieces += [shown, "=", visit(SCONTROL.get(name, FieldKind.TEXT), name, inner), value[len(inner) :]]
    return "".join(pieces)


def _settings(text: str, visit: Visit) -> str:
    pieces, position = [], 0
    for found in _SETTING.finditer(text):
        name, sign, value = found.groups()
        kind = CONFIG.get(name, FieldKind.OWN if _PLAIN.fullmatch(value) else FieldKind.TEXT)
        pieces += [visit(FieldKind.REASON, "line", text[position : found.start()])]
        pieces += [visit(FieldKind.OWN, "key", name), sign, visit(kind, name, value)]
        position = found.end()
    return "".join([*pieces, visit(FieldKind.REASON, "line", text[position:])])
