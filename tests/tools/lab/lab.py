"""The lab: brings a Slurm up, and lets tests submit jobs, ask, and disturb it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tools.lab import bringup, configuration
from tests.tools.lab.configuration import NODES
from tests.tools.lab.places import Place, furnish
from tests.tools.lab.processes import Daemon, Keeper
from tests.tools.lab.releases import BOOKWORM, Release
from tests.tools.lab.waiting import LabError, run, succeeds, until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Users that every Debian has: jobs run as them and no user has to be made. Account physics and chemistry.
USERS = ("games", "news")
ANOTHER_LAB_S = 900.0
COMMANDS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sdiag", "sinfo", "squeue", "srun")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
FIELDS = "JobIDRaw,State,ExitCode,Start,End,NodeList"
EVER = "uts1000000000"  # sacct takes no smaller one for a time


class Lab:
    """
    A running Slurm.

    Attributes:
        release: Which.
        cluster: Slurm's name of it.
        root: Its directory: etc, log, state, work (where jobs write); removed at the end.
        bin_dir: Where squeue, sacct and so on are, for a program that runs on this machine.
        env: What such a program needs in its environment.
        munged: None if a munged was on the machine before; it is used and not touched.
    """

    def __init__(
        self,
        release: Release,
        *,
        place: Place,
        root: Path,
        keeper: Keeper,
        min_job_age: int,
        cluster: str = "",
    ) -> None:
        self.release = release
        self.place = place
        self.cluster = cluster or release.cluster
        self.root = root
        self.bin_dir = place.write_commands(root, COMMANDS)
        self.env = {"SLURM_CONF": str(root / "etc" / "slurm.conf")}
        self.ports = configuration.free_ports()
        self.host, self.address = configuration.host_address()
        self.settings = configuration.slurm_settings(
            cluster=self.cluster,
            root=root,
            ports=self.ports,
            host=self.host,
            address=self.address,
            min_job_age=min_job_age,
        )
        self.keeper = keeper
        self.munged: Daemon | None = self._daemon(
            "munged", *bringup.munged_argv(root), ready=lambda: self.answers("munge", "-n")
        )
        self.mariadb = self._daemon(
            "mariadb",
            *bringup.mariadbd_argv(root, self.ports.mariadb),
            ready=lambda: self.answers(*bringup.mariadb_client(root), "-e", "select 1"),
        )
        self.slurmdbd = self._daemon("slurmdbd", "slurmdbd", "-D", ready=self._slurmdbd_answers)
        self.slurmctld = self._daemon("slurmctld", "slurmctld", "-D", ready=self._slurmctld_answers)
        self.slurmd = {
            node: self._daemon(f"slurmd.{node}", "slurmd", "-D", "-N", node, ready=self._node_ready(node))
            for node in NODES
        }

    @classmethod
    @contextmanager
    def start(
        cls, release: Release = BOOKWORM, *, min_job_age: int = 120, claim: str | None = None
    ) -> Iterator[Lab]:
        """
        Bring a Slurm up, and take everything away at the end.

        Args:
            release: Which; what is missing of it is installed.
            min_job_age: Seconds that slurmctld remembers a job after its end.
            claim: Where labs cannot be kept apart by mounts there is one of each such name at a time; None: the
                release's. With another name a second lab runs beside the first, on the first one's munged.

        Raises:
            LabError: It does not come up; the message says which part, and its last words.
        """
        if reason := release.why_not():
            raise LabError(f"no Slurm {release.version} here: {reason}")
        release.install()
        keeper = Keeper()
        try:
            place = furnish(keeper, release.root)
            if not place.namespace:
                _wait_for_other_labs(keeper, claim or release.cluster)
            root = Path(tempfile.mkdtemp(prefix="slurmsyncd-lab.", dir="/tmp"))
            keeper.ask("remove_at_end", str(root))
            lab = cls(release, place=place, root=root, keeper=keeper, min_job_age=min_job_age)
            bringup.bring_up(lab)
            yield lab
        finally:
            keeper.close()

    @contextmanager
    def neighbour(self, cluster: str, *, own_slurmdbd: bool, **settings: str) -> Iterator[Lab]:
        """
        Have another cluster on this host for a while, with a slurm.conf of its own and the same commands.

        Args:
            cluster: Its name; one for each test, since slurmdbd keeps the runs of a cluster that is gone.
            own_slurmdbd: It has a slurmdbd and a database; else it shares ours, and ``-M`` finds it.
            settings: More of its slurm.conf, or other ones.
        """
        root = Path(tempfile.mkdtemp(prefix="slurmsyncd-lab.", dir="/tmp"))
        self.keeper.ask("remove_at_end", str(root))
        lab = Lab(
            self.release, place=self.place, root=root, keeper=self.keeper, min_job_age=120, cluster=cluster
        )
        lab.settings.update(settings)
        if own_slurmdbd:
            bringup.bring_up(lab)
        else:
            lab.settings["AccountingStoragePort"] = str(self.ports.slurmdbd)
            bringup.join(lab)
        try:
            yield lab
        finally:
            lab.clear_jobs()
            for daemon in (*lab.slurmd.values(), lab.slurmctld):
                daemon.stop()
            lab.sacctmgr("delete", "cluster", cluster)
            for daemon in (lab.slurmdbd, lab.mariadb):
                daemon.stop()

    # What a user and an operator do

    def sbatch(self, *args: str, script: str = "exit 0", user: str = USERS[0]) -> int:
        """Submit a batch job (Bash) and return its id."""
        text = script if script.startswith("#!") else f"#!/bin/bash\n{script}\n"
        where = (f"--chdir={self.root}/work", f"--output={self.root}/work/%j.out")
        said = self.run("sbatch", "--parsable", *where, *args, user=user, stdin=text)
        return int(said.split(";")[0])

    def srun(self, *args: str, user: str = USERS[0], timeout_s: float = 60) -> str:
        """Run a command in a job of its own, wait for its end and return what it printed."""
        return self.run("srun", f"--chdir={self.root}/work", *args, user=user, timeout_s=timeout_s)

    def scancel(self, *args: str | int) -> None:
        """Cancel jobs, as root."""
        self.run("scancel", *map(str, args))

    def requeue(self, job_id: int) -> None:
        """Have a job end now and start again; that takes some ten seconds (cred_expire)."""
        self.run("scontrol", "requeue", str(job_id))

    def scontrol(self, *args: str) -> str:
        """Run scontrol as root and return what it printed."""
        return self.run("scontrol", *args)

    def sacctmgr(self, *args: str) -> str:
        """Run sacctmgr as root, without questions, and return what it printed."""
        return self.run("sacctmgr", "-i", *args)

    def run(self, *argv: str, user: str = "root", stdin: str = "", timeout_s: float = 60) -> str:
        """
        Run one of Slurm's commands and return what it printed; times are epoch seconds.

        Raises:
            LabError: It failed or took too long.
        """
        env = {**self.client_env(), "HOME": f"{self.root}/work", "USER": user}
        return run(self.place.outside(*argv, user=user), env=env, stdin=stdin, timeout_s=timeout_s)

    def answers(self, *argv: str) -> bool:
        """Whether a command ends with 0, and soon."""
        return succeeds(self.place.outside(*argv), env=self.client_env())

    def client_env(self) -> dict[str, str]:
        """Whole environment of one of Slurm's commands."""
        fixed = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
        return {**fixed, **self.env}

    # What Slurm says

    def job(self, job_id: int | str) -> dict[str, str]:
        """What ``scontrol --details show job`` says of a job; empty if slurmctld does not know it."""
        try:
            text = self.scontrol("--details", "--oneliner", "show", "job", str(job_id))
        except LabError as error:
            if "Invalid job id" in str(error):
                return {}
            raise
        pairs = re.findall(r"(\S+?)=(.*?)(?=\s+[\w:/]+=|\s*$)", text.splitlines()[0])
        return dict(pairs)

    def sacct(self, *args: str, fields: str = FIELDS) -> list[dict[str, str]]:
        """What accounting says of runs, one dictionary for each, requeued runs included."""
        names = fields.split(",")
        layout = ["-a", "-X", "-D", "-n", "-P", "--noconvert", "--delimiter=\x1f", f"--format={fields}"]
        lines = self.run("sacct", *layout, *args).splitlines()
        return [dict(zip(names, line.split("\x1f"), strict=True)) for line in lines]

    def json(self, *argv: str) -> Any:
        """Run a command that prints JSON and return that."""
        return json.loads(self.run(*argv))

    def state(self, job_id: int | str) -> str:
        """State of a job: slurmctld's word, or accounting's if that has forgotten it; empty if nobody knows."""
        if job := self.job(job_id):
            return job["JobState"]
        rows = self.sacct("-S", EVER, "-j", str(job_id), fields="State")
        return rows[-1]["State"].split()[0] if rows else ""

    def wait(self, job_id: int | str, *states: str, timeout_s: float = 60) -> str:
        """Wait until a job is in one of the states, and return which."""
        seen: list[str] = []

        def there() -> str:
            seen.append(self.state(job_id))
            return seen[-1] if seen[-1] in states else ""

        try:
            return until(there, f"job {job_id} {' or '.join(states)}", timeout_s=timeout_s)
        except LabError as late:
            raise LabError(f"{late}; it was {' → '.join(dict.fromkeys(seen))}") from None

    def wait_accounted(self, job_id: int, *, timeout_s: float = 60) -> list[dict[str, str]]:
        """
        Wait until accounting has the ends of all of a job's runs (array tasks, requeues), and return them.

        22.05 sends the start of a short run up to five seconds late: until then its row lacks the partition.
        """

        def is_whole(row: dict[str, str]) -> bool:
            return row["End"].isdigit() and (bool(row["Partition"]) or int(row["End"]) < time.time() - 15)

        def ended() -> list[dict[str, str]]:
            rows = self.sacct("-S", EVER, "-j", str(job_id), fields=f"{FIELDS},Partition")
            return rows if all(map(is_whole, rows)) else []

        return until(ended, f"accounted end of job {job_id}", timeout_s=timeout_s)

    # What changes while it runs

    def configure(self, **settings: str) -> None:
        """Change settings of slurm.conf (`MinJobAge="5"`) and have slurmctld read it again."""
        self.settings.update(settings)
        bringup.write_slurm_conf(self)
        self.scontrol("reconfigure")

    def set_hooks(self, *, prolog: Path | None = None, epilog: Path | None = None) -> None:
        """Have slurmctld run these scripts (copied) at each start and end of a job; None: nothing."""
        for name, source in (("prolog", prolog), ("epilog", epilog)):
            hook = self.root / "etc" / f"{name}.hook"
            hook.unlink(missing_ok=True)
            if source:
                partial = hook.with_suffix(".new")
                shutil.copyfile(source, partial)
                partial.chmod(0o755)
                partial.rename(hook)

    @contextmanager
    def hooks(self, *, prolog: Path | None = None, epilog: Path | None = None) -> Iterator[None]:
        """Have hooks for a while."""
        self.set_hooks(prolog=prolog, epilog=epilog)
        try:
            yield
        finally:
            self.set_hooks()

    def clear_jobs(self) -> None:
        """
        Cancel what is there and wait until all nodes are idle.

        After a SIGKILL slurmctld is back at the state that it saved some seconds before: jobs that had ended
        may come to life again, and are cancelled once more.
        """
        until(self._cleared, "four idle nodes", timeout_s=60)

    def all_idle(self) -> bool:
        """Whether every node is idle."""
        return self._idle() == set(NODES)

    def _cleared(self) -> bool:
        if jobs := self.run("squeue", "-h", "-o", "%A").split():
            self.scancel(*jobs)
        return not jobs and self.all_idle()

    # How the daemons are probed

    def _daemon(self, name: str, *argv: str, ready: Any) -> Daemon:
        return Daemon(
            name,
            self.place.inside(*argv),
            keeper=self.keeper,
            output=self.root / "log" / f"{name}.out",
            ready=ready,
            env={"PATH": PATH, **self.env},
        )

    def _slurmdbd_answers(self) -> bool:
        return self.answers("sacctmgr", "-n", "list", "cluster")

    def _slurmctld_answers(self) -> bool:
        return self.answers("scontrol", "show", "config")

    def _node_ready(self, node: str) -> Any:
        return lambda: node in self._idle()

    def _idle(self) -> set[str]:
        return set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", timeout_s=5).split())


def _wait_for_other_labs(keeper: Keeper, name: str) -> None:
    """Wait until no other lab uses what there is one of on a machine."""
    until(
        lambda: keeper.ask("claim", name),
        "end of another lab on this machine",
        timeout_s=ANOTHER_LAB_S,
        every_s=0.5,
    )
