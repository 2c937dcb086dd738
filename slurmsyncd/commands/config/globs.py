"""Regular expressions of host names as globs, which is what our settings take. Pure."""

from __future__ import annotations

import re
from typing import Final

_PIECE: Final = re.compile(
    r"""
    (?P<literal>[A-Za-z0-9_-]|\\[.\-_]) (?P<l_more>[*+?]|\{\d+(?:,\d*)?\})?
    | (?P<any>\.|\\w|\[\w\-a-zA-Z0-9_\]) (?P<a_more>[*+]|\{\d+(?:,\d*)?\})?
    | (?P<digit>\\d) (?P<d_more>[*+]|\{\d+(?:,\d*)?\})?
    | (?P<set>\[[A-Za-z0-9_-]+\]) (?P<s_more>[*+]|\{\d+(?:,\d*)?\})?
    """,
    re.VERBOSE | re.ASCII,
)
_TOO_MANY: Final = 64


def globs_of(regex: str) -> tuple[str, ...] | None:
    r"""
    Give globs that take the hosts that a regular expression finds; None if there are none such.

    A glob cannot count and knows no word characters: where it takes more than the expression, the answer is
    None, but for ``\w`` and ``\d`` with ``*`` or ``+``, which stand for the rest of a name.
    """
    found: list[str] = []
    for branch in _branches(regex):
        glob = _glob(branch)
        if glob is None:
            return None
        found.append(glob)
    return tuple(found) if 0 < len(found) <= _TOO_MANY else None


def _branches(regex: str) -> list[str]:
    """Spread ``^(a|b)c$`` and ``a|b`` out; groups within groups are left for ``_glob`` to refuse."""
    found = re.fullmatch(r"([^()|]*)\((?:\?:)?([^()]*)\)([^()|]*)", regex)
    if found:
        before, inside, after = found.groups()
        return [before + branch + after for branch in inside.split("|")]
    return regex.split("|")


def _glob(regex: str) -> str | None:
    start, end = regex.startswith("^"), regex.endswith("$") and not regex.endswith("\\$")
    body = regex[1 if start else 0 : -1 if end else None]
    glob, at = "" if start else "*", 0
    while at < len(body):
        piece = _PIECE.match(body, at)
        text = None if piece is None else _piece(piece)
        if piece is None or text is None:
            return None
        glob, at = glob + text, piece.end()
    return re.sub(r"\*{2,}", "*", glob if end else glob + "*")


def _piece(piece: re.Match[str]) -> str | None:
    for kind, one in (("literal", ""), ("any", "?"), ("digit", "[0-9]"), ("set", "")):
        text = piece[kind]
        if text is None:
            continue
        more = piece[f"{kind[0]}_more"]
        single = one or text.removeprefix("\\")
        if more is None:
            return single
        count = re.fullmatch(r"\{(\d+)\}", more)
        if count and int(count[1]) <= _TOO_MANY:
            return single * int(count[1])
        if kind in ("any", "digit") and more in "*+":
            return "*" if more == "*" else f"{single}*"
        return None
    return None
