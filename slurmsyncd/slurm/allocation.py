"""What a job holds on each node: the JSON's ``job_resources`` in all its shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  (msgspec resolves annotations at run time)
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import NodeAllocation
from slurmsyncd.slurm.json_documents import decode_record
from slurmsyncd.slurm.scalars import Scalar, parse_16bit_number, parse_number, printable

_INDEX_LIMIT: Final = 65536


class _Core(Struct):
    index: int
    status: list[str] | str = ""


class _Socket(Struct):
    index: int = -1
    cores: list[_Core] | dict[str, Any] = []


class _Node(Struct):
    """A node; ``nodename``, ``cpus_used`` and ``memory_allocated`` are the older shape's."""

    name: str = ""
    nodename: str = ""
    sockets: list[_Socket] | dict[str, _Socket] = []
    cpus: Any = None
    cpus_used: Any = None
    memory: Any = None
    memory_allocated: Any = None


class _Nodes(Struct):
    allocation: list[_Node] = []
    whole: bool | None = None


class _Resources(Struct):
    """``nodes`` is text in the older shape (to 23.11) and an object in the newer one."""

    nodes: str | _Nodes | None = None
    allocated_nodes: list[_Node] | dict[str, _Node] | None = None
    threads_per_core: Scalar = None


_DECODER: Final = msgspec.json.Decoder(_Resources | None)


class Allocation(Struct, frozen=True):
    """
    What ``job_resources`` says.

    Attributes:
        nodes: In Slurm's order, without GRES.
        whole: Whether whole nodes were allocated; None if not said.
        threads_per_core: As the job asked for; None if it did not.
    """

    nodes: tuple[NodeAllocation, ...]
    whole: bool | None = None
    threads_per_core: int | None = None


def read_allocation(record: Raw | bytes) -> Allocation | None:
    """
    Read ``job_resources``, whichever shape it has; None if the job holds nothing.

    The shape is seen from the record, never from the version in the envelope.

    Raises:
        DecodeError: Neither shape.
    """
    found = decode_record(record, _DECODER, "job_resources")
    if found is None:
        return None
    whole = found.nodes.whole if isinstance(found.nodes, _Nodes) else None
    nodes = tuple(_allocation(node) for node in _nodes(found))
    if len({node.host for node in nodes}) != len(nodes):
        raise DecodeError("job_resources: a node twice")
    return Allocation(nodes, whole, parse_16bit_number(found.threads_per_core)) if nodes else None


def _nodes(found: _Resources) -> Iterable[_Node]:
    if isinstance(found.nodes, _Nodes):
        return found.nodes.allocation
    nodes = found.allocated_nodes or []
    return nodes.values() if isinstance(nodes, dict) else nodes


def _allocation(node: _Node) -> NodeAllocation:
    host = node.name or node.nodename
    if not host:
        raise DecodeError("job_resources: a node without name")
    cpus = node.cpus.get("count") if isinstance(node.cpus, dict) else node.cpus_used
    memory = node.memory.get("allocated") if isinstance(node.memory, dict) else node.memory_allocated
    # The older shape counts only the CPUs in use: 0 once the job is over.
    return NodeAllocation(host, tuple(sorted(_cores(node))), _plain(cpus) or None, _plain(memory))


def _plain(value: Any) -> int | None:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") else None
    return parse_number(value) if isinstance(value, (int, float, str)) else None


def _cores(node: _Node) -> Iterable[tuple[int, int]]:
    for socket, cores in _sockets(node):
        if isinstance(cores, dict):
            yield from ((socket, _index(core)) for core, status in cores.items() if _allocated(status))
        else:
            yield from ((socket, _index(core.index)) for core in cores if _allocated(core.status))


def _sockets(node: _Node) -> Iterable[tuple[int, list[_Core] | dict[str, Any]]]:
    if isinstance(node.sockets, dict):
        return ((_index(index), socket.cores) for index, socket in node.sockets.items())
    return ((_index(socket.index), socket.cores) for socket in node.sockets)


def _index(value: int | str) -> int:
    index = parse_number(value)
    if index is None or not 0 <= index < _INDEX_LIMIT:
        raise DecodeError(f"job_resources: no index: {printable(value)}")
    return index


def _allocated(status: Any) -> bool:
    return any(map(_says_so, status)) if isinstance(status, list) else _says_so(status)


def _says_so(word: Any) -> bool:
    return isinstance(word, str) and word[:9].upper() == "ALLOCATED"
