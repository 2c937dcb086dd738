"""The line protocol that cc-backend reads from NATS. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.model import EventKind

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})
# Allowed values of tags. A tag with another value is omitted, since that value could end the tag early.
_TAG_ESCAPES = str.maketrans({" ": "\\ ", ",": "\\,", "=": "\\="})
_FUNCTIONS = {EventKind.START: "start_job", EventKind.STOP: "stop_job"}


def job_line(step: EventKind, body: bytes, at: int, *, host: str = "", partition: str = "") -> bytes:
    """
    Return one line for the start or the stop of a run.

    cc-backend reads only the tag ``function``; the other tags are those of cc-slurm-adapter.
    cc-energy-manager reads the partition of a stop from its tag. If the tag is missing, it does not restore
    power limits.

    Args:
        step: Kind of the event.
        body: The same JSON as in the request to the REST interface, in one line.
        at: Seconds since the epoch. cc-backend ignores the value, but drops a message without one.
        host: Name of the host that sends the line; empty: no tag.
        partition: The run's partition; empty: no tag.

    Source:
        Contract section 11; cc-slurm-adapter of 2026-04, internal/cc/interface.go.
    """
    tags = {
        "function": _FUNCTIONS[step],
        "hostname": host,
        "partition": partition,
        "type": "node",
        "type-id": "0",
    }
    # An empty value would make the message invalid.
    sent = (f",{key}={value.translate(_TAG_ESCAPES)}" for key, value in tags.items() if _is_tag(value))
    return _line(f"job{''.join(sent)}", body, at)


def nodes_line(body: bytes, at: int) -> bytes:
    """Return one line for the node states of a cluster."""
    return _line("nodestate", body, at)


def message_id(key: RunKey, kind: str) -> str:
    """Return the id by which JetStream detects a repeated message: cluster, job id, start and kind."""
    return f"{key.cluster}.{key.job_id}.{key.start_at}.{kind}"


def _is_tag(value: str) -> bool:
    return bool(value) and value.isprintable() and "\\" not in value


def _line(head: str, body: bytes, at: int) -> bytes:
    event = body.decode().translate(_ESCAPES)
    return f'{head} event="{event}" {at}000000000\n'.encode()
