"""Nodes as the node-state upload wants them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping  # noqa: TC003  (msgspec resolves annotations at run time)
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Gres, NodeFacts, NodeState
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.json_documents import decode_record
from slurmsyncd.slurm.scalars import Scalar, parse_count, truncate


class _Record(Struct):
    name: str
    state: Any = None
    state_flags: Any = None
    alloc_cpus: Scalar = None
    cpus: Scalar = None
    effective_cpus: Scalar = None
    alloc_memory: Scalar = None
    gres_used: Any = None
    gres: Any = None
    sockets: Scalar = None
    cores: Scalar = None


_DECODER: Final = msgspec.json.Decoder(_Record)

# An idle node with one of these takes no work until somebody does something.
_OUT_OF_SERVICE: Final = frozenset(
    {
        "DRAIN",
        "DRAINED",
        "DRAINING",
        "FAIL",
        "FAILING",
        "MAINT",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "NO_RESPOND",
    }
    | {"INVALID_REG", "REBOOT_ISSUED"}
)


def read_node(record: Raw, jobs: Mapping[str, int], accelerators: Collection[str] = ("gpu",)) -> NodeState:
    """
    Read a record of 22.05's ``sinfo --json`` or of ``scontrol show nodes --json``.

    Args:
        record: Undecoded.
        jobs: Host → running jobs.
        accelerators: Names of generic resources that count as accelerators.

    Raises:
        DecodeError: It is none.
    """
    raw = decode_record(record, _DECODER, "node record")
    gpus = sum(gres.count for gres in parse_gres(truncate(raw.gres_used, 65536)) if gres.name in accelerators)
    held = parse_count(raw.alloc_cpus)
    return NodeState(
        raw.name,
        _mixed_if_partly_held(
            reduce_state([*_words(raw.state), *_words(raw.state_flags)]),
            held,
            parse_count(raw.effective_cpus) or parse_count(raw.cpus),
        ),
        held,
        parse_count(raw.alloc_memory),
        gpus,
        jobs.get(raw.name, 0),
    )


def read_facts(record: Raw) -> tuple[str, NodeFacts]:
    """
    Read what a node is from the same record: its name, its shape and its generic resources.

    Raises:
        DecodeError: It is none.

    Source:
        ``sockets`` and ``cores`` (of one socket) as ``slurm.conf`` or ``slurmd`` with
        ``SlurmdParameters=numa_node_as_socket`` has them; ``gres`` as ``gpu:a100:4(S:0-1)``.
    """
    raw = decode_record(record, _DECODER, "node record")
    sockets, cores = parse_count(raw.sockets), parse_count(raw.cores)
    try:
        devices: tuple[Gres, ...] | None = parse_gres(truncate(raw.gres, 65536))
    except DecodeError:
        devices = None
    return raw.name, NodeFacts((sockets, cores) if sockets and cores else None, devices)


def _mixed_if_partly_held(state: str, held: int, cpus: int) -> str:
    """
    Return ``mixed`` for an allocated node of which some CPUs are free.

    Source:
        23.02's JSON says ALLOCATED of such a node where its text says mixed. ``effective_cpus`` leaves out
        CPUs that are reserved for the system (CoreSpecCount); no job can hold those.
    """
    return "mixed" if state == "allocated" and 0 < held < cpus else state


def reduce_state(words: list[str]) -> str:
    """
    Reduce a node's state and flags to one of the backend's six words.

    A node that works is what it works as, drained or not; an idle one that takes no work is ``down``.
    """
    found = {word.upper().rstrip("*~#!%$@^+-") for word in words}
    if found & {"DOWN", "ERROR"}:
        return "down"
    for working in ("ALLOCATED", "MIXED"):
        if working in found:
            return working.lower()
    if found & _OUT_OF_SERVICE:
        return "down"
    if "RESERVED" in found:
        return "reserved"
    return "idle" if found & {"IDLE", "PLANNED"} else "unknown"


def _words(value: Any) -> list[str]:
    words = value if isinstance(value, list) else [value]
    return [part for word in words if isinstance(word, str) for part in word.split("+")]
