"""On a real Slurm: from a hook to the accepted record, and beside what a script would do for each job."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx

from tests.bench.processes import cpu_s, spawn
from tests.bench.rows import Figure
from tests.bench.site import Backend
from tests.e2e.site import Site
from tests.lab import TRIXIE, Lab, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOBS, QUICK_JOBS, AT_ONCE, AT_MOST = 500, 40, 8, 64
#: How far back a daemon looks at its start.
SPAN_S = 30
#: Jobs of the comparison with a script; all of them run at once on the lab's 64 cores.
COMPARED = 60
#: Those of which sacct has to ask slurmdbd for more than the runs.
COLUMNS = "JobIDRaw,State,Start,End,AllocTRES,QOS"
_NOTING = """\
#!/bin/bash
echo "$EPOCHREALTIME $SLURM_JOB_ID $SLURM_SCRIPT_CONTEXT" >>{noted}
exec {hook}
"""


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Bring the lab up once for all of it; and for the latency a younger one, where that can be."""
    del root
    jobs = QUICK_JOBS if quick else JOBS
    with Lab.start(claim="bench") as lab:
        yield from _comparison(lab)
        for part in (_cpu, _latency):
            time.sleep(SPAN_S + 1)  # so that no run of the part before is told once more
            yield from part(lab, jobs)
    if not TRIXIE.why_not():
        with Lab.start(TRIXIE) as younger:
            yield from _latency(younger, jobs, "-younger")


