"""The text of ``scontrol show job``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views
from slurmsyncd.sandbox.slurm.squeue_record import submit_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmsyncd.sandbox.slurm.records import HeldResources, RunRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat


def job(
    run: RunRow, shape: ReleaseFormat, now: float, instant: Callable[[float], str], *, cores: bool
) -> str:
    """
    Return the lines of one job and the empty one after it.

    ``cores`` is for ``-d``: the lines with CPU_IDs and GPU indexes.
    """
    head, *lines = [
        *_who(run, shape),
        *_state(run, now, instant),
        *_nodes(run, shape),
        *(_cores(run) if cores else iter(())),
        *_rest(run, shape),
    ]
    return "\n".join([head, *("   " + line for line in lines), ""]) + "\n"


def _who(run: RunRow, shape: ReleaseFormat) -> Iterator[str]:
    asked = run["request"]
    array = task = het = ""
    if run["array_job_id"]:
        task = words.task_text(run) or str(run["array_task_id"])
        array = f" ArrayJobId={run['array_job_id']} ArrayTaskId={task}"
    if run["het_job_id"]:
        ids = f"{run['het_job_id']}-{run['het_last']}"
        het = f" HetJobId={run['het_job_id']} HetJobOffset={run['het_offset']} HetJobIdSet={ids}"
    yield f"JobId={run['job_id']}{array}{het} JobName={asked['name']}"
    if shape.release == "26.05":
        yield f"SLUID={words.sluid(run, shape.release)}"
    user = f"{asked['user']}({asked['uid']})"
    yield f"UserId={user} GroupId={user} MCS_label=N/A"
    wckey = asked["wckey"] or "*"
    yield f"Priority=1 Nice=0 Account={asked['account']} QOS={asked['qos']} WCKey={wckey}"


def _state(run: RunRow, now: float, instant: Callable[[float], str]) -> Iterator[str]:
    asked = run["request"]
    batch = int(asked["batch"])
    start, end = views.shown_times(run)

    def at(when: int) -> str:
        return instant(when) if when else "Unknown"

    yield f"JobState={views.shown_state(run)} Reason={run['reason']} Dependency=(null)"
    code = f"{run['exit_code']}:{run['signal']}"
    yield f"Requeue={batch} Restarts={run['restarts']} BatchFlag={batch} Reboot=0 ExitCode={code}"
    yield "DerivedExitCode=0:0"
    took, limit = words.span(views.elapsed_s(run, now)), words.span(views.limit_s(run))
    yield f"RunTime={took} TimeLimit={limit} TimeMin=N/A"
    yield f"SubmitTime={at(run['submit_at'])} EligibleTime={at(run['eligible_at'])}"
    yield f"AccrueTime={at(run['eligible_at'])}"
    yield f"StartTime={at(start)} EndTime={at(end)} Deadline=N/A"
    paused = instant(run["suspended_at"]) if run["suspended_at"] else "None"
    before = max(0, run["suspended_at"] - run["start_at"])
    yield f"SuspendTime={paused} SecsPreSuspend={before} LastSchedEval={at(run['submit_at'])} Scheduler=Main"


def _nodes(run: RunRow, shape: ReleaseFormat) -> Iterator[str]:
    asked = run["request"]
    yield f"Partition={asked['partition']} AllocNode:Sid=localhost:2936"
    yield "ReqNodeList=(null) ExcNodeList=(null)"
    yield f"NodeList={words.nodes(views.shown_nodes(run))}"
    if run["alloc"] and asked["batch"]:
        yield f"BatchHost={run['alloc'][0]['node']}"
    yield (
        f"NumNodes={asked['nodes']} NumCPUs={views.cpu_count(run)} NumTasks={asked['nodes']} "
        "CPUs/Task=1 ReqB:S:C:T=0:0:*:*"
    )
    wanted, held = words.tres_text(words.requested_tres(run)), words.tres_text(words.tres(run))
    if shape.modern:
        yield f"ReqTRES={wanted}"
        yield f"AllocTRES={held or '(null)'}"
    else:
        yield f"TRES={held or wanted}"
    yield "Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*"


def _cores(run: RunRow) -> Iterator[str]:
    """Nodes with equal allocation share a line; GPU indexes only while the job holds them."""
    asked = run["request"]
    if not run["alloc"]:
        return
    kind = f"gpu{':' * bool(asked['gpu_type'])}{asked['gpu_type']}"
    yield f"JOB_GRES={kind}:{asked['gpus'] * asked['nodes']}" if asked["gpus"] else "JOB_GRES=(null)"
    groups: dict[str, list[HeldResources]] = {}
    for held in run["alloc"]:
        gres = words.gres(held) if views.holds(run) else ""
        groups.setdefault(f"CPU_IDs={_cpu_ids(held)} Mem={held['memory_mib']} GRES={gres}", []).append(held)
    for text, some in groups.items():
        yield f"  Nodes={words.nodes(some)} {text}"


def _cpu_ids(held: HeldResources) -> str:
    """Return abstract ids: thread = threads * core + t, core = socket * cores per socket + index."""
    first = [(socket * held["cores_per_socket"] + core) * held["threads"] for socket, core in held["cores"]]
    return words.ranges(number + thread for number in first for thread in range(held["threads"]))


def _rest(run: RunRow, shape: ReleaseFormat) -> Iterator[str]:
    asked = run["request"]
    licences = asked["licenses"] or "(null)"
    yield f"MinCPUsNode={asked['cores']} MinMemoryCPU=1000M MinTmpDiskNode=0"
    yield f"Features={asked['features'] or '(null)'} DelayBoot=00:00:00"
    if asked["reservation"]:
        yield f"Reservation={asked['reservation']}"
    if shape.release == "26.05":
        word = {"node": "NODE", "user": "USER"}.get(asked["exclusive"], "NO")
        yield (
            f"OverSubscribe=NO Exclusive={word} Contiguous=0 Licenses={licences} "
            f"LicensesAlloc={licences if run['alloc'] else '(null)'} Network=(null)"
        )
    else:
        word = {"node": "NO", "user": "USER"}.get(asked["exclusive"], "OK")
        yield f"OverSubscribe={word} Contiguous=0 Licenses={licences} Network=(null)"
    yield f"Command={asked['work_dir']}/job.sh" if asked["batch"] else "Command=bash"
    if shape.release == "26.05":
        yield f"SubmitLine={submit_line(run)}"
    yield f"WorkDir={asked['work_dir']}"
    if asked["comment"]:
        yield f"Comment={asked['comment']}"
    if asked["batch"]:
        yield from ("StdErr=/dev/null", "StdIn=/dev/null", "StdOut=/dev/null")
    if shape.release == "22.05":
        yield "Power="
    if asked["gpus"]:
        slash = "/" if shape.modern else ":"
        kind = ":" * bool(asked["gpu_type"]) + asked["gpu_type"]
        yield f"TresPerNode=gres{slash}gpu{kind}:{asked['gpus']}"
    if shape.release != "26.05":
        yield ""
