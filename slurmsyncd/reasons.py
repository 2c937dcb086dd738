"""What the reasons mean that logs, metrics and dead letters carry, and what to do about them. Pure."""

from __future__ import annotations

#: Reason → (what it means, what to do).
REASONS: dict[str, tuple[str, str]] = {
    "repeat_of_earlier_run": (
        "the backend has an earlier run of the job id, and accepts the next one a day after that only",
        'nothing, if requeue = "keep-first" keeps that one; else delete that one there, then retry',
    ),
    "later_run_is_there": (
        "the backend has a later run of the job id, and accepts no run that began before one that it has",
        "drop it; or delete the later run there, retry this one, then `slurmsyncd verify --backend --repair`",
    ),
    "no_subcluster": (
        "no sub-cluster of the backend has one of its nodes",
        "add the node to the backend's cluster.json and restart it; then retry, or wait for park_interval",
    ),
    "no_cluster": (
        "the backend does not know the cluster",
        "add it there, or correct clusters.NAME.backend_name; then retry",
    ),
    "cluster_not_configured": ("its section is gone from the configuration", "put it back, or drop it"),
    "unknown_field": ("the backend does not know a field of ours", "upgrade the backend, or slurmsyncd"),
    "unknown_state": ("the backend does not know how it ended", "upgrade the backend, then retry"),
    "handler_crashed": ("the backend crashed over it", "see the backend's log at that time"),
    "too_large": ("its record is too large for the backend or a proxy", "raise their limit, then retry"),
    "check_failed": ("the backend's database does not take it", "see the detail; drop it if nothing helps"),
    "stop_before_start": ("it ended before it began, the backend says", "see the clocks; then retry or drop"),
    "start_missing": ("the backend has lost its start", "nothing: the start is sent again"),
    "transferring": ("the backend was moving it to its table", "nothing: it is tried again"),
    "start_not_committed": ("the backend has not committed its start yet", "nothing: it is asked again"),
    "stop_held": ("nothing proves yet that the backend committed its start", "nothing: it is sent in time"),
    "stop_ended_another_run": (
        "the backend ended another run with its end",
        "nothing for this run; the log names the other one, see docs/runbook.md#slurmsyncdauditfindings",
    ),
    "damaged_record": (
        "its record in the store is damaged or was given up",
        "retry it: its record is read from Slurm's accounting again",
    ),
    "no_user": ("Slurm names no user", "drop it"),
    "no_nodes": ("Slurm names no node", "drop it"),
    "bad_host": ("a host name that the backend would not take", "see the node's name in Slurm"),
    "host_twice": ("two nodes have one name without their domain", "set strip_domain = false, then retry"),
    "bad_job_id": ("a job id that the backend cannot keep", "drop it"),
    "bad_key": ("a job id or start that cannot be told", "drop it"),
    "earlier_run_not_stopped": (
        "an earlier run of this job is still open in the backend",
        "nothing: it is tried again once that one has been stopped",
    ),
    "stream_full": ("the stream takes no more", "raise its limits in NATS, or have somebody read it"),
    "stream_error": ("the stream refuses it", "see the detail"),
    "duplicate": ("the stream has it already", "nothing"),
    "bad_start": ("a start that the backend cannot keep", "drop it"),
    "bad_end": ("an end that the backend cannot keep", "drop it"),
    "bad_cluster": ("a name of a cluster that the backend cannot keep", "correct backend_name, then retry"),
    "no_end": ("it is over, and Slurm does not say since when", "see `sacct -j ID`"),
    "not_over": ("it is over in a way that the backend has no word for", "upgrade slurmsyncd, then retry"),
    "timeout": ("the backend did not answer in time", "see how busy it is; it is tried again"),
    "broken_off": ("the backend broke off in mid-answer", "see its log; it is tried again"),
    "no_http": ("what answered does not speak HTTP", "see what listens at the sink's url"),
    "wrong_shape": ("an answer that is not the backend's", "see what listens at the sink's url"),
    "repeats_itself": ("the backend lists the same page again", "see what listens at the sink's url"),
    "too_many_rows": (
        "a page of the backend's list is longer than asked",
        "see what listens at the sink's url",
    ),
    "without_end": ("the backend's list does not end", "see what listens at the sink's url"),
    "too_long": (
        "a record in the backend's list is longer than 16 MiB",
        "see `sacct -j ID`; nothing is lost",
    ),
    "duplicate_unnamed": ("the backend says that it has it, but not where", "see the backend's log"),
}
_BY_KIND = {
    "4": ("the backend, or something before it, refuses it", "see the detail; then retry or drop"),
    "5": ("the backend failed over it", "see the backend's log; it is tried again"),
}


def meaning(reason: str) -> tuple[str, str]:
    """Return the meaning and the remedy of a reason code; both are empty for an unknown code."""
    if reason.startswith("http_"):
        return _BY_KIND.get(reason[5:6], ("", ""))
    return REASONS.get(reason, ("", ""))
