"""On this host: the state directory and its disk, the checkpoint, the hook's socket, the running daemon."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slurmsyncd import notify
from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.control.client import connect
from slurmsyncd.control.health import SILENT, silence
from slurmsyncd.control.status import GetStatus
from slurmsyncd.control.store_requests import GetTotals
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.store import checkpoint_file as lastrun
from slurmsyncd.store.opening import STORE
from slurmsyncd.text import counted, duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.config import Config, DaemonConfig
    from slurmsyncd.control.client import ControlClient

STATE: Final = "state"
_ROOM_WARN, _ROOM_FAIL = 1024, 64  # MiB
_REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "lustre", "beegfs", "gpfs", "fuse.sshfs", "glusterfs", "ceph"}
)
_QLEN: Final = Path("/proc/sys/net/unix/max_dgram_qlen")
_QLEN_WANTED: Final = 512
_FIRST_START: Final = "systemctl enable --now slurmsyncd.socket slurmsyncd.service"
_START: Final = "start slurmsyncd (and slurmsyncd.socket)"
#: Hints that a second of the busiest cluster may leave.
_SPOOLED: Final = 5000
#: For a test hint to arrive.
_HINT_S: Final = 3.0


def check_host(config: Config) -> Iterator[CheckResult]:
    """Look at this host; changes nothing."""
    new = _never_ran(config.daemon)
    if config.daemon.state_dir.exists() or not new:
        yield from _directory(config.daemon.state_dir)
    yield _checkpoint(config)
    if new:  # what its first start makes is missing, and that is right
        yield CheckResult(
            "daemon", "running", CheckLevel.NOTE, "the daemon has not run here yet", _FIRST_START
        )
        return
    yield from _hook(config)
    if config.hook.spool:
        yield spool(Path(config.hook.spool))
    yield from _daemon(config)


def _never_ran(daemon: DaemonConfig) -> bool:
    try:
        (daemon.state_dir / STORE).stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass  # what it is stands in the finding about the directory
    return False


def _directory(path: Path) -> Iterator[CheckResult]:
    try:
        found = path.lstat()
    except OSError as err:
        yield CheckResult(
            STATE,
            "directory",
            CheckLevel.WARN,
            f"daemon.state_dir = {path}: {err.strerror}",
            "systemd makes it (StateDirectory=); without systemd: a directory of its user, mode 0700",
        )
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or mode & 0o022:
        yield CheckResult(
            STATE,
            "directory",
            CheckLevel.FAIL,
            f"daemon.state_dir = {path}: mode {mode:04o}, or no directory: others could write there",
            f"chmod 0700 {path}",
        )
    else:
        yield CheckResult(
            STATE, "directory", CheckLevel.OK, f"{path} belongs to uid {found.st_uid}, mode {mode:04o}"
        )
    yield _room(path)
    yield from _file_system(path)


def _room(path: Path) -> CheckResult:
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize // 2**20
    said = f"{free:,} MiB free, {disk.f_favail:,} inodes free"
    if free >= _ROOM_WARN:
        return CheckResult(STATE, "room", CheckLevel.OK, said)
    level = CheckLevel.WARN if free >= _ROOM_FAIL else CheckLevel.FAIL
    return CheckResult(STATE, "room", level, said, "make room; a run takes 1 to 2 KiB until it is delivered")


def _file_system(path: Path) -> Iterator[CheckResult]:
    kind = file_system(path, Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
    if kind in _REMOTE:
        yield CheckResult(
            STATE,
            "file_system",
            CheckLevel.WARN,
            f"{path} is on {kind}: locks and syncs of a network file system cannot be relied on",
            "put daemon.state_dir on a local disk",
        )
    elif kind in {"tmpfs", "ramfs"}:
        yield CheckResult(
            STATE,
            "file_system",
            CheckLevel.WARN,
            f"{path} is on {kind}: what was not delivered is lost when the host restarts",
            "put daemon.state_dir on a disk",
        )


def file_system(path: Path, mountinfo: str) -> str:
    """Return the kind of file system that a path is on, out of /proc/self/mountinfo."""
    path, best, kind = path.resolve(), -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mount = Path(fields[4].replace("\\040", " "))
        if (path == mount or mount in path.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), after.split(" ")[0]
    return kind


def _checkpoint(config: Config) -> CheckResult:
    daemon = config.daemon
    at, name = lastrun.read(daemon.lastrun_file), "checkpoint"
    if at is None:
        span = duration(daemon.max_span)
        return CheckResult(
            STATE, name, CheckLevel.NOTE, f"no checkpoint yet: the first start reads the last {span}"
        )
    age_s = time.time() - at
    said = f"accounting was read up to {duration(abs(age_s))} {'ago' if age_s >= 0 else 'ahead of now'}"
    if age_s < 0:
        return CheckResult(
            STATE, name, CheckLevel.WARN, said, f"touch {daemon.lastrun_file}, and see to the clock"
        )
    if age_s > daemon.max_span:
        remedy = "raise daemon.max_span before the next start, or that span is left out"
        return CheckResult(STATE, name, CheckLevel.FAIL, f"{said}: further back than daemon.max_span", remedy)
    if age_s > 5 * daemon.poll_interval + daemon.overlap:
        if _is_catching_up(config):
            return CheckResult(STATE, name, CheckLevel.NOTE, f"{said}: the daemon is catching up")
        return CheckResult(
            STATE, name, CheckLevel.WARN, said, "is the daemon running, and does slurmdbd answer?"
        )
    return CheckResult(STATE, name, CheckLevel.OK, said)


def _hook(config: Config) -> Iterator[CheckResult]:
    if not config.hook.socket:
        return
    path = Path(config.hook.socket.removeprefix("unix:"))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(str(path))
    except OSError as err:
        yield CheckResult(
            "hook",
            "socket",
            CheckLevel.FAIL,
            f"{path}: {err.strerror}: hooks reach nobody; polls find the jobs all the same",
            _START,
        )
    else:
        yield CheckResult("hook", "socket", CheckLevel.OK, f"{path} takes hints")
    if _QLEN.exists() and (length := int(_QLEN.read_text())) < _QLEN_WANTED:
        yield CheckResult(
            "hook",
            "queue",
            CheckLevel.NOTE,
            f"net.unix.max_dgram_qlen = {length}: of a burst of hooks only so many wait in the kernel",
            f"sysctl -w net.unix.max_dgram_qlen={_QLEN_WANTED}, and the same in /etc/sysctl.d",
        )


def spool(directory: Path) -> CheckResult:
    """Look at the directory where hooks in sh leave their hints."""
    name, alas = "spool", "hooks in sh reach nobody; polls find the jobs all the same"
    try:
        mode, waiting = directory.stat().st_mode, sum(1 for _ in directory.iterdir())
    except OSError as err:
        return CheckResult("hook", name, CheckLevel.FAIL, f"{directory}: {err.strerror}: {alas}", _START)
    if not mode & 0o222:
        return CheckResult("hook", name, CheckLevel.FAIL, f"{directory} is shut: {alas}", _START)
    if waiting > _SPOOLED:
        said = f"{waiting:,} hints wait in {directory}, and nobody takes them"
        return CheckResult("hook", name, CheckLevel.FAIL, said, _START)
    return CheckResult("hook", name, CheckLevel.OK, f"{directory} takes hints")


def _hint_arrives(address: str, desk: ControlClient) -> CheckResult:
    """Ring as a hook does, with a hint that speaks of no job, and see that it counts."""
    before = _accepted(desk)
    hook = (sys.executable, "-IS", notify.__file__, "--context", "test", "--socket", address)
    subprocess.run(hook, check=False, stdin=subprocess.DEVNULL, timeout=10, env={})
    deadline = time.monotonic() + _HINT_S
    while _accepted(desk) <= before:
        if time.monotonic() > deadline:
            return CheckResult(
                "hook",
                "hint",
                CheckLevel.FAIL,
                "a test hint did not reach the daemon",
                "see hook.allow_users and the daemon's log; polls find the jobs all the same",
            )
        time.sleep(0.05)
    return CheckResult("hook", "hint", CheckLevel.OK, "a test hint reached the daemon")


def _is_catching_up(config: Config) -> bool:
    """Return whether the running daemon reads on, as after a first start; Slurm answers it then."""
    try:
        with connect(config) as client:
            live = client.ask(GetStatus(0)).live
    except SlurmsyncdError:
        return False
    return live is not None and any(each.behind and each.unavailable is None for each in live.sources)


def _announced(desk: ControlClient) -> Iterator[CheckResult]:
    """Report which of slurmctld's hooks the daemon has heard."""
    live, now = desk.ask(GetStatus(0)).live, time.time()
    for source in () if live is None else live.sources:
        for each in source.hooks:
            if each.silent:
                said = f"cluster {source.cluster}: {silence(each, now)}"
                yield CheckResult("hook", "silent", CheckLevel.WARN, said, SILENT)
            elif each.heard_at is not None:
                said = f"{each.hook} of cluster {source.cluster} announced a job {moment(each.heard_at, now)}"
                yield CheckResult("hook", "heard", CheckLevel.OK, said)


