"""A lab with nodes of several shapes, devices of several kinds, partitions that preempt, and hooks that leave hints."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.tools.lab import BOOKWORM, FORKY, NODES, TRIXIE, Lab, Release, bringup, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELEASES = {release.version: release for release in (BOOKWORM, TRIXIE, FORKY)}

#: Node → sockets, cores a socket, threads a core, devices.
SHAPES = {
    **dict.fromkeys(NODES, (2, 8, 2, "gpu:a100:4")),
    "big1": (2, 4, 2, ""),
    "small1": (1, 4, 1, ""),
    "many1": (1, 32, 1, "gpu:16"),
    "types1": (2, 8, 2, "gpu:a100:2,gpu:v100:2,gpu:1g.5gb:4,gpu:a100-3g.20gb:2"),
    "shard1": (1, 8, 2, "gpu:a100:2,shard:8"),
    "low1": (1, 4, 1, ""),
    "frail1": (1, 4, 1, ""),
    "frail2": (1, 4, 1, ""),
    "booked1": (1, 4, 1, ""),
    "user1": (1, 8, 2, ""),
}
ADDED = tuple(node for node in SHAPES if node not in NODES)

PARTITIONS = (
    "batch Nodes=n[1-4] Default=YES MaxTime=2-00:00:00",
    "zoo Nodes=many1,types1,shard1,booked1,user1 MaxTime=UNLIMITED",
    "mixed Nodes=big1,small1",
    "over Nodes=user1 OverSubscribe=YES:4",
    "whole Nodes=big1,small1 OverSubscribe=EXCLUSIVE",
    "private Nodes=user1 ExclusiveUser=YES",
    "frail Nodes=frail[1-2]",
    "low Nodes=low1 PriorityTier=1 PreemptMode=REQUEUE",
    "lowest Nodes=low1 PriorityTier=1 PreemptMode=CANCEL",
    "urgent Nodes=low1 PriorityTier=10 PreemptMode=OFF",
)
SETTINGS = {
    "GresTypes": "gpu,shard",
    "AccountingStorageTRES": "gres/gpu,gres/gpu:a100,gres/gpu:v100,gres/gpu:1g.5gb,gres/shard,license/matlab",
    "Licenses": "matlab:10",
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
}

#: Word of each hook goes to a file, as a hint would go to the socket; one job's first prolog fails.
HOOK = """#!/bin/sh
echo "$SLURM_SCRIPT_CONTEXT $SLURM_JOB_ID $SLURM_JOB_RESTART_COUNT" >>{hints}
case "$SLURM_SCRIPT_CONTEXT $SLURM_JOB_NAME $SLURM_JOB_RESTART_COUNT" in
prolog_slurmctld\\ prolog-*\\ 0) exit 1 ;;
esac
exit 0
"""


@contextmanager
def world(release: Release, directory: Path) -> Iterator[Lab]:
    """Bring up a lab and rebuild it."""
    with Lab.start(release, claim="kinds") as lab:
        _rebuild(lab)
        hook = directory / "hook"
        hook.write_text(HOOK.format(hints=hints_of(lab)))
        lab.set_hooks(prolog=hook, epilog=hook)
        yield lab


def hints_of(lab: Lab) -> Path:
    """Return the file that the hooks write to."""
    return lab.root / "log" / "hints"


def _rebuild(lab: Lab) -> None:
    for daemon in (*lab.slurmd.values(), lab.slurmctld):
        daemon.stop()
    lab.settings.update(SETTINGS)
    for node in ADDED:
        (lab.root / "spool" / node).mkdir()
        argv = ("slurmd", "-D", "-N", node)
        lab.slurmd[node] = lab._daemon(f"slurmd.{node}", *argv, ready=lab._node_ready(node))
    for index in range(4, 16):
        bringup._make_device(lab.root / "dev" / f"nvidia{index}")
    _write(lab)
    lab.slurmctld.start()
    for daemon in lab.slurmd.values():
        daemon.launch()
    until(lambda: lab._idle() == set(SHAPES), "idle nodes", timeout_s=60)


def _write(lab: Lab) -> None:
    etc = lab.root / "etc"
    lines = [f"{key}={value}" for key, value in lab.settings.items() if value]
    used = {lab.ports.slurmctld, lab.ports.slurmdbd, lab.ports.mariadb, *lab.ports.slurmd}
    ports = iter([port for port in range(min(used) + 1, min(used) + 100) if port not in used])
    own = dict(zip(NODES, lab.ports.slurmd, strict=True))
    address = lab.address or "127.0.0.1"
    for node, (sockets, cores, threads, gres) in SHAPES.items():
        where = (
            f"NodeName={node} NodeHostname={lab.host} NodeAddr={address} Port={own.get(node) or next(ports)}"
        )
        shape = f"Boards=1 SocketsPerBoard={sockets} CoresPerSocket={cores} ThreadsPerCore={threads}"
        held = f"Gres={gres}" if gres else ""
        cpus = sockets * cores * threads
        lines.append(f"{where} CPUs={cpus} {shape} RealMemory=64000 {held} Feature=fast State=UNKNOWN")
    lines += [f"PartitionName={partition} State=UP" for partition in PARTITIONS]
    (etc / "slurm.conf").write_text("\n".join(lines) + "\n")
    (etc / "gres.conf").write_text(_gres_conf(lab.root / "dev"))


def _gres_conf(devices: Path) -> str:
    return "\n".join(
        (
            "AutoDetect=off",
            f"NodeName=n[1-4] Name=gpu Type=a100 File={devices}/nvidia[0-3]",
            f"NodeName=many1 Name=gpu File={devices}/nvidia[0-15]",
            f"NodeName=types1 Name=gpu Type=a100 File={devices}/nvidia[0-1]",
            f"NodeName=types1 Name=gpu Type=v100 File={devices}/nvidia[2-3]",
            f"NodeName=types1 Name=gpu Type=1g.5gb File={devices}/nvidia[4-7]",
            f"NodeName=types1 Name=gpu Type=a100-3g.20gb File={devices}/nvidia[8-9]",
            f"NodeName=shard1 Name=gpu Type=a100 File={devices}/nvidia[0-1]",
            "NodeName=shard1 Name=shard Count=8",
            "",
        )
    )
