"""What the doctor makes of what Slurm and the backend say. The whole walk is in tests/system/e2e/test_check.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slurmsyncd.commands.check.host import file_system, spool
from slurmsyncd.commands.check.nodes import SlurmNode, assess_nodes, parse_nodes
from slurmsyncd.commands.check.result import CheckLevel, CheckResult, worst
from slurmsyncd.commands.check.slurm_settings import assess_permission, assess_release, assess_settings
from slurmsyncd.config import ClusterConfig
from slurmsyncd.model import Gres
from slurmsyncd.sinks.topology import SubCluster, Topology
from slurmsyncd.slurm.settings import SlurmSettings, parse_settings, parse_slurmdbd_settings
from tests.paths import ROOT

CAPTURES = ROOT / "tests" / "data" / "slurm"
RELEASES = sorted(path.name for path in CAPTURES.iterdir() if (path / "scontrol-show-config.txt").exists())
NOW = 1_800_000_000


def judged(
    *, poll_s: float = 60.0, gpus: bool = True, told_at: int = NOW, **values: str
) -> dict[str, CheckLevel]:
    """Judge settings that are sound but for some; gives levels by name."""
    sound = {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageTRES": "cpu,mem,node,gres/gpu,gres/gpu:a100",
        "MinJobAge": "300 sec",
    }
    found = assess_settings(SlurmSettings({**sound, **values}, told_at), poll_s=poll_s, gpus=gpus, now=NOW)
    return {each.name: each.level for each in found}


@pytest.mark.parametrize("release", RELEASES)
def test_settings_of_real_releases_are_read(release: str) -> None:
    """What real Slurm prints is understood: accounting, MinJobAge, the hooks, what is private."""
    settings = parse_settings((CAPTURES / release / "scontrol-show-config.txt").read_text())
    assert settings.get("AccountingStorageType") == "accounting_storage/slurmdbd"
    assert settings.seconds("MinJobAge") == 120
    assert [Path(each).name for each in settings.listed("PrologSlurmctld")] == ["ctld-prolog"]
    assert settings.listed("EpilogSlurmctl") == ()
    assert not settings.hides_jobs


def test_s18_which_releases_are_tested_is_said() -> None:
    """Tested, between, older and younger releases are told apart."""
    said = ("slurm 22.05.8", "slurm-wlm 24.11.5", "slurm 23.11.1", "slurm 21.08.5", "slurm 27.05.0", "bash")
    levels = [assess_release(text).level for text in said]
    assert levels == [
        CheckLevel.OK,
        CheckLevel.OK,
        CheckLevel.NOTE,
        CheckLevel.FAIL,
        CheckLevel.WARN,
        CheckLevel.WARN,
    ]


def test_sound_settings_are_all_right() -> None:
    """Nothing is said against a slurm.conf as it should be."""
    assert set(judged().values()) == {CheckLevel.OK}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("accounting", {"AccountingStorageType": "accounting_storage/none"}),
        ("accounting", {"AccountingStorageType": "(null)"}),
        ("min_job_age", {"MinJobAge": "10 sec"}),
        ("gpu_tres", {"AccountingStorageTRES": "cpu,mem,node"}),
    ],
)
def test_a_wrong_setting_is_named(name: str, values: dict[str, Any]) -> None:
    """Each of them alone."""
    found = judged(**values)
    assert [each for each, level in found.items() if level is not CheckLevel.OK] == [name]


def test_what_does_not_matter_is_not_said() -> None:
    """Without GPUs nobody has to keep them; MinJobAge 0 keeps jobs for ever."""
    assert set(judged(gpus=False, AccountingStorageTRES="cpu", MinJobAge="0 sec").values()) == {CheckLevel.OK}


def test_z_clocks_that_disagree_are_named() -> None:
    """A minute is too much, a second is not."""
    assert judged(told_at=NOW - 60)["clock"] is CheckLevel.WARN
    assert judged(told_at=NOW + 1)["clock"] is CheckLevel.OK


def test_s19_who_is_no_operator_gets_the_commands() -> None:
    """An operator is demanded where jobs are hidden or batch scripts are asked for, and nowhere else."""
    assert assess_permission("sync", "Operator", hidden="slurm.conf", scripts=True).level is CheckLevel.OK
    unknown = assess_permission("sync", "", hidden="slurmdbd.conf", scripts=False)
    assert (unknown.level, "slurmdbd.conf" in unknown.said) == (CheckLevel.FAIL, True)
    assert "add user sync" in unknown.remedy
    known = assess_permission("sync", "None", hidden="", scripts=True)
    assert (known.level, "add user" in known.remedy) == (CheckLevel.WARN, False)
    assert "modify user sync set adminlevel=operator" in known.remedy
    assert assess_permission("sync", "", hidden="", scripts=False).level is CheckLevel.OK


def test_s19_slurmdbds_own_settings_are_told_from_those_of_slurm_conf() -> None:
    """Both parts of `sacctmgr show configuration` have a PrivateData; slurmdbd's part counts."""
    text = "PrivateData            = {}\n\nSlurmDBD configuration:\nPrivateData            = {}\n"
    assert parse_slurmdbd_settings(text.format("none", "accounts,jobs")).hides_jobs
    assert not parse_slurmdbd_settings(text.format("jobs", "none")).hides_jobs


