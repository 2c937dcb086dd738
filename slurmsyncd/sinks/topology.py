"""
The backend's topology: the sub-cluster, cores and accelerators of each host. Pure.

Source: ``GET /api/clusters/``, contract sections 3 and 12.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from slurmsyncd.foreign import MalformedJson, decode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slurmsyncd.model import Gres

T = TypeVar("T")

_HOST_MAX = 255  # characters


@dataclass(frozen=True, slots=True)
class NotKnown:
    """
    An unknown fact, with the reason.

    Attributes:
        unlisted: No sub-cluster lists the host, so the backend rejects its runs.
    """

    reason: str
    unlisted: bool = False


@dataclass(frozen=True, slots=True)
class NodeListTerm:
    """
    One term of a node list: literal parts with groups of ranges between them.

    Attributes:
        parts: Strings, or groups of ranges ``(first, last, digits)`` of which one must match.
    """

    parts: tuple[str | tuple[tuple[int, int, int], ...], ...]

    def matches(self, host: str) -> bool:
        """Return whether the parts match the complete name."""
        ends = {0}  # all positions that the parts so far can reach; without backtracking, time stays linear
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
    A sub-cluster of the backend: nodes with the same hardware.

    Attributes:
        everything: Whether the node list is ``*``.
        hosts: Names without brackets.
        terms: Terms with brackets.
        cores_per_socket: Cores per socket; None if unknown.
        cores: Hardware threads by core number, socket after socket; None if unknown.
        accelerators: Accelerator ids by index; None if unknown.
        accelerator_models: Model of each accelerator.
    """

    name: str
    everything: bool = False
    hosts: frozenset[str] = frozenset()
    terms: tuple[NodeListTerm, ...] = ()
    cores_per_socket: int | None = None
    cores: tuple[tuple[int, ...], ...] | None = None
    accelerators: tuple[str, ...] | None = None
    accelerator_models: tuple[str, ...] = ()

    def has(self, host: str) -> bool:
        """Return whether the host is in the node list."""
        return host in self.hosts or any(term.matches(host) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Topology:
    """
    All clusters of a backend.

    Attributes:
        clusters: Backend cluster name → its sub-clusters, in the order of the file.
        set_aside: Parts that could not be parsed, for the operator.
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
    socket: msgspec.Raw = msgspec.Raw(b"null")
    memoryDomain: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815 - the backend's spelling
    accelerators: msgspec.Raw = msgspec.Raw(b"null")


class _Accelerator(msgspec.Struct):
    id: str
    model: Any = ""


def parse_topology(body: bytes) -> Topology | NotKnown:
    """
    Parse the response of ``GET /api/clusters/``. A part that cannot be parsed is skipped alone.

    Returns:
        The topology; NotKnown if the response has another format. The caller limits the size of ``body``.
    """
    answer = _decode(body, _Answer)
    if answer is None:
        return NotKnown("not a list of clusters")
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
    accelerators = _decode(parts.accelerators, list[_Accelerator])
    return SubCluster(
        name=piece.name,
        everything=piece.nodes.strip() == "*",
        hosts=frozenset(text for text in texts if "[" not in text),
        terms=tuple(term for term in terms if term is not None),
        cores_per_socket=per_socket if per_socket is not None and per_socket > 0 else None,
        cores=_cores(parts),
        accelerators=None if accelerators is None else tuple(piece.id for piece in accelerators),
        accelerator_models=tuple(str(piece.model) for piece in accelerators or ()),
    )


def _cores(parts: _Pieces) -> tuple[tuple[int, ...], ...] | None:
    """
    Return the cores in Slurm's order: socket after socket, and in a socket one memory domain after the other.

    A cluster.json may list cores by the number of their first thread. Many machines number these threads
    alternately across the sockets.
    """
    cores = _decode(parts.core, tuple[tuple[int, ...], ...])
    if not cores or any(thread < 0 for core in cores for thread in core):
        return None
    sockets, domains = _place_of_threads(parts.socket), _place_of_threads(parts.memoryDomain)
    # Cores without threads, or outside of all sockets: only the order of the file is known.
    if not all(core and core[0] in sockets for core in cores):
        return cores
    return tuple(sorted(cores, key=lambda core: (sockets[core[0]], domains.get(core[0], 0))))


def _place_of_threads(raw: msgspec.Raw) -> dict[int, int]:
    """Return a mapping of each thread to the index of the list that contains it."""
    lists = _decode(raw, tuple[tuple[int, ...], ...]) or ()
    return {thread: place for place, threads in enumerate(lists) for thread in threads}


def _split_terms(nodes: str) -> list[str]:
    # Commas separate terms, but inside brackets they separate ranges.
    return re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", nodes)


def parse_term(text: str) -> NodeListTerm | None:
    """Parse a term with brackets as the backend does; return None if the backend would reject it."""
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
    return NodeListTerm(tuple(parts))


def _ranges(text: str) -> tuple[tuple[int, int, int], ...] | None:
    ranges = []
    for piece in text.split(","):
        found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", piece)
        if found is None or len(found[1]) != len(found[2]):
            return None
        ranges.append((int(found[1]), int(found[2]), len(found[1])))
    return tuple(ranges)


def find_sub_cluster(clusters: Sequence[SubCluster], host: str) -> SubCluster | NotKnown:
    """
    Find the sub-cluster of a host as the backend does.

    Returns:
        The sub-cluster; NotKnown if none or several list the host, as the backend then picks any of them.
    """
    if len(host) > _HOST_MAX:
        return NotKnown("host name too long")
    hits = [sub for sub in clusters if sub.has(host)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        return NotKnown(f"host is in several sub-clusters: {', '.join(sub.name for sub in hits)}")
    if clusters and clusters[0].everything:
        return clusters[0]
    return NotKnown("host is in no sub-cluster", unlisted=True)


def hwthreads_of(
    sub: SubCluster | NotKnown, cores: Iterable[tuple[int, int]], sockets: tuple[int, int] | None
) -> tuple[int, ...] | NotKnown:
    """
    Return the hardware threads of a node's cores, ascending.

    The result has all threads of each core, because Slurm allocates whole cores.

    Args:
        sub: Sub-cluster of the node.
        cores: Slurm's pairs (socket, core within the socket).
        sockets: Slurm's shape of the node, which may differ from the backend's; see ``NodeAllocation``.
    """
    if isinstance(sub, NotKnown):
        return sub
    if sub.cores is None:
        return NotKnown(f"sub-cluster {sub.name} has no topology.core")
    if sockets is not None and sockets[0] * sockets[1] != len(sub.cores):
        return NotKnown(
            f"Slurm has {sockets[0]} sockets of {sockets[1]} cores, "
            f"but topology.core of sub-cluster {sub.name} has {len(sub.cores)} cores"
        )
    numbers = core_numbers(cores, sockets, sub.cores_per_socket)
    if isinstance(numbers, NotKnown):
        return numbers
    return look_up_threads(numbers, sub.cores, f"topology.core of sub-cluster {sub.name}")


def core_numbers(
    cores: Iterable[tuple[int, int]], sockets: tuple[int, int] | None, per_socket: int | None
) -> tuple[int, ...] | NotKnown:
    """
    Return core numbers within the node, counted socket after socket.

    Args:
        cores: Pairs (socket, core within the socket), as numbered by Slurm.
        sockets: Slurm's pairs (sockets, cores per socket).
        per_socket: The backend's cores per socket, used if Slurm's shape is unknown. Without both, only cores
            of the first socket can be numbered.
    """
    count, size = sockets or (None, per_socket)
    whose = "Slurm" if sockets else "the backend"
    numbers = []
    for socket, core in cores:
        if socket and size is None:
            return NotKnown("cores per socket are not known")
        if size is not None and core >= size:
            return NotKnown(f"core {core} of a socket, but {whose} knows {size} a socket")
        if count is not None and socket >= count:
            return NotKnown(f"socket {socket}, but Slurm knows {count} a node")
        numbers.append(socket * (size or 0) + core)
    return tuple(numbers)


def look_up_threads(
    numbers: Iterable[int], table: Sequence[Sequence[int]], name: str
) -> tuple[int, ...] | NotKnown:
    """Look core numbers up in a table of hardware threads by core number."""
    threads: set[int] = set()
    for number in numbers:
        if not 0 <= number < len(table):
            return NotKnown(f"core {number} is not in {name}")
        threads.update(table[number])
    return tuple(sorted(threads))


def accelerator_ids(
    sub: SubCluster | NotKnown, indexes: Iterable[int], devices: Sequence[Gres] | None
) -> tuple[str, ...] | NotKnown:
    """
    Return the accelerator ids of devices, in the order of ``indexes``.

    Args:
        sub: Sub-cluster of the node.
        indexes: Slurm's device indexes on the node.
        devices: All devices of this name on the node; None if unknown. Indexes have another meaning if the
            devices do not correspond one to one to the backend's accelerators, such as GPU slices or a GPU
            that only one side has.
    """
    if isinstance(sub, NotKnown):
        return sub
    if sub.accelerators is None:
        return NotKnown(f"sub-cluster {sub.name} lists no accelerators")
    if devices is not None and (reason := _mismatch(sub, devices)):
        return NotKnown(reason)
    return look_up_ids(indexes, sub.accelerators, f"topology.accelerators of sub-cluster {sub.name}")


def _mismatch(sub: SubCluster, devices: Sequence[Gres]) -> str:
    kinds: Counter[str] = Counter()
    for gres in devices:
        kinds[gres.type or ""] += gres.count
    listed = len(sub.accelerators or ())
    shown = ", ".join(f"{count} {kind}".rstrip() for kind, count in sorted(kinds.items())) or "none"
    said = f"Slurm has {shown} on the node, but sub-cluster {sub.name} has"
    if sum(kinds.values()) != listed:
        return (
            f"Slurm has {shown} on the node, but sub-cluster {sub.name} has {listed} in topology.accelerators"
        )
    if len(kinds) > 1 and any(_listed(sub, kind) != count for kind, count in kinds.items()):
        return f"{said} other models in topology.accelerators"
    return ""


def _listed(sub: SubCluster, kind: str) -> int:
    """Return the number of accelerators whose model matches a Slurm type."""
    word = _letters(kind)
    models = filter(None, map(_letters, sub.accelerator_models))
    return sum(word in model or model in word for model in models) if word else 0


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def look_up_ids(indexes: Iterable[int], table: Sequence[str], name: str) -> tuple[str, ...] | NotKnown:
    """Look device indexes up in a table of ids by index."""
    ids = []
    for index in indexes:
        if not 0 <= index < len(table):
            return NotKnown(f"device {index} is not in {name}")
        ids.append(table[index])
    return tuple(ids)
