"""
What the backend says of its clusters: which sub-cluster a host is in, its cores and accelerators. Pure.

Source: ``GET /api/clusters/``, contract sections 3 and 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from slurmsyncd.foreign import MalformedJson, decode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

_HOST_MAX = 255  # characters


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact that we do not have, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Term:
    """
    One term of a node list: literal parts, and between them groups of ranges.

    Attributes:
        parts: A string, or ranges ``(first, last, digits)`` of which one has to match.
    """

    parts: tuple[str | tuple[tuple[int, int, int], ...], ...]

    def matches(self, host: str) -> bool:
        """Tell whether the whole name is what the parts say."""
        ends = {0}  # all places that the parts so far can reach: no backtracking, so no blow-up
        for part in self.parts:
            ends = {end for at in ends for end in _ends(part, host, at)}
        return len(host) in ends


def _ends(part: str | tuple[tuple[int, int, int], ...], host: str, at: int) -> Iterator[int]:
    if isinstance(part, str):
        if host.startswith(part, at):
            yield at + len(part)
        return
    for width in {digits for _, _, digits in part}:
        text = host[at : at + width]
        if len(text) == width and text.isascii() and text.isdigit():
            number = int(text)
            if any(low <= number <= high for low, high, digits in part if digits == width):
                yield at + width


@dataclass(frozen=True, slots=True)
class SubCluster:
    """
    Nodes of one kind.

    Attributes:
        everything: The node list is ``*``.
        hosts: Names without brackets.
        terms: Terms with brackets.
        cores_per_socket: None if not said.
        cores: Hardware threads by core number; None if not said.
        accelerators: Ids by index; None if not said.
    """

    name: str
    everything: bool = False
    hosts: frozenset[str] = frozenset()
    terms: tuple[Term, ...] = ()
    cores_per_socket: int | None = None
    cores: tuple[tuple[int, ...], ...] | None = None
    accelerators: tuple[str, ...] | None = None

    def has(self, host: str) -> bool:
        """Tell whether the host is in the node list."""
        return host in self.hosts or any(term.matches(host) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Topology:
    """
    All clusters of a backend.

    Attributes:
        clusters: Backend's name of the cluster → its sub-clusters, in the order of the file.
        set_aside: Pieces that were not understood, for the operator.
    """

    clusters: Mapping[str, tuple[SubCluster, ...]] = field(default_factory=dict)
    set_aside: tuple[str, ...] = ()


class _Answer(msgspec.Struct):
    clusters: list[msgspec.Raw]


class _Cluster(msgspec.Struct):
    name: str
    subClusters: list[msgspec.Raw]  # noqa: N815 - the backend's spelling


class _SubCluster(msgspec.Struct):
    name: str
    nodes: str = ""
    coresPerSocket: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815 - the backend's spelling
    topology: msgspec.Raw = msgspec.Raw(b"null")


class _Pieces(msgspec.Struct):
    core: msgspec.Raw = msgspec.Raw(b"null")
    accelerators: msgspec.Raw = msgspec.Raw(b"null")


class _Accelerator(msgspec.Struct):
    id: str


def parse_topology(body: bytes) -> Topology | Unknown:
    """
    Read the answer of ``GET /api/clusters/``; an odd piece is set aside alone.

    Returns:
        Unknown if it is no such answer at all. The caller bounds its size.
    """
    answer = _decode(body, _Answer)
    if answer is None:
        return Unknown("not a list of clusters")
    clusters: dict[str, tuple[SubCluster, ...]] = {}
    odd: list[str] = []
    for number, raw in enumerate(answer.clusters):
        cluster = _decode(raw, _Cluster)
        if cluster is None:
            odd.append(f"cluster {number}")
            continue
        found = [_sub_cluster(piece) for piece in cluster.subClusters]
        clusters[cluster.name] = tuple(sub for sub in found if sub is not None)
        odd += [f"{cluster.name}: sub-cluster {at}" for at, sub in enumerate(found) if sub is None]
    return Topology(clusters, tuple(odd))


def _decode(raw: bytes | msgspec.Raw, shape: type[T]) -> T | None:
    try:
        return decode_json(raw, msgspec.json.Decoder(shape))
    except MalformedJson:
        return None


def _sub_cluster(raw: msgspec.Raw) -> SubCluster | None:
    piece = _decode(raw, _SubCluster)
    if piece is None:
        return None
    parts = _decode(piece.topology, _Pieces) or _Pieces()
    per_socket = _decode(piece.coresPerSocket, int)
    texts = _split_terms(piece.nodes)
    terms = [parse_term(text) for text in texts if "[" in text]
    return SubCluster(
        name=piece.name,
        everything=piece.nodes.strip() == "*",
        hosts=frozenset(text for text in texts if "[" not in text),
        terms=tuple(term for term in terms if term is not None),
        cores_per_socket=per_socket if per_socket is not None and per_socket > 0 else None,
        cores=_cores(parts.core),
        accelerators=_accelerators(parts.accelerators),
    )


def _cores(raw: msgspec.Raw) -> tuple[tuple[int, ...], ...] | None:
    cores = _decode(raw, tuple[tuple[int, ...], ...])
    if not cores or any(thread < 0 for core in cores for thread in core):
        return None
    return cores


def _accelerators(raw: msgspec.Raw) -> tuple[str, ...] | None:
    found = _decode(raw, list[_Accelerator])
    return None if found is None else tuple(piece.id for piece in found)


def _split_terms(nodes: str) -> list[str]:
    # Commas separate terms, but inside brackets they separate ranges.
    return re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", nodes)


def parse_term(text: str) -> Term | None:
    """Read a term with brackets as the backend does; None if it would refuse it."""
    pieces = re.split(r"\[([^\[\]]*)\]", text)
    parts: list[str | tuple[tuple[int, int, int], ...]] = []
    for number, piece in enumerate(pieces):
        if number % 2 == 0:
            if "[" in piece or "]" in piece:
                return None
            parts.append(piece)
            continue
        ranges = _ranges(piece)
        if ranges is None:
            return None
        parts.append(ranges)
    return Term(tuple(parts))


def _ranges(text: str) -> tuple[tuple[int, int, int], ...] | None:
    ranges = []
    for piece in text.split(","):
        found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", piece)
        if found is None or len(found[1]) != len(found[2]):
            return None
        ranges.append((int(found[1]), int(found[2]), len(found[1])))
    return tuple(ranges)


def sub_cluster_of(clusters: Sequence[SubCluster], host: str) -> SubCluster | Unknown:
    """
    Find the sub-cluster of a host as the backend does.

    Returns:
        Unknown as well if several list it: the backend then takes one at random.
    """
    if len(host) > _HOST_MAX:
        return Unknown("host name too long")
    hits = [sub for sub in clusters if sub.has(host)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        return Unknown(f"host is in several sub-clusters: {', '.join(sub.name for sub in hits)}")
    if clusters and clusters[0].everything:
        return clusters[0]
    return Unknown("host is in no sub-cluster")


def hwthreads(sub: SubCluster | Unknown, cores: Iterable[tuple[int, int]]) -> tuple[int, ...] | Unknown:
    """
    Turn Slurm's (socket, core within the socket) into ids of hardware threads, ascending.

    All threads of a core are given: Slurm allocates whole cores.
    """
    if isinstance(sub, Unknown):
        return sub
    if sub.cores is None:
        return Unknown(f"sub-cluster {sub.name} has no topology.core")
    numbers = core_numbers(cores, sub.cores_per_socket)
    if isinstance(numbers, Unknown):
        return numbers
    return threads_of(numbers, sub.cores, f"topology.core of sub-cluster {sub.name}")


def core_numbers(cores: Iterable[tuple[int, int]], per_socket: int | None) -> tuple[int, ...] | Unknown:
    """Give core numbers within the node; without ``per_socket`` only those of the first socket can be."""
    numbers = []
    for socket, core in cores:
        if socket and per_socket is None:
            return Unknown("cores per socket are not known")
        if per_socket is not None and core >= per_socket:
            return Unknown(f"core {core} of a socket, but the backend knows {per_socket} a socket")
        numbers.append(socket * (per_socket or 0) + core)
    return tuple(numbers)


def threads_of(
    numbers: Iterable[int], table: Sequence[Sequence[int]], name: str
) -> tuple[int, ...] | Unknown:
    """Look core numbers up in a table of hardware threads by core number."""
    threads: set[int] = set()
    for number in numbers:
        if not 0 <= number < len(table):
            return Unknown(f"core {number} is not in {name}")
        threads.update(table[number])
    return tuple(sorted(threads))


def accelerator_ids(sub: SubCluster | Unknown, indexes: Iterable[int]) -> tuple[str, ...] | Unknown:
    """Turn Slurm's device indexes into the backend's ids, in the order given."""
    if isinstance(sub, Unknown):
        return sub
    if sub.accelerators is None:
        return Unknown(f"sub-cluster {sub.name} lists no accelerators")
    return ids_of(indexes, sub.accelerators, f"topology.accelerators of sub-cluster {sub.name}")


def ids_of(indexes: Iterable[int], table: Sequence[str], name: str) -> tuple[str, ...] | Unknown:
    """Look device indexes up in a table of ids by index."""
    ids = []
    for index in indexes:
        if not 0 <= index < len(table):
            return Unknown(f"device {index} is not in {name}")
        ids.append(table[index])
    return tuple(ids)
