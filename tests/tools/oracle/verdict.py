"""What was owed against what arrived. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun
    from tests.tools.oracle.proxy import Passed

Key = tuple[int, int]  # job id, start
Row = dict[str, Any]

REPEAT = "repeat_of_earlier_run"
#: Reasons that the backend's rule for runs of one job id gives.
RULE = frozenset({REPEAT, "later_run_is_there"})
#: Within this, a topology that lacks a host is read again.
REREAD_S = 6.0
_DAY_S = 86400
_PARTS = {"hwthreads": 0, "accelerators": 1}
#: Slurm's word → the backend's, by the contract.
_STATES = {
    "COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "cancelled", "TIMEOUT": "timeout",
    "NODE_FAIL": "node_fail", "PREEMPTED": "preempted", "OUT_OF_MEMORY": "out_of_memory",
    "REQUEUED": "cancelled",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    All that is needed for the account.

    Attributes:
        owed: Every run that started.
        rows: The backend's, of both tables.
        refused: Runs that the daemon says the backend refused, and why.
        passed: Starts and stops that reached the backend.
        blind: When Slurm could not be looked at, (from, to) in epoch seconds.
        unmapped: When the backend's cluster.json was wrong: what is sent then, or on what was read of it
            then, cannot name all hardware threads and GPUs.
        sight_s: A run that could be looked at for so long without a break has been seen.
        clusters: cluster.json.
        replaces: A later run of a job takes the place of the one before.
        races: Stops are not held back, so that the backend's own race (R1) may close another run than the one
            that is meant, which then refuses its own stop.
    """

    owed: Sequence[ExpectedRun]
    rows: Sequence[Row]
    refused: Mapping[Key, str]
    passed: Sequence[Passed]
    blind: Sequence[tuple[float, float]]
    unmapped: Sequence[tuple[float, float]]
    sight_s: float
    cluster: Mapping[str, Any]
    replaces: bool = False
    races: bool = False


@dataclass(slots=True)
class Account:
    """
    How it went; a finding names the run.

    Attributes:
        replaced: Runs that gave way to a later one of their job.
        victims: Runs that the backend closed wrongly by itself.
        incomplete: Runs without some of their cores or GPUs, which nobody could have seen.
        findings: Kind → runs: lost, doubled, invented, wrong, unseen (incomplete, but it could have been
            seen), early (stopped while it ran), order (a stop before its start).
    """

    owed: int = 0
    delivered: int = 0
    refused: int = 0
    replaced: int = 0
    victims: int = 0
    incomplete: int = 0
    findings: dict[str, list[tuple[Key, str]]] = field(default_factory=lambda: defaultdict(list))

    def find(self, kind: str, key: Key, what: str) -> None:
        """Note what is wrong with a run."""
        self.findings[kind].append((key, what))


def settle(evidence: Evidence) -> Account:
    """Settle the account. All runs must have ended."""
    account = Account(owed=len(evidence.owed))
    rows = defaultdict(list)
    for row in evidence.rows:
        rows[row["job_id"], row["start_time"]].append(row)
    owed = {(run.job_id, run.start_at): run for run in evidence.owed}
    for key in rows.keys() - owed.keys():
        account.find("invented", key, "no such run began")
    starts = defaultdict(list)
    for job_id, start_at in rows:
        starts[job_id].append(start_at)
    for key, run in owed.items():
        if len(rows[key]) > 1:
            account.find("doubled", key, f"{len(rows[key])} records")
        if rows[key]:
            _compare(run, rows[key][0], evidence, account)
        else:
            _missing(key, starts[run.job_id], evidence, account)
    _check_order(owed, evidence.passed, account)
    return account


def _missing(key: Key, starts: Iterable[int], evidence: Evidence, account: Account) -> None:
    """Nothing but the backend's own rule keeps a run out: one of a job id a day, and none before another."""
    ruled_out = any(key[1] - start < _DAY_S for start in starts)
    reason = evidence.refused.get(key)
    if evidence.replaces and any(0 < start - key[1] < _DAY_S for start in starts):
        account.replaced += 1
    elif reason in RULE and ruled_out:
        account.refused += 1
    else:
        account.find("lost", key, f"not there; refused: {reason}; other runs of its id: {list(starts)}")


