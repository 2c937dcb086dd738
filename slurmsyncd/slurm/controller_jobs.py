"""A job record of the controller's JSON as a ``Job``. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from slurmsyncd.errors import DecodeError
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.model import Gres, Job, JobState, NodeAllocation, RunKey
from slurmsyncd.slurm.allocation import Allocation, read_allocation
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.json_documents import decode_record
from slurmsyncd.slurm.scalars import (
    TEXT_LIMIT,
    Scalar,
    parse_16bit_number,
    parse_count,
    parse_id,
    parse_number,
    parse_sharing,
    parse_state,
    parse_time,
    parse_time_limit,
    parse_tres,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class _Record(Struct):
    """The fields in use, of 150. What may hold anything is checked where it is used."""

    job_id: Scalar = None
    job_state: Any = None
    start_time: Scalar = None
    end_time: Scalar = None
    submit_time: Scalar = None
    time_limit: Scalar = None
    restart_cnt: Scalar = None
    array_job_id: Scalar = None
    array_task_id: Scalar = None
    het_job_id: Scalar = None
    het_job_offset: Scalar = None
    cpus: Scalar = None
    node_count: Scalar = None
    threads_per_core: Scalar = None
    nodes: Any = None
    job_resources: Raw = Raw(b"null")
    gres_detail: Any = None
    tres_alloc_str: Any = None
    shared: Any = None
    exclusive: Any = None
    batch_flag: Any = None
    step_id: Any = None
    user_name: Any = None
    user_id: Scalar = None
    account: Any = None
    partition: Any = None
    qos: Any = None
    name: Any = None
    comment: Any = None
    wckey: Any = None
    resv_name: Any = None
    features: Any = None
    licenses: Any = None
    submit_line: Any = None
    current_working_directory: Any = None


class _Identity(Struct):
    job_id: Scalar = None


_DECODER: Final = msgspec.json.Decoder(_Record)
_IDENTITY: Final = msgspec.json.Decoder(_Identity)
_CLOCKS_APART_S: Final = 30


class JobDetails(Struct, frozen=True):
    """
    A run as the controller shows it.

    Attributes:
        batch: It has a batch script.
        user_id: Number of the user; None if not said.
        skipped_fields: What of it was not understood and left out.
    """

    job: Job
    batch: bool
    user_id: int | None = None
    skipped_fields: tuple[str, ...] = ()


def read_job_id(record: Raw) -> int | None:
    """Return a record's job id at a tenth of the cost of the record; None if it cannot be seen."""
    try:
        return parse_number(decode_json(record, _IDENTITY).job_id)
    except MalformedJson:
        return None


def read_detail(record: Raw, cluster: str, *, now: int) -> JobDetails | None:
    """
    Read a job record of ``squeue --json``; None if the job has not started.

    Args:
        record: Undecoded.
        cluster: Slurm's name of the cluster.
        now: Epoch seconds; what ends later is a forecast.

    Raises:
        DecodeError: Identity, state or hosts are not understood; the record is set aside alone.
    """
    raw = decode_record(record, _DECODER, "job record")
    job_id = parse_id(raw.job_id, "job_id")
    state = parse_state(raw.job_state)
    start, end = parse_time(raw.start_time), parse_time(raw.end_time)
    if start is None or is_not_started(state, end, now):
        return None
    flaws: list[str] = []
    allocation = _lenient(read_allocation, raw.job_resources, None, flaws)
    nodes = _nodes(raw, allocation)
    if not nodes:
        return None  # cancelled while it waited: slurmctld then writes the time of that as its start
    over = state.is_final or state is JobState.COMPLETING
    key = RunKey(cluster, job_id, start)
    job = Job(
        key=key,
        state=state,
        end_at=end if over else None,
        nodes=nodes,
        allocation=_per_node(nodes, allocation, raw.gres_detail, flaws),
        tres=parse_tres(truncate(raw.tres_alloc_str, 65537), flaws),
        **_numbers(raw, nodes, allocation),
        **_texts(raw),
    )
    is_batch = raw.batch_flag is True or raw.batch_flag == 1
    return JobDetails(job, is_batch, parse_number(raw.user_id), tuple(flaws))


