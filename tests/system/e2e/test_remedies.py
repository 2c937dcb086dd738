"""
One thing broken at a time on a real Slurm: `check` or `status` names it, and doing what they say mends it.

Where the remedy is a command it is run as it was printed; else a test does what its words say.
"""

from __future__ import annotations

import json
import pwd
import shlex
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from tests.system.e2e.machine import machine
from tests.system.e2e.site import PROGRAM, run_program
from tests.system.e2e.test_check import check
from tests.tools.lab import until
from tests.tools.lab.bringup import write_slurm_conf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.e2e.site import Backend, Daemon, Site
    from tests.tools.lab import Lab

OPERATED = "backup"  # a user that every Debian has, and no Slurm knows


def problems(daemon: Daemon) -> list[dict[str, Any]]:
    """What `slurmsyncd status` says is wrong."""
    said = run_program("status", "--config", str(daemon.config), "--json")
    found: list[dict[str, Any]] = json.loads(said.stdout)["verdict"]["problems"]
    return found


def _with(daemon: Daemon, words: tuple[str, ...]) -> dict[str, Any] | None:
    fits = (each for each in problems(daemon) if all(word in each["text"] for word in words))
    return next(fits, None)


def named(daemon: Daemon, *words: str) -> dict[str, Any]:
    """Wait until the status names a problem in these words, and give it."""
    found = until(lambda: _with(daemon, words), f"a problem with {words}", timeout_s=90)
    assert found
    return found


def mended(daemon: Daemon, *words: str) -> None:
    """Wait until it does so no more; runs of other tests may have problems of their own."""
    until(lambda: _with(daemon, words) is None, f"an end of the problem with {words}", timeout_s=90)


def do(lab: Lab, command: str) -> None:
    """Run a remedy as root."""
    lab.run("/bin/sh", "-c", command)


def test_h9_a_new_token_is_put_where_they_say(site: Site, lab: Lab) -> None:
    """Token wrong: both name it; the daemon takes the new one without a restart, and what waited is told."""
    backend = site.backend()
    daemon = site.daemon(backend, start=False)
    head, claims, _ = backend.token.split(".")
    daemon.token.write_text(f"{head}.{claims}.{'A' * 86}")
    daemon.start()
    job = lab.sbatch(script="exit 0")
    assert f"put a token that it takes into {daemon.token}" in named(daemon, "credentials refused")["text"]
    assert "token_file" in check(daemon)[1]["reached"][0]["remedy"]
    daemon.token.write_text(backend.token)
    mended(daemon, "credentials refused")
    assert "reached" not in check(daemon)[1]
    until(lambda: backend.jobs_of(job), "the job that waited", timeout_s=60)


def test_a_node_is_added_to_the_backend(site: Site, lab: Lab) -> None:
    """Node missing there: `check` names it and `status` what was refused; corrected and tried again, it is taken."""
    backend = site.backend()
    clusters = [machine(lab.cluster)]
    clusters[0]["subClusters"][0]["nodes"] = "n1"
    backend.ask("PUT", "/-/clusters", clusters)
    daemon = site.daemon(backend)
    job = lab.sbatch("-wn2", script="exit 0")
    refused = named(daemon, "refuses", "no_subcluster")
    assert "deadletters list" in refused["remedy"]
    found = check(daemon)[1]["nodes"][0]
    assert "n2" in found["said"]
    assert f"{lab.cluster}/cluster.json" in found["remedy"]
    assert "no_subcluster" in _parked(daemon)
    backend.ask("PUT", "/-/clusters", [machine(lab.cluster)])
    assert run_program("deadletters", "retry", "--config", str(daemon.config), "--all").returncode == 0
    mended(daemon, "no_subcluster")
    assert "nodes" not in check(daemon)[1]
    until(lambda: backend.jobs_of(job), "the job that was refused", timeout_s=60)


def _parked(daemon: Daemon) -> str:
    return run_program("deadletters", "list", "--config", str(daemon.config), "--state", "parked").stdout


def test_k1_a_hook_gets_the_mode_that_they_say(site: Site, lab: Lab) -> None:
    """Hook not executable, and then out of reach in a closed directory: the command that is named mends each."""
    daemon = site.daemon(site.backend(), start=False)
    for closed in (lab.root / "etc" / "prolog", lab.root / "etc"):
        mode = closed.stat().st_mode
        closed.chmod(0o700 if closed.is_dir() else 0o600)
        try:
            found = check(daemon)[1]["PrologSlurmctld"][0]
            assert str(closed) in found["remedy"]
            do(lab, found["remedy"])
            assert "PrologSlurmctld" not in check(daemon)[1]
        finally:
            closed.chmod(mode)


