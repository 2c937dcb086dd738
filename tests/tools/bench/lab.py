"""On a real Slurm: from a hook to the accepted record, and beside what a script would do for each job."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.paths import ROOT
from tests.tools.bench.processes import cpu_s, spawn
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import Asked, site
from tests.tools.lab import TRIXIE, Lab, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.tools.bench.site import Site

JOBS, QUICK_JOBS, AT_ONCE, AT_MOST = 500, 40, 8, 64
#: How far back a daemon looks at its start.
SPAN_S = 30
#: Jobs of the comparison with a script; all of them run at once on the lab's 64 cores.
COMPARED = 60
HOOK = ROOT / "hooks" / "slurmctld-hook"
#: Those of which sacct has to ask slurmdbd for more than the runs.
COLUMNS = "JobIDRaw,State,Start,End,AllocTRES,QOS"
_NOTING = """\
#!/bin/bash
echo "$EPOCHREALTIME $SLURM_JOB_ID $SLURM_SCRIPT_CONTEXT" >>{noted}
exec {hook} --socket unix:{socket}
"""


@dataclass(frozen=True, slots=True)
class _Flow:
    """
    What became of jobs that came and went.

    Attributes:
        late: From each prolog's first moment to the backend's answer, in seconds, ascending.
        own_s: CPU of our process, ``commands_s`` of the commands that it ran.
    """

    late: list[float]
    own_s: float
    commands_s: float


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Bring the lab up once for all of it; and for the latency a younger one, where that can be."""
    root.chmod(0o755)  # user slurm runs the hook
    jobs = QUICK_JOBS if quick else JOBS
    with Lab.start(claim="bench") as lab:
        yield from _comparison(root / "comparison", lab)
        for part in (_cpu, _latency):
            time.sleep(SPAN_S + 1)  # so that no run of the part before is told once more
            yield from part(root, lab, jobs)
    if not TRIXIE.why_not():
        with Lab.start(TRIXIE) as younger:
            yield from _latency(root, younger, jobs, "-younger")


