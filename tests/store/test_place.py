"""On what kind of disk the store lies."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from slurmsyncd.store import place
from slurmsyncd.store.place import filesystem, unsuitable
from tests.store.builders import opened

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /srv rw,relatime - nfs4 server:/srv rw,vers=4.2
31 30 8:2 / /srv/local rw - xfs /dev/sdb1 rw
32 22 8:3 / /a\\040b rw master:2 - xfs /dev/sdc1 rw
33 32 0:40 / /a\\040b rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/slurmsyncd", "ext4"),
        ("/srv/slurmsyncd", "nfs4"),
        ("/srv/local/slurmsyncd", "xfs"),
        ("/srv/localhost", "nfs4"),
        ("/a b/c", "tmpfs"),
    ],
)
def test_d12_the_nearest_mount_counts(tmp_path: Path, path: str, kind: str) -> None:
    """As the kernel lists them: the longest that holds the path, and of two the one that hides the other."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert filesystem(type(tmp_path)(path), mounts) == kind
    assert filesystem(type(tmp_path)(path), tmp_path / "missing") == ""


def test_d12_a_store_in_memory_is_warned_of(tmp_path: Path) -> None:
    """On a real tmpfs it says so at each start, and works."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,mode=0755", "tmpfs", tmp_path],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    try:
        with capture_logs() as logs:
            opened(tmp_path / "state").close()
        (line,) = logs
        assert line["event"] == "state_dir_unsuitable"
        assert line["reason"].startswith(f"{tmp_path / 'state'} is on tmpfs: ")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_d12_a_remote_disk_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS cannot be had in a test: the kernel's list is made to say so."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.replace("/srv ", f"{tmp_path} "))
    monkeypatch.setattr(place, "filesystem", lambda path: filesystem(path, mounts))
    assert "is on nfs4: locks and syncs cannot be relied on there" in unsuitable(tmp_path / "state")