@pytest.fixture
def hookless(lab: Lab) -> Iterator[None]:
    """Have a slurmctld that was started without any hook."""
    before = {name: lab.settings[name] for name in ("PrologSlurmctld", "EpilogSlurmctld")}
    for settings in (dict.fromkeys(before, ""), before):
        lab.settings.update(settings)
        write_slurm_conf(lab)
        lab.slurmctld.stop()
        lab.slurmctld.start()
        if settings is not before:
            yield


@pytest.mark.usefixtures("hookless")
def test_a_slurmctld_that_ignores_its_new_hooks_is_started_again(site: Site, lab: Lab) -> None:
    """
    Hooks that a reconfigure added are off in 22.05, though slurmctld shows them; both name them, and a restart helps.

    From 23.11 on the reconfigure switches them on, and nothing is said.
    """
    daemon = site.daemon(site.backend())
    hook = str(site.hook(daemon))
    Path(hook).chmod(0o755)
    lab.configure(PrologSlurmctld=hook, EpilogSlurmctld=hook)
    for _ in range(2):  # the first ones may begin in the second in which the daemon did
        lab.wait_accounted(lab.sbatch("--array=1-4", script="exit 0"))
    if lab.release.version >= "23.11":
        until(lambda: "heard" in _heard(daemon), "a hint", timeout_s=30)
        assert not [each for each in problems(daemon) if "silent" in each["text"]]
        return
    remedy = named(daemon, "PrologSlurmctld is set and silent")["remedy"]
    assert "restart slurmctld" in remedy
    named(daemon, "EpilogSlurmctld is set and silent", "ends without its hint")
    assert {each["remedy"] for each in check(daemon)[1]["silent"]} == {remedy}
    lab.slurmctld.stop()
    lab.slurmctld.start()
    lab.wait_accounted(lab.sbatch(script="exit 0"))
    mended(daemon, "silent")
    assert "silent" not in check(daemon)[1]


def _heard(daemon: Daemon) -> set[str]:
    found = json.loads(run_program("check", "--config", str(daemon.config), "--json").stdout)["findings"]
    return {each["name"] for each in found}


def test_s1_slurmdbd_is_started_again(site: Site, lab: Lab) -> None:
    """Slurmdbd down: both name it; `sacctmgr list cluster`, which they say, tells the same; it is well once that runs."""
    daemon = site.daemon(site.backend())
    lab.slurmdbd.stop()
    try:
        assert "sacct" in named(daemon, "answers only in part")["remedy"]
        assert "slurmdbd" in check(daemon)[1]["slurmdbd"][0]["remedy"]
    finally:
        lab.slurmdbd.start()
    mended(daemon, "answers only in part")
    assert "slurmdbd" not in check(daemon)[1]


