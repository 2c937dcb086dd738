"""`hooks/slurmctld-hook.sh` as slurmctld starts it: one file, and exit 0 whatever is in its way."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

from slurmsyncd.config import HookConfig
from slurmsyncd.model import Notification
from slurmsyncd.triggers.notification_filter import NotificationFilter
from slurmsyncd.triggers.spool import SpoolReader, spool
from tests.paths import ROOT
from tests.system.hooks import test_hook
from tests.system.hooks.test_hook import DATA, ENVIRONMENT, captured
from tests.tools.bench.site import site, until

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOK = ROOT / "hooks" / "slurmctld-hook.sh"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to act as another user")


def run(
    directory: Path,
    environment: Mapping[str, str] = ENVIRONMENT,
    shell: str = "",
    user: int | None = None,
    hook: Path = HOOK,
) -> None:
    """Run it to its end; it must exit 0 and say nothing."""
    posix = {"bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
    start = [*posix.get(shell, [shell]), str(hook)] if shell else [str(hook)]
    assert test_hook.run([*start, str(directory)], environment, user=user) == ""


@pytest.fixture
def place(run_dir: Path) -> Path:
    found = run_dir / "spool"
    found.mkdir(mode=0o700)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.env")))
async def test_its_hint_reaches_the_daemon(name: str, shell: str, run_dir: Path) -> None:
    """By whatever sh there is, of what real controllers gave to their hooks."""
    environment = captured(name)
    hints: list[Notification] = []
    hook = HookConfig(spool=str(run_dir / "spool"), allow_users=())
    gate = NotificationFilter(hints.append, uids=frozenset({os.geteuid()}))
    with spool(hook):
        await anyio.to_thread.run_sync(run, run_dir / "spool", environment, shell)
        await SpoolReader(hook.spool, gate).read_spool()
    assert hints == [
        Notification(
            cluster=environment["SLURM_CLUSTER_NAME"],
            job_id=int(environment["SLURM_JOB_ID"]),
            context=environment["SLURM_SCRIPT_CONTEXT"].partition("_")[0],
            restarts=int(environment.get("SLURM_JOB_RESTART_COUNT", "0")),
        )
    ]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("obstacle", ["missing", "file", "long", "empty"])
def test_k1_it_exits_0_whatever_is_in_its_way(obstacle: str, shell: str, run_dir: Path) -> None:
    """No directory, no directory at all, a name that is too long, no environment."""
    directory = run_dir / "spool"
    if obstacle == "file":
        directory.touch()
    environment = {} if obstacle == "empty" else dict(ENVIRONMENT)
    if obstacle == "long":
        directory.mkdir()
        environment["SLURM_CLUSTER_NAME"] = "x" * 300
    run(directory, environment, shell)


@as_root
@pytest.mark.parametrize("shell", SHELLS)
def test_k2_a_shut_directory_is_no_failure(shell: str) -> None:
    """No daemon runs, or it does not let this user in."""
    with tempfile.TemporaryDirectory(
        dir="/tmp"
    ) as public:  # the checkout and pytest's files may be root's alone
        Path(public).chmod(0o755)
        place = Path(public) / "spool"
        place.mkdir(mode=0o500)
        run(place, shell=shell, user=65534, hook=Path(shutil.copy(HOOK, public)))
        assert list(place.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("kind", ["fifo", "file", "link"])
def test_k13_what_has_its_name_already_is_neither_waited_for_nor_emptied(
    kind: str, shell: str, place: Path, tmp_path: Path
) -> None:
    """A FIFO without a reader would hold up a job's start."""
    there = place / "context=prolog,cluster=alpha,job=27,restarts=0"
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if kind == "fifo":
        os.mkfifo(there)
    elif kind == "file":
        there.write_text("precious")
    else:
        there.symlink_to(precious)
    run(place, shell=shell)
    assert kind == "fifo" or there.read_text() == precious.read_text() == "precious"


@pytest.mark.parametrize("shell", SHELLS)
def test_k13_a_link_that_leads_nowhere_is_not_followed(shell: str, place: Path, tmp_path: Path) -> None:
    """The daemon's user could else have Slurm's, which may be root, make a file anywhere."""
    target = tmp_path / "nologin"
    (place / "context=prolog,cluster=alpha,job=27,restarts=0").symlink_to(target)
    run(place, shell=shell)
    assert not target.exists()


@pytest.mark.parametrize("value", ["../../etc", "a/b", "a b", "$(touch x)", "a\nb", "*"])
def test_k6_what_is_no_word_of_slurms_leaves_no_file(value: str, place: Path) -> None:
    """Whatever the environment says, no other place is written to."""
    for name in ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_JOB_RESTART_COUNT"):
        run(place, {**ENVIRONMENT, name: value})
    assert list(place.parent.iterdir()) == [place]
    assert list(place.iterdir()) == []


def test_a_running_daemon_takes_its_hint_and_shuts_the_directory_at_its_end(tmp_path: Path) -> None:
    """From the script to the counts of `slurmsyncd status`."""
    place = tmp_path / "run" / "spool"
    settings = {"hook": {"spool": str(place), "allow_users": []}}
    with site(tmp_path) as here, here.daemon(settings) as daemon:
        run(place)
        until(lambda: daemon.status()["live"]["hook"]["accepted"] == 1)
        assert list(place.iterdir()) == []
    assert stat.S_IMODE(place.stat().st_mode) == 0o500
