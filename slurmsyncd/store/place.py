"""The kind of disk that a directory is on: one that keeps what is written, and locks it for one process."""

from __future__ import annotations

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_VOLATILE = frozenset({"tmpfs", "ramfs"})
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "9p"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
)


def unsuitable(directory: Path) -> str:
    """Tell why a store should not lie here, in a sentence with the remedy; empty if it may."""
    kind = filesystem(directory)
    if kind in _VOLATILE:
        return f"{directory} is on {kind}: what is not told yet is lost with the host; choose a local disk"
    if kind in _REMOTE:
        return f"{directory} is on {kind}: locks and syncs cannot be relied on there; choose a local disk"
    return ""


def filesystem(path: Path, mounts: Path = _MOUNTS) -> str:
    """Give the kind of the file system that a path is on; empty if it cannot be told. See proc(5)."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    parents = [str(each) for each in (path.resolve(), *path.resolve().parents)]
    best = (len(parents), "")
    for line in lines:
        where, _, what = line.partition(" - ")
        point = _unescaped(where.split(" ")[4])
        # Of two on the same point the later one is seen; the nearest one counts.
        if point in parents and parents.index(point) <= best[0]:
            best = parents.index(point), what.split(" ")[0]
    return best[1]


def _unescaped(point: str) -> str:
    for octal, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(octal, char)
    return point
