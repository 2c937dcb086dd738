"""
What the backend says of its clusters: which sub-cluster a host is in, its cores and accelerators. Pure.

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
    A fact that we do not have, and why.

    Attributes:
        unlisted: No sub-cluster lists the host, so the backend rejects its runs.
    """

    reason: str
    unlisted: bool = False


@dataclass(frozen=True, slots=True)
class NodeListTerm:
    """
    One term of a node list: literal parts, and between them groups of ranges.

    Attributes:
        parts: A string, or ranges ``(first, last, digits)`` of which one has to match.
    """

    parts: tuple[str | tuple[tuple[int, int, int], ...], ...]

    def matches(self, host: str) -> bool:
        """Return whether the whole name is what the parts say."""
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
        cores: Hardware threads by core number, socket after socket; None if not said.
        accelerators: Ids by index; None if not said.
        accelerator_models: Model of each of them.
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
    socket: msgspec.Raw = msgspec.Raw(b"null")
    memoryDomain: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815 - the backend's spelling
    accelerators: msgspec.Raw = msgspec.Raw(b"null")


class _Accelerator(msgspec.Struct):
    id: str
    model: Any = ""


def parse_topology(body: bytes) -> Topology | NotKnown:
    """
    Read the answer of ``GET /api/clusters/``; an odd piece is set aside alone.

    Returns:
        Unknown if it is no such answer at all. The caller bounds its size.
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

    A cluster.json may list them by the number of their first thread, which many machines count from socket to
    socket in turn.
    """
    cores = _decode(parts.core, tuple[tuple[int, ...], ...])
    if not cores or any(thread < 0 for core in cores for thread in core):
        return None
    sockets, domains = _place_of_threads(parts.socket), _place_of_threads(parts.memoryDomain)
    # Without threads, or in no socket: then the order of the file is all that is known.
    if not all(core and core[0] in sockets for core in cores):
        return cores
    return tuple(sorted(cores, key=lambda core: (sockets[core[0]], domains.get(core[0], 0))))


def _place_of_threads(raw: msgspec.Raw) -> dict[int, int]:
    """Return thread → index of the list that holds it."""
    lists = _decode(raw, tuple[tuple[int, ...], ...]) or ()
    return {thread: place for place, threads in enumerate(lists) for thread in threads}


def _split_terms(nodes: str) -> list[str]:
    # Commas separate terms, but inside brackets they separate ranges.
    return re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", nodes)


def parse_term(text: str) -> NodeListTerm | None:
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
        Unknown as well if several list it: the backend then takes one at random.
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

    All threads of a core are given: Slurm allocates whole cores.

    Args:
        sub: The node's.
        cores: Slurm's (socket, core within the socket).
        sockets: Slurm's shape of the node, which need not be the backend's; see ``NodeAllocation``.
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
        cores: (socket, core within the socket), as Slurm counts them.
        sockets: Slurm's (sockets, cores per socket).
        per_socket: The backend's cores per socket, which stands in where Slurm's shape is not known; without
            both, only cores of the first socket can be numbered.
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
    Return the backend's ids of devices, in the order given.

    Args:
        sub: The node's.
        indexes: Slurm's, on the node.
        devices: All devices of this name that the node has; None if not known. Where they are not the
            backend's accelerators one by one (slices of GPUs, a GPU that only one side knows), indexes
            count something else.
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
    """Return how many accelerators are of the model that one of Slurm's types names."""
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
