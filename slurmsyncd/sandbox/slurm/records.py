"""What the shared state holds: types only, never imported by a command at run time."""

from __future__ import annotations

from typing import TypedDict


class NodeRow(TypedDict):
    """
    One node.

    Attributes:
        cores: Per socket.
        threads: Per core; Slurm's CPUs are ``sockets * cores * threads``.
        down: Why it is down, empty while it is up.
    """

    name: str
    sockets: int
    cores: int
    threads: int
    memory_mib: int
    gpu_type: str
    gpus: int
    features: str
    down: str


class HeldResources(TypedDict):
    """
    What a run holds on one node.

    Attributes:
        cores: [socket, core within the socket], ascending.
        gpus: Device indexes, ascending.
        sockets: Of the node; with ``cores_per_socket`` its geometry, which Slurm prints along.
    """

    node: str
    sockets: int
    cores_per_socket: int
    threads: int
    cores: list[list[int]]
    gpus: list[int]
    gpu_type: str
    memory_mib: int


class JobRequest(TypedDict):
    """
    What a user asked for, and what will become of it.

    Attributes:
        cores: On each node; ``more`` of them on the first, since nodes rarely hold equal shares.
        gpus: On each node.
        exclusive: Empty, ``node`` or ``user``.
        limit_min: Time limit in minutes; None means the partition's.
        held: Submitted on hold: never eligible until somebody cancels it.
        begin_in_s: Eligible only so many seconds after the submission.
        duration_s: How long the script would run.
        outcome: How it ends if nothing interferes: a final state of Slurm.
        exit_code: ``code`` and ``signal`` go with it.
        cancel_after_s: Seconds after submission (while pending) or None.
        requeue_after_s: Seconds after the first start or None.
        suspend_after_s: Seconds after the start or None; for ``suspend_for_s``.
    """

    user: str
    uid: int
    account: str
    partition: str
    qos: str
    name: str
    comment: str
    wckey: str
    reservation: str
    licenses: str
    features: str
    work_dir: str
    script: str
    batch: bool
    nodes: int
    cores: int
    more: int
    gpus: int
    gpu_type: str
    exclusive: str
    limit_min: int | None
    held: bool
    begin_in_s: int
    duration_s: float
    outcome: str
    exit_code: int
    signal: int
    cancel_after_s: float | None
    requeue_after_s: float | None
    suspend_after_s: float | None
    suspend_for_s: float


class RunRow(TypedDict):
    """
    One run of a job: a requeue makes another. Instants are epoch seconds, 0 means not (yet).

    Attributes:
        id: Order of appearance; slurmdbd's index is made from it.
        array_job_id: 0 outside arrays. ``array_task_id`` is None for the record that stands
            for the tasks that still wait (``array_tasks``), and outside arrays.
        het_job_id: 0 outside heterogeneous jobs; ids run up to ``het_last``.
        state: Slurm's base state.
        phase: ``CONFIGURING`` or ``COMPLETING`` beside it, else empty.
        eligible_at: 0 while held.
        forecast_at: Start that the scheduler foresees for a pending job.
        paused_s: Time spent suspended; ``suspended_at`` is when the last suspension began or ended.
        next_at: When the engine has to act on it, None if nothing will happen by itself.
        in_memory: Whether slurmctld still knows it.
        submit_seen: When slurmdbd knows of the submission; ``start_seen``, ``end_seen`` alike.
        alloc: In the order of the node list; empty before the start.
        killed_by: uid of who cancelled it.
    """

    id: int
    job_id: int
    array_job_id: int
    het_job_id: int
    state: str
    phase: str
    submit_at: int
    eligible_at: int
    start_at: int
    end_at: int
    next_at: float | None
    in_memory: int
    submit_seen: float
    start_seen: float
    end_seen: float
    array_task_id: int | None
    array_tasks: list[int]
    array_last: int
    array_limit: int
    het_offset: int
    het_last: int
    restarts: int
    reason: str
    forecast_at: int
    suspended_at: int
    paused_s: int
    exit_code: int
    signal: int
    killed_by: int | None
    request: JobRequest
    alloc: list[HeldResources]