def test_nodes_are_read_once_each() -> None:
    """A node in two partitions is one; devices of all types are read; garbage is skipped."""
    text = (
        "n1|2|8|2|gpu:a100:4(S:0-1),shard:8\nn1|2|8|2|gpu:a100:4(S:0-1),shard:8\n"
        "n2|1|4|1|gpu:1g.5gb:2,gpu:v100:1\nn3|1|4|1|(null)\nn4|x|4|1|\nslurm error\n"
    )
    assert parse_nodes(text) == (
        SlurmNode("n1", (2, 8), (Gres("gpu", "a100", 4), Gres("shard", None, 8))),
        SlurmNode("n2", (1, 4), (Gres("gpu", "1g.5gb", 2), Gres("gpu", "v100", 1))),
        SlurmNode("n3", (1, 4)),
    )


def _judge_nodes(nodes: tuple[SlurmNode, ...], config: ClusterConfig, *subs: SubCluster) -> list[CheckResult]:
    return list(assess_nodes(nodes, Topology({"alpha": subs}), "alpha", config, "sink x"))


def test_what_the_configuration_maps_is_not_compared() -> None:
    """Ignored hosts and hosts with a mapping of their own need nothing of the backend's topology."""
    sub = SubCluster("main", hosts=frozenset({"n1"}), cores=((0,), (1,)), accelerators=())
    nodes = (SlurmNode("n1.site", (1, 4), (Gres("gpu", None, 2),)), SlurmNode("login1", (1, 4)))
    plain = _judge_nodes(nodes, ClusterConfig(name="alpha"), sub)
    assert [each.level for each in plain] == [CheckLevel.FAIL]
    told = ClusterConfig(
        name="alpha",
        ignore_hosts=("login*",),
        strip_domain=True,
        hwthreads={"n*": ((0,), (1,), (2,), (3,))},
        gpus={"n1*": ("a", "b")},
    )
    assert [each.level for each in _judge_nodes(nodes, told, sub)] == [CheckLevel.OK]


@pytest.mark.parametrize(
    ("sockets", "devices", "trouble"),
    [
        ((2, 2), (Gres("gpu", "a100", 2), Gres("shard", None, 8)), ""),
        (
            (4, 1),
            (Gres("gpu", "a100", 2),),
            "",
        ),  # other sockets, the same cores: they are numbered by Slurm's
        ((2, 4), (Gres("gpu", "a100", 2),), "Slurm has 2 sockets of 4 cores"),
        ((2, 2), (Gres("gpu", "a100l.2", 4),), "Slurm has 4 a100l.2 on the node"),
        ((2, 2), (), "Slurm has none on the node"),
    ],
)
def test_nodes_are_compared_as_runs_are_mapped(
    sockets: tuple[int, int], devices: tuple[Gres, ...], trouble: str
) -> None:
    """What would leave a run without its hardware threads or GPU ids is named before the first one comes."""
    cores = tuple((core,) for core in range(4))
    sub = SubCluster(
        "main", hosts=frozenset({"n1"}), cores=cores, cores_per_socket=2, accelerators=("A", "B")
    )
    (found,) = _judge_nodes((SlurmNode("n1", sockets, devices),), ClusterConfig(name="alpha"), sub)
    assert (found.level is CheckLevel.OK) == (not trouble)
    assert trouble in found.said


def test_many_nodes_with_one_trouble_are_one_finding() -> None:
    """Two thousand nodes do not make two thousand lines."""
    nodes = tuple(SlurmNode(f"n{number}", (1, 4)) for number in range(2000))
    sub = SubCluster("main", hosts=frozenset({"other"}), cores=((0,),))
    (found,) = _judge_nodes(nodes, ClusterConfig(name="alpha"), sub)
    assert "and 1995 more" in found.said


def test_a_cluster_that_the_backend_lacks_is_named() -> None:
    """With those that it has."""
    (found,) = assess_nodes((), Topology({"beta": ()}), "alpha", ClusterConfig(name="alpha"), "sink x")
    assert (found.level, "beta" in found.said) == (CheckLevel.FAIL, True)


def test_d12_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    """A state directory on NFS or tmpfs is found out, blanks in its path and all."""
    inner = tmp_path / "a b" / "state"
    inner.mkdir(parents=True)
    shown = str(tmp_path.resolve() / "a b").replace(" ", "\\040")
    lines = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / {shown} rw shared:1 - nfs4 srv:/x rw\nbroken\n"
    assert file_system(inner, lines) == "nfs4"
    assert file_system(tmp_path, lines) == "ext4"


def test_the_worst_decides() -> None:
    """Notes and skipped lines are no reason to worry."""

    def found(*levels: CheckLevel) -> tuple[CheckResult, ...]:
        return tuple(CheckResult("a", "n", level, "s") for level in levels)

    assert worst(found(CheckLevel.OK, CheckLevel.NOTE, CheckLevel.SKIPPED)) is CheckLevel.OK
    assert worst(found(CheckLevel.WARN, CheckLevel.OK)) is CheckLevel.WARN
    assert worst(found(CheckLevel.WARN, CheckLevel.FAIL)) is CheckLevel.FAIL


def test_a_spool_that_nobody_empties_is_named(tmp_path: Path) -> None:
    """Missing, shut by a daemon that stopped, or full after one that was killed: hints go nowhere."""
    directory = tmp_path / "spool"
    assert spool(directory).level is CheckLevel.FAIL
    directory.mkdir(mode=0o730)
    assert spool(directory).level is CheckLevel.OK
    for number in range(5001):
        (directory / str(number)).touch()
    assert "5,001 hints wait" in spool(directory).said
    directory.chmod(0o500)
    assert "is shut" in spool(directory).said
