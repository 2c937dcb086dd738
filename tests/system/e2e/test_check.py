"""``slurmsyncd check`` beside a real Slurm: all is well, and then one thing broken at a time, named with its remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.e2e.machine import machine
from tests.system.e2e.site import run_program
from tests.tools.lab import until

if TYPE_CHECKING:
    from tests.system.e2e.site import Daemon, Site
    from tests.tools.lab import Lab

Findings = dict[str, list[dict[str, Any]]]


def check(daemon: Daemon, *also: str) -> tuple[int, Findings]:
    """Run the command; gives its exit status, and what is not all right by name."""
    done = run_program("check", "--config", str(daemon.config), "--json", *also)
    found = json.loads(done.stdout)["findings"]
    odd = [each for each in found if each["level"] in ("warn", "fail")]
    assert all(each["remedy"] for each in odd)
    return done.returncode, {
        each["name"]: [one for one in odd if one["name"] == each["name"]] for each in odd
    }


def test_a_sound_site_has_nothing_to_mend(site: Site, lab: Lab) -> None:
    """Slurm, hooks, the backend's nodes, the state and the daemon: every line is ok, and the status 0."""
    daemon = site.daemon(site.backend())
    with lab.hooks(prolog=site.hook(daemon), epilog=site.hook(daemon)):
        lab.wait_accounted(lab.sbatch(script="exit 0"))
        until(lambda: check(daemon)[0] == 0, "a clean bill of health", timeout_s=60)
        shown = run_program("check", "--config", str(daemon.config))
    assert shown.returncode == 0
    assert "all is well" in shown.stdout
    assert f"all 4 nodes of {lab.cluster}" in shown.stdout
    assert "a test hint reached the daemon" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_h9_a_token_that_is_not_taken(site: Site) -> None:
    """The sink that refuses us is named, and what to ask its admin for."""
    daemon = site.daemon(site.backend(), start=False)
    head, claims, _ = daemon.token.read_text().split(".")
    daemon.token.write_text(f"{head}.{claims}.{'A' * 86}")
    status, odd = check(daemon)
    assert status == 2
    assert odd["reached"][0]["area"] == "sink cc"
    assert "token" in odd["reached"][0]["remedy"]


def test_h1_a_backend_that_is_down(site: Site) -> None:
    """An address where nobody listens is named."""
    backend = site.backend()
    daemon = site.daemon(backend, start=False)
    backend.process.kill()
    status, odd = check(daemon)
    assert status == 2
    assert backend.url in odd["reached"][0]["said"]


def test_a_node_that_the_backend_lacks(site: Site, lab: Lab) -> None:
    """Nodes that are missing there are named; so are those whose cores or GPUs differ."""
    backend = site.backend()
    daemon = site.daemon(backend, start=False)
    clusters = [machine(lab.cluster)]
    subs = clusters[0]["subClusters"]
    subs[0]["nodes"] = "n1"
    subs[1]["topology"]["core"].pop()
    subs[1]["topology"]["accelerators"].pop()
    backend.ask("PUT", "/-/clusters", clusters)
    status, odd = check(daemon)
    assert status == 2
    said = " / ".join(each["said"] for each in odd["nodes"])
    assert "n2: host is in no sub-cluster" in said
    assert "n3, n4: Slurm has 2 sockets of 8 cores" in said
    assert "sub-cluster even has 3 in topology.accelerators" in said


def test_a_cluster_of_another_name(site: Site, lab: Lab) -> None:
    """A section that is not called as Slurm calls the cluster is named, with the right name."""
    daemon = site.daemon(site.backend(), start=False)
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f"[clusters.{lab.cluster}]", "[clusters.elsewhere]"))
    status, odd = check(daemon)
    assert status == 2
    assert f"clusters.{lab.cluster}" in odd["cluster"][0]["remedy"]


def test_s1_slurmdbd_is_down(site: Site, lab: Lab) -> None:
    """Accounting that does not answer is named; the rest of the path is walked all the same."""
    daemon = site.daemon(site.backend())
    lab.slurmdbd.stop()
    try:
        status, odd = check(daemon)
    finally:
        lab.slurmdbd.start()
    assert status == 2
    assert "slurmdbd" in odd
    assert "reached" not in odd


def test_s2_slurmctld_is_down(site: Site, lab: Lab) -> None:
    """A controller that does not answer is named."""
    daemon = site.daemon(site.backend(), start=False)
    lab.slurmctld.stop()
    try:
        status, odd = check(daemon)
    finally:
        lab.slurmctld.start()
    assert status == 2
    assert "slurmctld" in odd


