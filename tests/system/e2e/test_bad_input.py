"""What an operator or a stranger gets wrong: one clear line with the remedy, counted, nothing lost, no traceback."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.e2e.site import run_program
from tests.system.e2e.traffic import Traffic
from tests.tools.lab import until

if TYPE_CHECKING:
    from tests.system.e2e.site import Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab

WRONG = """
[daemon]
poll_intervall = 5
query_delay = -1
[clusters."a b"]
[hook]
socket = "hook.sock"
[sinks.cc]
url = "ftp://somewhere"
timeout = "long"
"""


#: A command of Slurm's that prints rubbish while a file is there.
GARBLER = """#!/bin/sh
[ -e {broken} ] || exec {real} "$@"
printf '<html>\\0\\377 not what was asked\\n1|2|3\\n{{"jobs": [{{"job_id": '
"""


def test_all_mistakes_of_a_configuration_are_said_at_once(tmp_path: Path) -> None:
    """Exit 78, a line for each with what is allowed; the unknown key with the one that was meant."""
    config = tmp_path / "config.toml"
    config.write_text(WRONG)

    done = run_program("run", "--config", str(config))

    assert done.returncode == 78
    said = done.stderr.splitlines()
    assert all(line.startswith("slurmsyncd: ") for line in said)
    for part in (
        "daemon.poll_intervall: unknown; did you mean poll_interval?",
        "daemon.query_delay = -1",
        "'a b' is no cluster name",
        "hook.socket = 'hook.sock': unix:/absolute/path",
        "sinks.cc.url = 'ftp://somewhere': http(s)://host",
        "sinks.cc.timeout = 'long'",
        "sinks.cc.token_file = ''",
    ):
        assert len([line for line in said if part in line]) == 1, (part, said)
    assert len(said) == 7


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "no such file; write one, or name it with --config"),
        ("[daemon\n", "no TOML"),
        ("", "sinks: none is configured; add [sinks.NAME] with url and token_file"),
    ],
)
def test_a_configuration_that_is_missing_broken_or_empty(tmp_path: Path, text: str | None, part: str) -> None:
    """Exit 78 and one line."""
    config = tmp_path / "config.toml"
    own = [f"daemon.{key}={tmp_path}/{key}/x" for key in ("pid_file", "lastrun_file", "state_dir")]
    own.append(f"hook.socket=unix:{tmp_path}/run/x")
    if text is not None:
        config.write_text(text)

    done = run_program("run", "--config", str(config), *(f"--set={setting}" for setting in own))

    assert done.returncode == 78
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_h9_a_wrong_token_is_put_right_without_a_restart(lab: Lab, site: Site, witness: Witness) -> None:
    """The sink is unavailable, loudly; nothing is charged to a run; with the right token in the file all arrives."""
    backend, other = site.backend(), site.backend()
    daemon = site.daemon(backend, start=False)
    daemon.token.write_text(other.token)
    daemon.start()
    traffic = Traffic(lab, witness)
    traffic.submit("-n1", "--gres=gpu:1", seconds=3)

    said = daemon.wait_event("sink_unavailable", level="error")
    assert said["reason"] == "credentials"
    traffic.wait_for_ends()
    assert backend.jobs() == []
    assert daemon.process.running

    daemon.token.write_text(backend.token)
    daemon.wait_event("sink_available_again")
    traffic.check(backend)
    assert daemon.stop() == 0
    with daemon.open_store() as store:
        assert store.list_deliveries() == ()
        (story,) = store.run_histories(traffic.ids[0])
        assert [delivery.history for delivery in story.deliveries] == [()]


def test_h1_an_address_where_no_backend_is(lab: Lab, site: Site) -> None:
    """`run --once` exits 75 and names the sink."""
    backend = site.backend()
    daemon = site.daemon(backend, start=False, sinks__cc__url="http://127.0.0.1:9")
    job_id = lab.sbatch(script="sleep 300")
    lab.wait(job_id, "RUNNING")

    done = daemon.once()

    assert done.returncode == 75
    assert "sink_unavailable" in done.stderr
    assert "http://127.0.0.1:9" in done.stderr


def test_s1_slurm_commands_that_are_missing(lab: Lab, site: Site, tmp_path: Path) -> None:
    """`run --once` exits 75 with the place and the setting; the daemon waits, and begins when they appear."""
    backend = site.backend()
    place = site.root / "bin"
    daemon = site.daemon(backend, start=False, slurm__bin_dir=str(place))

    done = daemon.once()
    assert done.returncode == 75
    assert f"{place}/squeue" in done.stderr
    assert "slurm.bin_dir" in done.stderr

    daemon.start()
    daemon.wait_event("look_failed")
    job_id = lab.sbatch(script="sleep 300")
    place.symlink_to(lab.bin_dir)
    daemon.wait_event("look_works_again")
    until(lambda: backend.jobs_of(job_id), "job in the backend", timeout_s=30)
    assert daemon.stop() == 0


def test_s8_garbage_from_slurm(lab: Lab, site: Site, witness: Witness) -> None:
    """What the commands print makes no sense for a while: said in a line, believed in no part, and made good afterwards."""
    backend = site.backend()
    place, broken = site.root / "bin", site.root / "broken"
    place.mkdir()
    for name in ("squeue", "sacct", "scontrol", "sinfo"):
        script = place / name
        script.write_text(GARBLER.format(broken=broken, real=lab.bin_dir / name))
        script.chmod(0o755)
    daemon = site.daemon(backend, slurm__bin_dir=str(place))
    traffic = Traffic(lab, witness)
    through = traffic.start("-n2", "--gres=gpu:1")
    until(lambda: backend.jobs_of(through), "job in the backend", timeout_s=30)

    broken.touch()
    said = daemon.wait_event("look_failed")
    assert "\n" not in said["reason"]
    traffic.start("-n1", "--gres=gpu:2", seconds=6)
    assert [job["jobId"] for job in backend.jobs("running")] == [through]
    broken.unlink()

    daemon.wait_event("look_works_again")
    lab.scancel(through)
    traffic.check(backend)
    assert daemon.stop() == 0


def test_x8_the_token_is_nowhere_but_in_its_file(lab: Lab, site: Site, witness: Witness) -> None:
    """Not in the command line or environment of the daemon, not in its store; the logs are looked at in every test."""
    backend = site.backend()
    daemon = site.daemon(backend)
    secret = backend.token.split(".")[2].encode()
    traffic = Traffic(lab, witness)
    traffic.submit("-n1", "--gres=gpu:1", seconds=3)
    traffic.check(backend)
    process = Path("/proc", str(daemon.process.pid))

    for place in (
        process / "cmdline",
        process / "environ",
        *daemon.state.iterdir(),
        *daemon.pid_file.parent.iterdir(),
    ):
        assert not place.is_file() or secret not in place.read_bytes(), place
    assert daemon.stop() == 0


def test_k7_garbage_on_the_socket(lab: Lab, site: Site, witness: Witness) -> None:
    """It is refused and said once; the hook's next word is heard."""
    backend = site.backend()
    daemon = site.daemon(backend, daemon__poll_interval=3600)
    hook = site.hook(daemon)
    traffic = Traffic(lab, witness)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for data in (b"", b"\0", b"x" * 60000, b"\xff\xfe\n", b"slurmsyncd/2 context=prolog job=1\n", b"{}"):
            sender.sendto(data, str(daemon.socket))
            daemon.wait_event("hint_refused")
    with lab.hooks(prolog=hook, epilog=hook):
        traffic.submit("-n1", "--gres=gpu:1", seconds=3)
        traffic.check(backend)
    assert len(daemon.events("hint_refused")) == 1
    assert daemon.stop() == 0