def _latency(lab: Lab, jobs: int, which: str = "") -> Iterator[Figure]:
    """Compare each prolog's first moment with the backend's answer."""
    by_hand: dict[str, list[float]] = {"squeue --json": [], "sacct -j": []}
    late, _ = _flow(lab, jobs, AT_ONCE, query_delay=0, meanwhile=lambda: _ask_by_hand(lab, by_hand))
    note = f"{jobs} jobs, {AT_ONCE} at a time, on Slurm {lab.release.version}; the slowest {late[-1]:.2f} s"
    words = (f"`{name}` {statistics.median(times):.2f} s" for name, times in by_hand.items())
    floor = f"by hand meanwhile, wall: {', '.join(words)}"
    yield Figure(f"latency-p50{which}", late[len(late) // 2], floor=floor, note=note)
    yield Figure(f"latency-p99{which}", late[int(len(late) * 0.99)], floor=floor, note=note)


def _ask_by_hand(lab: Lab, times: dict[str, list[float]]) -> None:
    """Ask what the daemon asks, as it does."""
    env = {**os.environ, **lab.env}
    for name, found in times.items():
        command, *more = name.split()
        columns = ("1", "-n", "-o", COLUMNS) if command == "sacct" else ()
        found.append(spawn((str(lab.bin_dir / command), *more, *columns), env).wall_s)


def _cpu(lab: Lab, jobs: int) -> Iterator[Figure]:
    """Have as many jobs come and go as the lab can, with the usual `query_delay`."""
    _, cpu = _flow(lab, jobs, AT_MOST, query_delay=1)
    own, commands = (each / jobs * 1e3 for each in cpu)
    note = f"{own:.1f} ms of our own; {jobs} jobs of a second, {AT_MOST} at a time, with hooks, debug log on"
    floor = f"of that, Slurm's commands: {commands:.1f} ms; the ancestor: 9.4 ms"
    yield Figure(
        "cpu-per-run-lab", own + commands, floor=floor, note=f"{note}, on Slurm {lab.release.version}"
    )


def _flow(
    lab: Lab, jobs: int, at_once: int, *, query_delay: float, meanwhile: Callable[[], None] = lambda: None
) -> tuple[list[float], tuple[float, float]]:
    """
    Have short jobs come and go, each rung by its hook at both ends.

    Returns:
        From prolog to accepted start, in seconds, ascending; and CPU seconds, ours and those of our commands.
    """
    with Site.open(lab) as site:
        backend = site.backend()
        daemon = site.daemon(
            backend,
            daemon__poll_interval=60,
            daemon__query_delay=query_delay,
            daemon__max_span=SPAN_S,
            daemon__overlap=10,
        )
        noted = site.root / "noted"
        noted.touch()
        noted.chmod(0o666)
        script = site.root / "noting"
        script.write_text(_NOTING.format(noted=noted, hook=site.hook(daemon)))
        site.hook(daemon).chmod(0o755)
        pid = daemon.process.pid
        assert pid
        before = cpu_s(pid)

        def over() -> bool:
            meanwhile()
            return len(_accepted(backend, "stop")) >= jobs

        with lab.hooks(prolog=script, epilog=script):
            lab.sbatch(f"--array=1-{jobs}%{at_once}", "-n1", script="sleep 1")
            until(over, f"{jobs} stops", timeout_s=600, every_s=1)
        rung, accepted = _rung(noted), _accepted(backend, "start")
        own, commands = (late - early for early, late in zip(before, cpu_s(pid), strict=True))
    return sorted(accepted[job_id] - at for job_id, at in rung.items()), (own, commands)


def _rung(noted: Path) -> dict[int, float]:
    lines = (line.split() for line in noted.read_text().splitlines())
    return {int(job_id): float(at) for at, job_id, context in lines if context.startswith("prolog")}


def _accepted(backend: Any, step: str) -> dict[int, float]:
    entries = backend.ask("GET", "/-/requests")["requests"]
    wanted = (f"/api/jobs/{step}_job/", {"start": 201, "stop": 200}[step])
    taken = (each for each in entries if (each["path"], each["status"]) == wanted)
    return {json.loads(each["body"])["jobId"]: each["ended"] for each in taken}


def _comparison(lab: Lab) -> Iterator[Figure]:
    """Tell the starts of the same jobs as the daemon does it, and as a script does."""
    backend = Backend()
    told = SimpleNamespace(url=backend.url, token="a.b.c")
    try:
        with Site.open(lab) as site:
            daemon = site.daemon(cast("Any", told), daemon__poll_interval=2)
            pid = daemon.process.pid
            assert pid
            until(daemon.lastrun.exists, "first look", timeout_s=60)
            time.sleep(3)
            before = _spent_s(pid)
            array = lab.sbatch(f"--array=1-{COMPARED}", "-n1", script="sleep 600")
            until(lambda: backend.told("start") >= COMPARED, "starts", timeout_s=120, every_s=0.5)
            ours = _spent_s(pid) - before
            ids = lab.run("squeue", "-h", "-t", "R", "-j", str(array), "-o", "%A").split()
            wall, script = _script(lab, ids, backend.url)
            lab.clear_jobs()
    finally:
        backend.close()
    yield Figure(
        "script",
        ours / script,
        floor=f"the script: {script / len(ids) * 1e3:.0f} ms of CPU and {wall / len(ids) * 1e3:.0f} ms for each job",
        note=f"{ours / COMPARED * 1e3:.1f} ms of CPU for each job, our process and its commands, idle looks "
        f"included; {COMPARED} jobs on Slurm {lab.release.version}",
    )


def _spent_s(pid: int) -> float:
    own, commands = cpu_s(pid)
    return own + commands


def _script(lab: Lab, ids: list[str], url: str) -> tuple[float, float]:
    """Ask for each job by two commands and post it, one after the other; give seconds and those of CPU."""
    env = {**os.environ, **lab.env}
    wall, times = time.perf_counter(), os.times()
    for job_id in ids:
        for what in (("--details", "show", "job", job_id), ("write", "batch_script", job_id, "-")):
            argv = (str(lab.bin_dir / "scontrol"), *what)
            shown = subprocess.run(argv, env=env, check=True, capture_output=True).stdout
        body = json.dumps({"jobId": int(job_id), "metaData": shown.decode()}).encode()
        httpx.post(f"{url}/api/jobs/start_job/", content=body, trust_env=False).raise_for_status()
    return time.perf_counter() - wall, sum(os.times()[:4]) - sum(times[:4])
