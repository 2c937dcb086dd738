"""The lab's configuration files. Pure but for the choice of free ports."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
DB_PASSWORD = "slurmpw"  # of a database on the loopback that lives as long as the tests


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the daemons; slurmd has one for each node."""

    slurmctld: int
    slurmdbd: int
    mariadb: int
    slurmd: tuple[int, ...]


def free_ports() -> Ports:
    """
    Choose ports that are free now.

    They lie below the range of ephemeral ports: there, while a daemon is stopped, a client's own source port
    might be the daemon's, and connecting to it would connect the client to itself.
    """
    found: list[int] = []
    for port in random.sample(range(12000, 30000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == 3 + len(NODES):
            break
    return Ports(found[0], found[1], found[2], tuple(found[3:]))


def host_address() -> tuple[str, str]:
    """Return this host's short name and the address that it resolves to, on which Slurm's daemons listen."""
    name = socket.gethostname().split(".")[0]
    try:
        return name, socket.gethostbyname(name)
    except OSError:
        return name, ""


def slurm_settings(
    *, cluster: str, root: Path, ports: Ports, host: str, address: str, min_job_age: int
) -> dict[str, str]:
    """Settings of slurm.conf, but for nodes and partitions."""
    return {
        "ClusterName": cluster,
        "SlurmctldHost": f"{host}({address or '127.0.0.1'})",
        "SlurmctldPort": f"{ports.slurmctld}",
        # Listen on the host name's address only; where the name has none, on all.
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny" if address else "",
        "AuthType": "auth/munge",
        # A requeued job has to wait until its first run's credential is void; 120 s by default.
        "AuthInfo": "cred_expire=10",
        "CredType": "cred/munge",
        "SlurmUser": "slurm",
        "StateSaveLocation": f"{root}/state",
        "SlurmdSpoolDir": f"{root}/spool/%n",
        "SlurmctldPidFile": f"{root}/run/slurmctld.pid",
        "SlurmdPidFile": f"{root}/run/slurmd.%n.pid",
        "SlurmctldLogFile": f"{root}/log/slurmctld.log",
        "SlurmdLogFile": f"{root}/log/slurmd.%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "ReturnToService": "2",
        "PropagateResourceLimits": "NONE",
        "KillWait": "2",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": "1000",
        "SlurmdParameters": "config_overrides",  # nodes may claim more than this host has
        # Batch jobs start at once. One that does may reach slurmdbd after its batch step: its row then says PENDING
        # while it runs, and NodeList keeps the batch host alone for good (22.05). NNodes is right after the end.
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=5,sched_min_interval=100000,bf_interval=2",
        "MinJobAge": f"{min_job_age}",
        "JobAcctGatherType": "jobacct_gather/linux",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": address or "127.0.0.1",
        "AccountingStoragePort": f"{ports.slurmdbd}",
        "AccountingStorageEnforce": "associations,qos,limits",
        "AccountingStorageTRES": "gres/gpu,gres/gpu:a100",
        "AccountingStoreFlags": "job_comment,job_script,job_env",
        "PrologSlurmctld": f"{root}/etc/prolog",
        "EpilogSlurmctld": f"{root}/etc/epilog",
        "GresTypes": "gpu",
    }


def slurm_conf(settings: dict[str, str], *, ports: Ports, host: str, address: str) -> str:
    """slurm.conf: four nodes of 2 sockets, 8 cores each, 2 threads each, and 4 GPUs."""
    lines = [f"{key}={value}" for key, value in settings.items() if value]
    shape = "CPUs=32 Boards=1 SocketsPerBoard=2 CoresPerSocket=8 ThreadsPerCore=2 RealMemory=64000"
    for node, port in zip(NODES, ports.slurmd, strict=True):
        where = f"NodeName={node} NodeHostname={host} NodeAddr={address or '127.0.0.1'} Port={port}"
        lines.append(f"{where} {shape} Gres=gpu:a100:4 State=UNKNOWN")
    lines.append(f"PartitionName=batch Nodes={','.join(NODES)} Default=YES MaxTime=2-00:00:00 State=UP")
    return "\n".join(lines) + "\n"


def gres_conf(root: Path) -> str:
    """gres.conf: all nodes share the device files, whose names end in digits for CUDA_VISIBLE_DEVICES."""
    return f"AutoDetect=off\nNodeName={','.join(NODES)} Name=gpu Type=a100 File={root}/dev/nvidia[0-3]\n"


def slurmdbd_conf(*, root: Path, ports: Ports, host: str, address: str) -> str:
    """slurmdbd.conf, which lies beside slurm.conf and is found through SLURM_CONF."""
    settings = {
        "AuthType": "auth/munge",
        "DbdHost": host,
        "DbdAddr": address or "127.0.0.1",
        "DbdPort": f"{ports.slurmdbd}",
        "CommunicationParameters": "NoInAddrAny" if address else "",
        "SlurmUser": "slurm",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": f"{ports.mariadb}",
        "StorageUser": "slurm",
        "StoragePass": DB_PASSWORD,
        "StorageLoc": "slurm_acct_db",
        "LogFile": f"{root}/log/slurmdbd.log",
        "PidFile": f"{root}/run/slurmdbd.pid",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items() if value)


def dispatcher(script: Path) -> str:
    """Return a hook that Slurm is configured with once, and that runs whatever hook the tests put beside it."""
    return f'#!/bin/sh\n[ -x {script} ] || exit 0\nexec {script} "$@"\n'