def beside(lab: Lab, command: str) -> subprocess.CompletedProcess[str]:
    """Run something as root where the daemon sees its mounts."""
    enter = ("nsenter", f"--mount={lab.place.namespace}", "--") if lab.place.namespace else ()
    argv = [*enter, "/bin/sh", "-c", command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture
def small_disk(site: Site, lab: Lab) -> Iterator[Path]:
    """A disk of 80 MiB, where the daemon sees it."""
    disk = site.root / "disk"
    disk.mkdir()
    if (done := beside(lab, f"mount -t tmpfs -o size=80m,mode=0755 tmpfs {disk}")).returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    yield disk
    for daemon in site.daemons:
        daemon.process.kill()
    assert beside(lab, f"umount -l {disk}").returncode == 0


def test_d1_room_is_made_on_a_full_disk(site: Site, lab: Lab, small_disk: Path) -> None:
    """Disk full: both name it and its directory; once there is room, it goes on, and no run is missing."""
    backend = site.backend()
    state, filler = small_disk / "state", small_disk / "filler"
    daemon = site.daemon(backend, daemon__state_dir=str(state), daemon__lastrun_file=str(state / "lastrun"))
    job = until(lambda: _fill_until_full(lab, daemon, filler), "a disk that is full", timeout_s=120)
    assert "daemon.state_dir" in named(daemon, str(state), "make room")["remedy"]
    found = _room(lab, daemon)
    assert (found["level"], "make room" in found["remedy"]) == ("fail", True)
    assert beside(lab, f"rm {filler}").returncode == 0
    mended(daemon, "make room")
    assert _room(lab, daemon)["level"] == "warn"
    until(lambda: backend.jobs_of(job), "the job of the full disk", timeout_s=60)


def _fill_until_full(lab: Lab, daemon: Daemon, filler: Path) -> int:
    """Take all room, and give the daemon something to write; gives a job of it once it has found that out."""
    beside(lab, f"for size in 65536 4096 1; do dd if=/dev/zero bs=$size; done >>{filler}")
    job = lab.sbatch("--array=0-9", script="exit 0")
    lab.wait_accounted(job)
    return job if any("make room" in each["text"] for each in problems(daemon)) else 0


def _room(lab: Lab, daemon: Daemon) -> dict[str, Any]:
    """What `check` says of the room, where the daemon sees its disk."""
    said = beside(lab, shlex.join((*PROGRAM, "check", "--config", str(daemon.config), "--json")))
    found = json.loads(said.stdout)["findings"]
    return next(dict(each) for each in found if each["name"] == "room")


def test_the_section_is_called_as_they_say(site: Site, lab: Lab) -> None:
    """Wrong cluster name: the section's right name is said; with it the cluster is found."""
    daemon = site.daemon(site.backend(), start=False)
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f"[clusters.{lab.cluster}]", "[clusters.elsewhere]"))
    daemon.start()
    assert lab.cluster in named(daemon, lab.cluster)["text"]
    remedy = check(daemon)[1]["cluster"][0]["remedy"]
    right = remedy.split()[3]
    assert right == f"clusters.{lab.cluster}"
    daemon.config.write_text(daemon.config.read_text().replace("clusters.elsewhere", right))
    daemon.signal(1)
    mended(daemon, lab.cluster)
    assert "cluster" not in check(daemon)[1]


class _Shifted(BaseHTTPRequestHandler):
    """Passes requests on to a backend, and says another time than it."""

    url: ClassVar[str]
    ahead_s: ClassVar[float]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        keep = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.request(self.command, self.url + self.path, headers=keep, content=body)
        self.send_response_only(answer.status_code)
        self.send_header("Date", formatdate(time.time() + self.ahead_s, usegmt=True))
        self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def clock(backend: Backend, ahead_s: float) -> Iterator[tuple[str, type[_Shifted]]]:
    """Have the backend at another address, where its clock is wrong."""
    kind = type("Shifted", (_Shifted,), {"url": backend.url, "ahead_s": ahead_s})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_a_backends_clock_is_set(site: Site, ahead_s: float) -> None:
    """Clock off: by how much and which way is said; when both hosts keep time, all is well."""
    backend = site.backend()
    with clock(backend, ahead_s) as (url, kind):
        daemon = site.daemon(backend, start=False, sinks__cc__url=url)
        found = check(daemon)[1]["clock"][0]
        assert "behind the backend's" in found["said"] if ahead_s > 0 else "ahead of" in found["said"]
        assert "3600 s" in found["said"] or "3599 s" in found["said"] or "3601 s" in found["said"]
        assert "keep time" in found["remedy"]
        kind.ahead_s = 0.0
        assert "clock" not in check(daemon)[1]


@pytest.fixture
def hidden(lab: Lab) -> Iterator[None]:
    """Have Slurm hide everybody's jobs from who is no operator."""
    before = lab.settings.get("PrivateData", "none")
    lab.configure(PrivateData="jobs")
    yield
    lab.configure(PrivateData=before)
    if lab.run("sacctmgr", "-n", "show", "user", OPERATED).strip():
        lab.sacctmgr("delete", "user", OPERATED)


@pytest.mark.usefixtures("hidden")
def test_s15_the_daemons_user_becomes_an_operator(site: Site, lab: Lab) -> None:
    """No permission: root's check speaks of the daemon's user, too; the commands that it names help."""
    daemon = site.daemon(site.backend(), start=False)
    user = pwd.getpwnam(OPERATED)
    daemon.state.mkdir(mode=0o700)
    shutil.chown(daemon.state, user.pw_uid, user.pw_gid)
    found = check(daemon)[1]["permission"][0]
    assert f"{OPERATED} is no operator" in found["said"]
    do(lab, found["remedy"])
    assert "permission" not in check(daemon)[1]