def _latency(root: Path, lab: Lab, jobs: int, which: str = "") -> Iterator[Figure]:
    by_hand: dict[str, list[float]] = {"squeue --json": [], "sacct -j": []}
    settings = {"poll_interval": 60, "query_delay": 0, "max_span": SPAN_S, "overlap": 10}
    late = _flow(
        root / f"latency{which}", lab, jobs, AT_ONCE, settings, meanwhile=lambda: _ask_by_hand(lab, by_hand)
    ).late
    note = f"{jobs} jobs, {AT_ONCE} at a time, on Slurm {lab.release.version}; the slowest {late[-1]:.2f} s"
    words = (f"`{name}` {statistics.median(times):.2f} s" for name, times in by_hand.items())
    floor = f"by hand meanwhile: {', '.join(words)}"
    yield Figure(f"latency-p50{which}", late[len(late) // 2], floor=floor, note=note)
    yield Figure(f"latency-p99{which}", late[int(len(late) * 0.99)], floor=floor, note=note)


def _ask_by_hand(lab: Lab, times: Mapping[str, list[float]]) -> None:
    """Ask what the daemon asks, as it does."""
    env = {**os.environ, **lab.env}
    for name, found in times.items():
        command, *more = name.split()
        columns = ("1", "-n", "-o", COLUMNS) if command == "sacct" else ()
        found.append(spawn((str(lab.bin_dir / command), *more, *columns), env).wall_s)


def _cpu(root: Path, lab: Lab, jobs: int) -> Iterator[Figure]:
    """Have as many jobs come and go as the lab can, with the usual `query_delay`."""
    settings = {"poll_interval": 60, "max_span": SPAN_S, "overlap": 10}
    found = _flow(root / "cpu", lab, jobs, AT_MOST, settings)
    own, commands = (each / jobs * 1e3 for each in (found.own_s, found.commands_s))
    yield Figure(
        "cpu-per-run-lab",
        own + commands,
        floor=f"of that, Slurm's commands: {commands:.1f} ms; the ancestor: 9.4 ms",
        note=f"{own:.1f} ms of our own; {jobs} jobs of a second, {AT_MOST} at a time, with hooks, "
        f"on Slurm {lab.release.version}",
    )


def _flow(
    root: Path,
    lab: Lab,
    jobs: int,
    at_once: int,
    settings: Mapping[str, Any],
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> _Flow:
    """Have short jobs come and go, each rung by its hook at both ends."""
    with _site(root, lab) as here, here.daemon({"daemon": settings, "sinks.cc": _PROMPT}) as daemon:
        noted, script = here.root / "noted", here.root / "noting"
        noted.touch()
        noted.chmod(0o666)
        hook = shutil.copy(HOOK, here.root)
        script.write_text(_NOTING.format(noted=noted, hook=hook, socket=here.socket))
        before = cpu_s(daemon.pid)

        def over() -> bool:
            meanwhile()
            return here.backend.told("stop") >= jobs

        with lab.hooks(prolog=script, epilog=script):
            lab.sbatch(f"--array=1-{jobs}%{at_once}", "-n1", script="sleep 1")
            until(over, f"{jobs} stops", timeout_s=600, every_s=1)
        own_s, commands_s = (late - early for early, late in zip(before, cpu_s(daemon.pid), strict=True))
        accepted = here.backend.taken("start")
    late = sorted(accepted[job_id] - at for job_id, at in _rung(noted).items())
    return _Flow(late, own_s, commands_s)


_PROMPT: Mapping[str, Any] = {"stop_hold": 2, "nodestate_interval": 0}


def _site(root: Path, lab: Lab) -> AbstractContextManager[Site]:
    root.mkdir()
    return site(root, Asked(lab.bin_dir, lab.cluster, lab.env["SLURM_CONF"]))


def _rung(noted: Path) -> dict[int, float]:
    lines = (line.split() for line in noted.read_text().splitlines())
    return {int(job_id): float(at) for at, job_id, context in lines if context.startswith("prolog")}


def _comparison(root: Path, lab: Lab) -> Iterator[Figure]:
    """Tell starts and ends of the same jobs as the daemon does it, and as a script does."""
    settings = {"daemon": {"poll_interval": 2, "max_span": SPAN_S, "overlap": 10}, "sinks.cc": _PROMPT}
    with _site(root, lab) as here, here.daemon(settings) as daemon:
        until(lambda: daemon.status()["live"]["ready"], "first look", timeout_s=60)
        time.sleep(3)
        began, before = int(time.time()), _spent_s(daemon.pid)
        array = lab.sbatch(f"--array=1-{COMPARED}", "-n1", script="sleep 600")
        until(lambda: here.backend.told("start") >= COMPARED, "starts", timeout_s=120, every_s=0.5)
        ours = _spent_s(daemon.pid) - before
        ids = lab.run("squeue", "-h", "-t", "R", "-j", str(array), "-o", "%A").split()
        starts = _measured(lambda: _tell_starts(lab, ids, here.backend.url))
        before = _spent_s(daemon.pid)
        lab.clear_jobs()
        until(lambda: here.backend.told("stop") >= COMPARED, "stops", timeout_s=120, every_s=0.5)
        ours += _spent_s(daemon.pid) - before
        stops = _measured(lambda: _tell_stops(lab, began, here.backend.url))
    wall, script = (sum(each) / COMPARED * 1e3 for each in zip(starts, stops, strict=True))
    ours *= 1e3 / COMPARED
    yield Figure(
        "script",
        ours / script,
        floor=f"the script: {script:.0f} ms of CPU and {wall:.0f} ms for each job",
        note=f"{ours:.1f} ms of CPU for each job, our process and its commands, idle looks included; "
        f"{COMPARED} jobs on Slurm {lab.release.version}",
    )


def _spent_s(pid: int) -> float:
    own, commands = cpu_s(pid)
    return own + commands


def _measured(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds, and those of CPU, ours and our children's."""
    wall, times = time.perf_counter(), os.times()
    work()
    return time.perf_counter() - wall, sum(os.times()[:4]) - sum(times[:4])


def _tell_starts(lab: Lab, ids: list[str], url: str) -> None:
    """Ask for each job by two commands and post it, one after the other."""
    for job_id in ids:
        for what in (("--details", "show", "job", job_id), ("write", "batch_script", job_id, "-")):
            shown = _asked(lab, "scontrol", *what)
        _post(f"{url}/api/jobs/start_job/", {"jobId": int(job_id), "metaData": shown.decode()})


def _tell_stops(lab: Lab, began: int, url: str) -> None:
    """Ask for all that ended by one command, and post each, one after the other."""
    for job in json.loads(_asked(lab, "sacct", "--json", "-a", "-S", f"uts{began}"))["jobs"]:
        _post(f"{url}/api/jobs/stop_job/", {"jobId": job["job_id"], "stopTime": job["time"]["end"]})


def _asked(lab: Lab, command: str, *what: str) -> bytes:
    env = {**os.environ, **lab.env}
    return subprocess.run(
        (str(lab.bin_dir / command), *what), env=env, check=True, capture_output=True
    ).stdout


def _post(url: str, record: Mapping[str, Any]) -> None:
    httpx.post(url, content=json.dumps(record).encode(), trust_env=False).raise_for_status()