def _compare(run: ExpectedRun, row: Row, evidence: Evidence, account: Account) -> None:
    key = run.job_id, run.start_at
    found, wanted = _found(row), _wanted(run)
    marks = set((row["meta_data"] or {}).get("resourcesIncomplete", "").split(",")) - {""}
    held, owed = _held(row, evidence.cluster, whole="hwthreads" not in marks), _owed(run, evidence.cluster)
    short = {name for name, part in _PARTS.items() if _of(held, part) != _of(owed, part)}
    excused = bool(marks) and _was_unmapped(key, evidence)
    for name in short if not excused else ():
        part = _PARTS[name]
        if name not in marks or any(_of(held, part)):
            found[name], wanted[name] = _of(held, part), _of(owed, part)
    if not short:
        found["counts"] = marks, row["num_hwthreads"], row["num_acc"]
        wanted["counts"] = set(), *(sum(map(len, _of(owed, part))) for part in _PARTS.values())
    different = {name: (found[name], wanted[name]) for name in found if found[name] != wanted[name]}
    if different.keys() <= {"job_state", "duration"} and _lost_a_race(key, evidence):
        account.victims += bool(different)
    elif different:
        account.find("wrong", key, f"(found, wanted): {different}")
        return
    account.delivered += 1
    account.incomplete += bool(short)
    if short and not excused and (seen_s := longest_sight_s(run, evidence.blind)) >= evidence.sight_s:
        account.find("unseen", key, f"{short} missing, though it could be seen for {seen_s:.1f} s")


def _lost_a_race(key: Key, evidence: Evidence) -> bool:
    """Return whether the backend refused this run's stop as of one that has ended, and never took it."""
    answers = {one.status for one in evidence.passed if one.step == "stop" and _key(one) == key}
    return evidence.races and 422 in answers and 200 not in answers


def _was_unmapped(key: Key, evidence: Evidence) -> bool:
    """Return whether the start was sent while cluster.json was wrong, or so soon after that it was not read again."""
    sent = [one.began for one in evidence.passed if one.step == "start" and _key(one) == key]
    return any(begin <= at <= end + REREAD_S for begin, end in evidence.unmapped for at in sent)


def _found(row: Row) -> dict[str, Any]:
    names = ("cluster", "hpc_user", "job_state", "duration", "num_nodes")
    hosts = tuple(item["hostname"] for item in row["resources"])
    return {name: row[name] for name in names} | {"hosts": hosts}


def _wanted(run: ExpectedRun) -> dict[str, Any]:
    return {
        "cluster": run.cluster,
        "hpc_user": run.user,
        "job_state": _STATES.get(run.state, run.state),
        "duration": (run.end_at or 0) - run.start_at,
        "num_nodes": len(run.nodes),
        "hosts": run.nodes,
    }


Held = list[tuple[list[int], list[str]]]  # for each node: hardware threads, accelerators


def _held(row: Row, cluster: Mapping[str, Any], *, whole: bool) -> Held:
    """Return what a record says; one that lists no hardware threads means the whole node."""
    found = []
    for item in row["resources"]:
        threads = item.get("hwthreads") or []
        if whole and not threads:
            threads = _part(item["hostname"], cluster)["topology"]["node"]
        found.append((sorted(threads), sorted(item.get("accelerators") or [])))
    return found


def _part(host: str, cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sub-cluster of a host."""
    (part,) = (each for each in cluster["subClusters"] if host in each["nodes"].split(","))
    return cast("Mapping[str, Any]", part)


def _owed(run: ExpectedRun, cluster: Mapping[str, Any]) -> Held:
    found: Held = []
    for host, cores, gpus in zip(run.nodes, run.cores, run.gpus, strict=True):
        part = _part(host, cluster)
        topology, per_socket = part["topology"], part["coresPerSocket"]
        threads = [
            thread for socket, core in cores for thread in topology["core"][socket * per_socket + core]
        ]
        found.append((sorted(threads), sorted(topology["accelerators"][gpu]["id"] for gpu in gpus)))
    return found


def _of(held: Held, part: int) -> list[Any]:
    return [node[part] for node in held]


def longest_sight_s(run: ExpectedRun, blind: Iterable[tuple[float, float]]) -> float:
    """Return the longest time without a break for which a run could be looked at."""
    at, longest = float(run.start_at), 0.0
    assert run.end_at is not None
    for begin, end in sorted(blind):
        if end <= at or begin >= run.end_at:
            continue
        longest = max(longest, begin - at)
        at = max(at, end)
    return max(longest, run.end_at - at)


def _key(one: Passed) -> Key:
    return one.body["jobId"], one.body["startTime"]


def _check_order(owed: Mapping[Key, ExpectedRun], passed: Iterable[Passed], account: Account) -> None:
    """No stop comes before its run's start is there, nor before the run's end, nor with another end."""
    there: set[Key] = set()
    for one in sorted(passed, key=lambda one: one.began):
        key = _key(one)
        if one.step == "start":
            there.add(key)
            continue
        if key not in there:
            account.find("order", key, "stop without a start")
        run = owed.get(key)
        ended = None if run is None else run.end_at
        if ended is None or ended != one.body["stopTime"] or one.began < ended:
            account.find("early", key, f"stop {one.body} at {one.began:.1f}")


def kinds(passed: Sequence[Passed]) -> Counter[str]:
    """Count what reached the backend, by step and status."""
    return Counter(f"{one.step} {one.status}" for one in passed)