def is_not_started(state: JobState, end: int | None, now: int) -> bool:
    """
    Return whether a record of the controller speaks of a run that has not begun.

    After a requeue the record belongs to the next run while the nodes are still being cleared: it is
    COMPLETING, its start is the time of the requeue, and its end a forecast in the future (JSON) or ``N/A``
    (text). The forecast is a time limit away, so at least a minute.
    """
    if state is JobState.COMPLETING:
        return end is None or end > now + _CLOCKS_APART_S
    return state in (JobState.PENDING, JobState.REQUEUED, JobState.REVOKED)


def _lenient(parse: Callable[[Any], T], value: Any, otherwise: T, flaws: list[str]) -> T:
    """Parse what a run can go without."""
    try:
        return parse(value)
    except DecodeError as err:
        flaws.append(str(err))
        return otherwise


def _nodes(raw: _Record, allocation: Allocation | None) -> tuple[str, ...]:
    # 24.11 and later empty `nodes` as soon as a run is COMPLETING; the allocation still has them.
    if isinstance(raw.nodes, str) and raw.nodes not in ("", "(null)"):
        return expand_hostlist(raw.nodes)
    return tuple(node.host for node in allocation.nodes) if allocation else ()


def _per_node(
    nodes: tuple[str, ...], allocation: Allocation | None, detail: Any, flaws: list[str]
) -> tuple[NodeAllocation, ...] | None:
    if allocation is None:
        return None
    by_host = {node.host: node for node in allocation.nodes}
    if by_host.keys() != set(nodes):
        flaws.append("job_resources names other nodes than the job")
        return None
    gres = _gres(detail, len(nodes), flaws)
    # Both lists are in the order of Slurm's node table.
    found = {
        node.host: dataclasses.replace(node, gres=held)
        for node, held in zip(allocation.nodes, gres, strict=True)
    }
    return tuple(found[host] for host in nodes)


def _gres(detail: Any, count: int, flaws: list[str]) -> list[tuple[Gres, ...]]:
    nothing: list[tuple[Gres, ...]] = [()] * count
    if not isinstance(detail, list) or not detail:
        return nothing
    if len(detail) != count:
        flaws.append("gres_detail names another number of nodes than the job")
        return nothing
    return [_lenient(parse_gres, text if isinstance(text, str) else "", (), flaws) for text in detail]


def _numbers(raw: _Record, nodes: tuple[str, ...], allocation: Allocation | None) -> dict[str, Any]:
    array, het = parse_number(raw.array_job_id) or None, parse_number(raw.het_job_id) or None
    threads = parse_16bit_number(raw.threads_per_core) or (
        allocation.threads_per_core if allocation else None
    )
    return {
        "submit_at": parse_time(raw.submit_time),
        "time_limit_s": parse_time_limit(raw.time_limit),
        "num_nodes": parse_count(raw.node_count) or len(nodes),
        "num_cpus": parse_count(raw.cpus),
        "threads_per_core": threads or None,
        "sharing": parse_sharing(raw.shared, raw.exclusive, whole=_whole(allocation)),
        "array_job_id": array,
        "array_task_id": parse_number(raw.array_task_id) if array else None,
        "het_job_id": het,
        "het_offset": parse_number(raw.het_job_offset) if het else None,
        "restarts": parse_16bit_number(raw.restart_cnt),
    }


def _whole(allocation: Allocation | None) -> bool | None:
    if allocation is None:
        return None
    # 22.05 does not say; there an exclusive job has its word in `shared`.
    return bool(allocation.whole)


def _texts(raw: _Record) -> dict[str, Any]:
    sluid = raw.step_id.get("sluid") if isinstance(raw.step_id, dict) else None
    return {
        "user": truncate(raw.user_name),
        "account": truncate(raw.account),
        "partition": truncate(raw.partition),
        "qos": truncate(raw.qos),
        "name": truncate(raw.name),
        "reservation": truncate(raw.resv_name),
        "wckey": truncate(raw.wckey),
        "features": truncate(raw.features),
        "licenses": truncate(raw.licenses),
        "sluid": truncate(sluid),
        "comment": truncate(raw.comment, TEXT_LIMIT),
        "work_dir": truncate(raw.current_working_directory, TEXT_LIMIT),
        "submit_line": truncate(raw.submit_line, TEXT_LIMIT),
    }