def _accepted(desk: ControlClient) -> int:
    live = desk.ask(GetStatus(0)).live
    return 0 if live is None else live.hook.accepted


def _daemon(config: Config) -> Iterator[CheckResult]:
    try:
        with connect(config) as desk:
            running, totals = desk.running, desk.ask(GetTotals())
            if running and config.hook.socket:
                yield _hint_arrives(config.hook.socket, desk)
            yield from _announced(desk)
    except SlurmsyncdError as err:
        yield CheckResult("daemon", "running", CheckLevel.WARN, str(err), "systemctl status slurmsyncd")
        return
    if running:
        yield CheckResult(
            "daemon", "running", CheckLevel.OK, "the daemon runs and answers; see also `slurmsyncd status`"
        )
    else:
        yield CheckResult(
            "daemon", "running", CheckLevel.WARN, "no daemon runs", "systemctl start slurmsyncd"
        )
    if totals.incident is not None:
        at, reason = totals.incident
        ago = duration(time.time() - at)
        yield CheckResult(
            "daemon",
            "incident",
            CheckLevel.WARN,
            f"the store was found {reason} {ago} ago; everything since was read from Slurm again",
            "slurmsyncd verify --since 7d, then acknowledge it",
        )
    dead = sum(sink.states.get("dead", 0) for sink in totals.sinks.values())
    if dead:
        said = f"{counted(dead, 'dead letter')}: never sent again by themselves"
        yield CheckResult("daemon", "dead_letters", CheckLevel.WARN, said, "slurmsyncd deadletters list")