def _conf(lab: Lab, name: str, **settings: str) -> str:
    """Write a second slurm.conf with other settings, for clients alone; give the option that has it taken."""
    path = lab.root / "etc" / name
    added = "".join(f"{key}={value}\n" for key, value in settings.items())
    path.write_text((lab.root / "etc" / "slurm.conf").read_text() + added)
    return f"clusters.{lab.cluster}.slurm_conf={path}"


def test_a_plugin_that_json_needs_is_missing(site: Site, lab: Lab) -> None:
    """Commands without their JSON plugin list jobs and give none's allocation: the plugin is named."""
    daemon = site.daemon(site.backend(), start=False, sinks__cc__nodestate_interval=60)
    plugins = lab.root / "plugins"
    plugins.mkdir()
    theirs = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm")
    for file in (lab.place.root / theirs.relative_to("/")).iterdir():
        if file.name != "serializer_json.so":
            (plugins / file.name).symlink_to(theirs / file.name)
    status, odd = check(daemon, "--set", _conf(lab, "no-json.conf", PluginDir=str(plugins)))
    assert status == 2
    for name in ("details", "node_states"):
        assert "serializer/json" in odd[name][0]["said"]
        assert "slurm-wlm-basic-plugins" in odd[name][0]["remedy"]
    assert not {"listing", "slurmdbd", "by_id"} & odd.keys()


def test_a_cluster_that_slurmdbd_does_not_know(site: Site, lab: Lab) -> None:
    """Of such a cluster sacct prints nothing and exits 0 for ever: it is named, with the command that adds it."""
    daemon = site.daemon(site.backend(), start=False)
    with lab.neighbour("unheard", own_slurmdbd=False) as other:
        lab.sacctmgr("delete", "cluster", other.cluster)
        try:
            _, odd = check(daemon, "--set", f"clusters.unheard.slurm_conf={other.env['SLURM_CONF']}")
        finally:
            lab.sacctmgr("add", "cluster", other.cluster)
    (found,) = odd["registered"]
    assert found["level"] == "fail"
    assert "sacctmgr -i add cluster unheard" in found["remedy"]


def test_what_the_first_start_makes_is_not_missed_before_it(site: Site) -> None:
    """Before the daemon ever ran, check says so and finds nothing wrong; a new administrator sees no red."""
    daemon = site.daemon(site.backend(), start=False)
    status, odd = check(daemon)
    assert (status, odd) == (0, {})
    assert "the daemon has not run here yet" in run_program("check", "--config", str(daemon.config)).stdout


def test_k1_a_hook_that_cannot_run_and_a_socket_that_nobody_reads(site: Site, lab: Lab) -> None:
    """A prolog that slurmctld may not execute fails jobs; a daemon that is not there is said, too."""
    daemon = site.daemon(site.backend())
    assert daemon.stop() == 0
    program = lab.root / "etc" / "prolog"
    mode = program.stat().st_mode
    program.chmod(0o600)
    try:
        status, odd = check(daemon)
    finally:
        program.chmod(mode)
    assert status == 2
    assert odd["PrologSlurmctld"][0]["remedy"] == f"chmod 0755 {program}"
    assert "socket" in odd
    assert "running" in odd


def test_x10_a_state_directory_that_others_may_write(site: Site) -> None:
    """The mode that is wanted is named."""
    daemon = site.daemon(site.backend(), start=False)
    daemon.state.mkdir(exist_ok=True)
    daemon.state.chmod(0o777)
    status, odd = check(daemon)
    assert status == 2
    assert odd["directory"][0]["remedy"] == f"chmod 0700 {daemon.state}"


def test_a_configuration_that_is_wrong(site: Site) -> None:
    """Every mistake is a finding of its own, and nothing else is tried."""
    daemon = site.daemon(site.backend(), start=False)
    daemon.config.write_text(daemon.config.read_text() + "\n[damon]\nx = 1\n")
    status, odd = check(daemon, "--set", "daemon.poll_interval=-1")
    assert status == 2
    assert len(odd["sound"]) == 2


def test_s18_commands_that_are_not_there(site: Site) -> None:
    """The setting that would name their directory is said."""
    daemon = site.daemon(site.backend(), start=False)
    status, odd = check(daemon, "--set", "slurm.bin_dir=/nowhere")
    assert status == 2
    assert len(odd["commands"]) == 4
    assert "slurm.bin_dir" in odd["commands"][0]["remedy"]
