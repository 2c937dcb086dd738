"""
A whole Debian with a systemd of its own, in a container that lives for one test session.

Its files are a chroot of the lab's with everything written to memory, so that a boot takes two seconds and each
machine begins as fresh Debian with Slurm's packages. It has no network but its own loopback.

    with boot("bookworm") as machine:
        machine.write("/etc/motd", "hello")
        assert machine.run("cat", "/etc/motd").stdout == "hello"
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.paths import ROOT
from tests.tools.lab import packages
from tests.tools.lab.releases import CACHE
from tests.tools.lab.waiting import LabError, succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Where the machine has the repository, read-only.
CLONE = "/root/slurmsyncd"
BOOT_S = 60.0
#: Services of Slurm's packages that start at boot and that most tests do without.
OF_SLURM = ("mariadb", "munge", "slurmctld", "slurmd", "slurmdbd")
#: What a shell of root's has, and nothing of ours.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
#: The machine's cgroups are v2 alone, as on hosts of today, whatever this machine mounts. With the process that
#: waits for systemd-nspawn ends all that is in there: nspawn's own end leaves the container running.
_NSPAWN = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/slurmsyncd-machine-$$
mkdir $group
echo 0 >$group/cgroup.procs
setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc systemd-nspawn "$@" || true
echo 0 >/sys/fs/cgroup/cgroup.procs
find $group -depth -type d -exec rmdir {} +
"""
_AROUND = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation=private")
_OPTIONS = (
    *("--boot", "--volatile=overlay", "--private-network", "--machine=machine", "--console=pipe"),
    *("--notify-ready=yes", "--register=no", "--keep-unit", "--link-journal=no"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """
    A running machine.

    Attributes:
        leader: Its first process, as this machine numbers it.
    """

    leader: int

    def run(
        self,
        *argv: str,
        check: bool = True,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a command as root in the repository's directory; for another user's use runuser.

        Raises:
            AssertionError: It failed, with its words; not if ``check`` is false.
        """
        done = subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", f"--wd={self.path(CLONE)}", "--", *argv],
            env={**ENVIRONMENT, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def path(self, inside: str) -> Path:
        """Return a path of this machine's that names a file of the machine's."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file, and make the directories on the way to it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """Return the journal's entries that journalctl selects."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--output=json", "--all", *options).stdout.splitlines()
        return [json.loads(line) for line in lines]


def why_not() -> str | None:
    """Return why no machine can be booted here; None if one can."""
    if reason := packages.why_not():
        return reason
    if not succeeds(["unshare", "--mount", "mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]):
        return "cgroup v2 cannot be mounted here"
    return None


def install(suite: str) -> Path:
    """
    Install systemd-nspawn, and make the machine's files where they are not there yet: a minute, 700 MB.

    Returns:
        Where they are.
    """
    root = CACHE / suite
    for argv in (
        [sys.executable, packages.__file__, "systemd-container", "debootstrap"],
        ["unshare", "--mount", sys.executable, "-m", "tests.tools.lab.chroots", suite, str(root), "bootable"],
    ):
        subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True, check=True)
    return root


@contextmanager
def boot(
    suite: str, *, masked: Sequence[str] = OF_SLURM, binds: Mapping[Path, str] | None = None
) -> Iterator[Machine]:
    """
    Boot a machine, and switch it off afterwards.

    Args:
        suite: The Debian suite: bookworm has systemd 252, trixie 257.
        masked: Services that do not start.
        binds: What of this machine's it has read-only besides the repository, and where.

    Raises:
        LabError: It did not come up; the message has its last words.
    """
    root = install(suite)
    with tempfile.TemporaryDirectory() as directory, _listen(f"{directory}/notify") as notified:
        shared = {ROOT: CLONE, wheels(root): "/srv/wheels", **(binds or {})}
        argv = [
            *_AROUND,
            *("sh", "-euc", _NSPAWN, "sh"),
            *_OPTIONS,
            f"--directory={root}",
            *(f"--bind-ro={ours}:{inside}" for ours, inside in shared.items()),
            *(f"systemd.mask={name}.service" for name in masked),
        ]
        # The files serve several machines at a time, since nobody writes to them.
        env = {**os.environ, "NOTIFY_SOCKET": f"{directory}/notify", "SYSTEMD_NSPAWN_LOCK": "0"}
        with Path(directory, "output").open("wb+") as output:
            process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            try:
                _wait_ready(notified, process, Path(output.name))
                notified.close()  # of what it says later nobody reads a word, and systemd would wait for that
                machine = Machine(_descendant(process.pid, 3))  # unshare, systemd-nspawn, and that
                machine.write("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /srv/wheels\n")
                yield machine
            finally:
                _switch_off(process)


def wheels(root: Path) -> Path:
    """Return a directory with the locked wheels for the Python of a root directory, and pip's own."""
    version = str((root / "usr/bin/python3").readlink()).removeprefix("python")
    lock = ROOT / "requirements/run.txt"
    directory = CACHE / f"wheels-{version}-{zlib.crc32(lock.read_bytes()):08x}"
    if not directory.exists():
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as partial:
            options = ["--quiet", "--only-binary=:all:", f"--python-version={version}", f"--dest={partial}"]
            for names in ([f"--requirement={lock}", "--require-hashes"], ["--no-deps", "pip"]):
                subprocess.run([sys.executable, "-m", "pip", "download", *options, *names], check=True)
            with suppress(OSError):  # somebody was quicker
                Path(partial).rename(directory)
    return directory


def _listen(path: str) -> socket.socket:
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(path)
    notified.settimeout(BOOT_S)
    return notified


def _wait_ready(notified: socket.socket, process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until the machine has booted."""
    message = ""
    while "READY=1" not in message.splitlines():
        try:
            message = notified.recv(4096).decode()
        except TimeoutError:
            words = output.read_text(errors="replace")[-2000:]
            raise LabError(f"no boot within {BOOT_S:g} s (exit {process.poll()}): {words}") from None


def _switch_off(process: subprocess.Popen[bytes]) -> None:
    """Kill systemd-nspawn and all with it; the shell around it then clears up."""
    with suppress(ValueError, OSError):  # it did not come so far, or has ended
        os.kill(_descendant(process.pid, 2), signal.SIGKILL)
    process.wait(BOOT_S)


def _descendant(pid: int, generations: int) -> int:
    """Return the only child of the only child, and so on, of a process."""
    for _ in range(generations):
        (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return pid
