"""Generic resources on a node: ``gpu:a100:2(IDX:0-1),shard:a100:3(1/4,2/4)``. Pure."""

from __future__ import annotations

import re
from typing import Final

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Gres

INDEX_LIMIT: Final = 1024
"""Devices of one kind on one node (Slurm's MAX_GRES_BITMAP)."""

_TEXT_LIMIT: Final = 65536
_COUNT_LIMIT: Final = 2**63
_EMPTY: Final = frozenset({"", "(null)", "N/A"})
_SCALE: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

# name[:type]:count[(detail)], or name[:type](CNT:count) for what has no devices.
_ITEM: Final = re.compile(r"([^,()]+)(?:\(([^()]*)\))?", re.ASCII)
_COUNT: Final = re.compile(r"([0-9]{1,18})([KMGT]?)", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_./+-]{1,128}", re.ASCII)
_TYPE: Final = re.compile(r"[A-Za-z0-9_.:/+ -]{1,255}", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", re.ASCII)
_SHARE: Final = re.compile(r"([0-9]{1,18})/([0-9]{1,18})", re.ASCII)


def parse_gres(text: str) -> tuple[Gres, ...]:
    """
    Read what one node's ``gres_detail`` (or ``gres_used``) says.

    Returns:
        In Slurm's order; what is there zero times is left out.

    Raises:
        DecodeError: It is not understood; nothing is guessed.

    Source:
        ``gres_stepmgr_job_build_details`` in Slurm: ``IDX`` for devices, ``used/free`` per device for
        what shares them, ``CNT`` for what has none.
    """
    if len(text) > _TEXT_LIMIT:
        raise DecodeError(f"gres of {len(text)} characters")
    if text in _EMPTY:
        return ()
    text = text.replace(":(null)", "")  # no type
    found, position = [], 0
    while match := _ITEM.match(text, position):
        found.append(_item(match[1], match[2] or ""))
        position = match.end()
        if position == len(text):
            return tuple(gres for gres in found if gres.count)
        if text[position] != ",":
            break
        position += 1
    raise DecodeError(f"gres is not understood: {text[:120]!a}")


def _item(spec: str, detail: str) -> Gres:
    name, *rest = re.sub(r"^gres[:/]", "", spec).split(":")
    if detail.startswith("CNT:"):
        count = _count(detail[4:])
    elif rest:
        count = _count(rest.pop())
    else:
        raise DecodeError(f"gres without a count: {spec[:120]!a}")
    kind = ":".join(word for word in rest if word)
    if not _NAME.fullmatch(name) or (kind and not _TYPE.fullmatch(kind)):
        raise DecodeError(f"gres is not understood: {spec[:120]!a}")
    return Gres(name, kind or None, count, _indexes(detail))


def _count(text: str) -> int:
    match = _COUNT.fullmatch(text)
    if not match:
        raise DecodeError(f"gres count is not understood: {text[:120]!a}")
    count = int(match[1]) * _SCALE[match[2]]
    if count >= _COUNT_LIMIT:
        raise DecodeError(f"gres count is out of range: {text[:120]!a}")
    return count


def _indexes(detail: str) -> tuple[int, ...]:
    if detail.startswith("IDX:"):
        return _parse_indexes(detail[4:])
    shares = [_SHARE.fullmatch(item) for item in detail.split(",")]
    if all(shares) and len(shares) <= INDEX_LIMIT:
        return tuple(index for index, share in enumerate(shares) if share and int(share[1]))
    return ()  # (S:0-1), (CNT:2) and the like name no devices


def _parse_indexes(text: str) -> tuple[int, ...]:
    if text in _EMPTY:
        return ()
    indexes: set[int] = set()
    for item in text.split(","):
        match = _RANGE.fullmatch(item)
        if not match:
            raise DecodeError(f"gres indexes are not understood: {text[:120]!a}")
        low, high = int(match[1]), int(match[2] or match[1])
        if not low <= high < INDEX_LIMIT:
            raise DecodeError(f"gres indexes out of range: {text[:120]!a}")
        indexes.update(range(low, high + 1))
    return tuple(sorted(indexes))
