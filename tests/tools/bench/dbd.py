"""After a day's outage, on a real slurmdbd: what its 100,000 runs cost to be read, and what JSON would cost."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.tools.bench.catchup import DAY_S, NOBODY
from tests.tools.bench.processes import cpu_s, peak_mb
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import Asked, site, until
from tests.tools.bench.used import Noting
from tests.tools.lab import Lab
from tests.tools.lab.bringup import mariadb_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.tools.bench.used import Used

RUNS, QUICK_RUNS = 100_000, 10_000
#: Of the day, for JSON; what all of it would take is reckoned from the difference.
FEW, MORE = 1000, 4000
JSON_LIMIT = 6 * 1024**3
#: What jobs wait, at most nine times; one in ten begins at once, as one may that was resized.
WAIT_S = 60
#: Ids of the copies begin there.
FIRST = 1_000_000
_TIMES = ("time_submit", "time_eligible", "time_start", "time_end")


@dataclass(frozen=True, slots=True)
class _CaughtUp:
    wall_s: float
    own_s: float
    peak_mb: float
    servers_s: float
    commands: list[Used]


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Fill a slurmdbd with a day's runs and have the daemon read them; then ask for JSON."""
    runs = QUICK_RUNS if quick else RUNS
    with Lab.start(claim="bench") as lab:
        began = int(time.time()) - DAY_S
        fill(lab, runs, began)
        found = _catch_up(root, lab, runs)
        json_mb = _json_mb(root, lab, runs, began)
    sacct = [each for each in found.commands if each.name == "sacct"]
    largest = max(each.rss_mb for each in sacct)
    own = f"{len(sacct)} sacct for {runs:,} runs; other commands at most {_others_mb(found):.0f} MB"
    least = f"a sacct that reads nothing: {min(each.rss_mb for each in sacct):.0f} MB"
    yield Figure("dbd-memory", largest, floor=least, note=f"{own}; Slurm {lab.release.version}")
    yield Figure(
        "dbd-json",
        largest / json_mb,
        floor=f"`sacct --json`: {json_mb / 1000:.1f} GB",
        note=f"reckoned from {FEW:,} and {MORE:,} of the day's {runs:,} runs of three steps each",
    )
    cpu = sum(each.cpu_s for each in sacct)
    floor = f"CPU of all sacct {cpu:.1f} s, of slurmdbd and its database {found.servers_s:.1f} s"
    yield Figure("dbd-time", found.wall_s, floor=floor, note=f"{found.own_s:.1f} s of our CPU")
    yield Figure("dbd-rss", found.peak_mb, floor="the modules alone take some 40 MB", note="peak, VmHWM")


def fill(lab: Lab, runs: int, began: int) -> None:
    """Have accounting show copies of one real job, ending one after the other within the day from then on."""
    job_id = lab.sbatch("-n2", "--gres=gpu:1", script="srun true; srun true")
    lab.wait_accounted(job_id)
    jobs, steps = (f"{lab.cluster}_{name}_table" for name in ("job", "step"))
    later = f"({began} + floor({DAY_S} * seq / {runs}) - job.time_end)"
    number = f"{FIRST} + seq"
    new = {"id_job": number, "mod_time": f"job.mod_time + {later}", "job_db_inx": number}
    of_job = f"FROM {jobs} AS job, seq_1_to_{runs} WHERE job.id_job = {job_id}"
    times = {name: f"job.{name} + {later}" for name in _TIMES}
    for name in _TIMES[:2]:
        times[name] += f" - {WAIT_S} * (seq % 10)"
    _copy(lab, jobs, "job", new | times, of_job)
    moved = {"job_db_inx": number} | {name: f"step.{name} + {later}" for name in _TIMES[2:]}
    of_step = f"FROM {jobs} AS job JOIN {steps} AS step USING (job_db_inx), seq_1_to_{runs} WHERE job.id_job = {job_id}"
    _copy(lab, steps, "step", moved, of_step)


def _copy(lab: Lab, table: str, name: str, new: Mapping[str, str], source: str) -> None:
    """Insert copies of a table's rows, but for some columns; which others there are, is the release's matter."""
    asked = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
    columns = sql(lab, asked).split()
    values = ", ".join(new.get(column, f"{name}.`{column}`") for column in columns)
    names = ", ".join(f"`{column}`" for column in columns)
    sql(lab, f"INSERT INTO {table} ({names}) SELECT {values} {source}")


def sql(lab: Lab, statement: str) -> str:
    return lab.run(*mariadb_client(lab.root), "-N", "slurm_acct_db", "-e", statement, timeout_s=600)


def _catch_up(root: Path, lab: Lab, runs: int) -> _CaughtUp:
    noting = Noting(root, lab.bin_dir)
    asked = Asked(noting.bin_dir, lab.cluster, lab.env["SLURM_CONF"])
    settings: dict[str, dict[str, Any]] = {
        "daemon": {"max_span": DAY_S + 600, "poll_interval": 600},
        "sinks.cc": NOBODY,
    }
    servers = [daemon.pid for daemon in (lab.slurmdbd, lab.mariadb) if daemon.pid]
    before_s = sum(cpu_s(pid)[0] for pid in servers)
    with site(root, asked) as here, here.daemon(settings) as daemon:
        began, log = time.perf_counter(), here.root / "log"
        until(lambda: '"caught_up"' in log.read_text())
        wall_s = time.perf_counter() - began
        own_s, top_mb = cpu_s(daemon.pid)[0], peak_mb(daemon.pid)
        (source,) = daemon.status()["live"]["sources"]
    if source["stops"] < runs:
        raise RuntimeError(f"{source['stops']} of {runs} runs")
    servers_s = sum(cpu_s(pid)[0] for pid in servers) - before_s
    return _CaughtUp(wall_s, own_s, top_mb, servers_s, noting.used())


def _others_mb(found: _CaughtUp) -> float:
    return max(each.rss_mb for each in found.commands if each.name != "sacct")


def _json_mb(root: Path, lab: Lab, runs: int, began: int) -> float:
    """Return what JSON of all runs would take, by what it takes of some: it is one document, made in memory."""
    folder = root / "json"
    folder.mkdir()
    noting = Noting(folder, lab.bin_dir)
    for some in (FEW, MORE):
        window = ("-S", f"uts{began}", "-E", f"uts{began + DAY_S * some // runs}")
        argv = ("prlimit", f"--as={JSON_LIMIT}", str(noting.bin_dir / "sacct"), "--json", "-a", *window)
        env = {**os.environ, **lab.env, "TZ": "UTC"}
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
    few, more = (each.rss_mb for each in noting.used())
    return few + (more - few) / (MORE - FEW) * (runs - FEW)
