"""How the lab comes up for the first time: files, database, daemons in their order, accounts."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tools.lab import configuration
from tests.tools.lab.configuration import NODES
from tests.tools.lab.waiting import LabError

if TYPE_CHECKING:
    from tests.tools.lab.lab import Lab

#: 22.05 looks for slurmdbd's munge nowhere else, whatever AuthInfo=socket= says.
MUNGE_DIR = Path("/run/munge")
PUBLIC = ("etc", "log", "run", "state", "spool", "dev", "work", "db")


def bring_up(lab: Lab) -> None:
    """
    Bring up a lab in its empty directory, until four nodes are idle.

    Raises:
        LabError: A part does not come up.
    """
    _write_files(lab)
    _start_munge(lab)
    _start_mariadb(lab)
    lab.slurmdbd.start()
    lab.sacctmgr("add", "qos", "high", "priority=100")
    _start_cluster(lab)


def join(lab: Lab) -> None:
    """
    Bring up a cluster in its empty directory for a slurmdbd that runs already.

    Raises:
        LabError: A part does not come up.
    """
    _write_files(lab)
    lab.munged = None
    _start_cluster(lab)


def _start_cluster(lab: Lab) -> None:
    _add_accounts(lab)
    lab.slurmctld.start()
    for daemon in lab.slurmd.values():
        daemon.launch()
    for daemon in lab.slurmd.values():
        daemon.wait_ready()


def write_slurm_conf(lab: Lab) -> None:
    """Write slurm.conf anew from the lab's settings, in one step."""
    path = lab.root / "etc" / "slurm.conf"
    text = configuration.slurm_conf(lab.settings, ports=lab.ports, host=lab.host, address=lab.address)
    partial = path.with_suffix(".new")
    partial.write_text(text)
    partial.rename(path)


def munged_argv(root: Path) -> list[str]:
    """Command line of munged; --force: its log directory is another user's."""
    files = {"key-file": "munge/key", "pid-file": "run/munged.pid", "log-file": "log/munged.log"}
    options = [f"--{name}={root}/{path}" for name, path in files.items()]
    return ["munged", "--foreground", "--force", f"--seed-file={root}/munge/seed", *options]


def mariadbd_argv(root: Path, port: int) -> list[str]:
    """Command line of MariaDB: on the loopback, careless about a power failure (but not about SIGKILL), small."""
    where = [
        f"--datadir={root}/db/data",
        f"--socket={root}/db/s.sock",
        f"--port={port}",
        "--bind-address=127.0.0.1",
    ]
    slurm_wants = ["--innodb-buffer-pool-size=256M", "--innodb-lock-wait-timeout=900"]
    quick = ["--skip-log-bin", "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=32M"]
    later = ["--loose-innodb-snapshot-isolation=OFF"]  # slurmdbd 26.05 refuses MariaDB 11.8 otherwise
    return ["mariadbd", "--no-defaults", "--user=mysql", *where, *slurm_wants, *quick, *later]


def mariadb_client(root: Path) -> list[str]:
    """Command line of MariaDB's client, as its root."""
    return ["mariadb", "--no-defaults", f"--socket={root}/db/s.sock"]


def _write_files(lab: Lab) -> None:
    root = lab.root
    root.chmod(0o755)  # user slurm and the jobs' users have to get in
    for name in PUBLIC:
        (root / name).mkdir()
    lab.run("chown", "slurm:slurm", *(f"{root}/{name}" for name in ("log", "run", "state")))
    (root / "work").chmod(0o1777)
    lab.run("chown", "mysql:mysql", f"{root}/db")  # its number differs between releases
    for node in NODES:
        (root / "spool" / node).mkdir()
    for index in range(4):
        _make_device(root / "dev" / f"nvidia{index}")
    write_slurm_conf(lab)
    etc = root / "etc"
    (etc / "gres.conf").write_text(configuration.gres_conf(root))
    (etc / "cgroup.conf").write_text(f"CgroupPlugin={lab.release.cgroup_plugin}\n")
    dbd = etc / "slurmdbd.conf"
    dbd.touch(0o600)  # slurmdbd refuses one that others may read or that is not its user's
    dbd.write_text(
        configuration.slurmdbd_conf(root=root, ports=lab.ports, host=lab.host, address=lab.address)
    )
    lab.run("chown", "slurm:slurm", str(dbd))
    for name in ("prolog", "epilog"):
        (etc / name).write_text(configuration.dispatcher(etc / f"{name}.hook"))
        (etc / name).chmod(0o755)


def _make_device(path: Path) -> None:
    """Make a second /dev/null to stand for a GPU; a plain file does where devices cannot be made."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        path.touch(0o666)


def _start_munge(lab: Lab) -> None:
    """Start munged, unless one that is there already has the socket: its key serves as well."""
    if lab.answers("munge", "-n"):
        lab.munged = None
        return
    if lab.munged is None:
        raise LabError("there is no munged")
    if not lab.place.namespace:
        rubbish = [MUNGE_DIR / "munge.socket.2", MUNGE_DIR / "munge.socket.2.lock"]
        for path in rubbish if MUNGE_DIR.exists() else [MUNGE_DIR]:
            lab.keeper.ask("remove_at_end", str(path))
    lab.run("install", "--directory", "--mode=755", str(MUNGE_DIR))
    (lab.root / "munge").mkdir(0o700)
    key = lab.root / "munge" / "key"
    key.touch(0o400)
    key.write_bytes(secrets.token_bytes(1024))
    lab.munged.start()


def _start_mariadb(lab: Lab) -> None:
    lab.run(
        "mariadb-install-db",
        "--no-defaults",
        "--user=mysql",
        f"--datadir={lab.root}/db/data",
        "--auth-root-authentication-method=socket",
        "--skip-test-db",
        "--innodb-log-file-size=32M",
    )
    lab.mariadb.start()
    user = "slurm@'127.0.0.1'"
    statements = (
        "create database slurm_acct_db",
        f"create user {user} identified by '{configuration.DB_PASSWORD}'",
        f"grant all on slurm_acct_db.* to {user}",
    )
    lab.run(*mariadb_client(lab.root), "-e", "; ".join(statements))


def _add_accounts(lab: Lab) -> None:
    """Add the cluster, and two accounts with a user each."""
    here = f"cluster={lab.cluster}"
    lab.sacctmgr("add", "cluster", lab.cluster)
    lab.sacctmgr("add", "account", "physics,chemistry", here, "set", "qos=normal,high")
    lab.sacctmgr("add", "user", "games", "account=physics", here)
    lab.sacctmgr("add", "user", "news", "account=chemistry", here)
