"""The cluster of the guide's example on a booted machine: Debian's Slurm, run by Debian's units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tools.lab.waiting import until

if TYPE_CHECKING:
    from tests.system.systemd.machine import Machine
    from tests.tools.lab import Release

#: As an administrator would have it: no hooks, nothing hidden, accounting in slurmdbd.
SLURM_CONF = """
ClusterName=alpha
SlurmctldHost={host}(127.0.0.1)
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 SocketsPerBoard=1 CoresPerSocket=4 RealMemory=1000
PartitionName=batch Nodes=ALL Default=YES State=UP
"""
SLURMDBD_CONF = """
AuthType=auth/munge
DbdHost={host}
DbdAddr=127.0.0.1
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StorageUser=slurm
StoragePass=slurmpw
StorageLoc=slurm_acct_db
"""
#: Slurm's look-up of 127.0.0.1 fails where a host has no address but that.
ADDRESS = """
import fcntl, socket, struct
request = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton("192.0.2.1"))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8916, request)
"""
SETUP = """
mariadb -e "create database slurm_acct_db; create user slurm@localhost identified by 'slurmpw';
  grant all on slurm_acct_db.* to slurm@localhost"
install -d -o slurm -g slurm /var/lib/slurm /var/lib/slurm/slurmctld
install -d /var/lib/slurm/slurmd
chown slurm: /etc/slurm/slurmdbd.conf
echo 'SLURMD_OPTIONS="-N n1"' >/etc/default/slurmd
systemctl start slurmdbd
"""


def start(machine: Machine, release: Release) -> None:
    """Configure Slurm and start it, until its node is idle."""
    host = machine.run("hostname", "-s").stdout.strip()
    machine.write("/etc/slurm/slurm.conf", SLURM_CONF.format(host=host))
    machine.write("/etc/slurm/slurmdbd.conf", SLURMDBD_CONF.format(host=host), mode=0o600)
    machine.write("/etc/slurm/cgroup.conf", f"CgroupPlugin={release.cgroup_plugin}\n")
    machine.run("python3", "-c", ADDRESS)
    machine.run("sh", "-ec", SETUP)
    until(lambda: _answers(machine, "sacctmgr", "-n", "list", "cluster"), "slurmdbd", timeout_s=60)
    machine.run("sacctmgr", "-i", "add", "cluster", "alpha")
    machine.run("systemctl", "start", "slurmctld", "slurmd")
    until(lambda: _idle(machine), "an idle node", timeout_s=60)


def _answers(machine: Machine, *argv: str) -> bool:
    return machine.run(*argv, check=False).returncode == 0


def _idle(machine: Machine) -> bool:
    return machine.run("sinfo", "-h", "-t", "idle", "-o", "%N", check=False).stdout.strip() == "n1"
