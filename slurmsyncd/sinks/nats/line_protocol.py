"""The line protocol that cc-backend reads from NATS. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.model import EventKind

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})
# Values of tags; what else would end one is left out with its tag.
_TAG_ESCAPES = str.maketrans({" ": "\\ ", ",": "\\,", "=": "\\="})
_FUNCTIONS = {EventKind.START: "start_job", EventKind.STOP: "stop_job"}


def job_line(step: EventKind, body: bytes, at: int, *, host: str = "", partition: str = "") -> bytes:
    """
    Return one line for the start or the stop of a run.

    cc-backend reads the tag ``function`` alone. The others are those of cc-slurm-adapter: cc-energy-manager
    takes a stop's partition from its tag, and leaves power limits lowered where it is missing.

    Args:
        step: Which of them.
        body: The same JSON as in the request to the REST interface, in one line.
        at: Epoch seconds. The value is not used there, but without one the message is dropped.
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
    """Return one line for the states of a cluster's nodes."""
    return _line("nodestate", body, at)


def message_id(key: RunKey, kind: str) -> str:
    """Return what JetStream knows a repeated message by: cluster, job id, start and kind."""
    return f"{key.cluster}.{key.job_id}.{key.start_at}.{kind}"


def _is_tag(value: str) -> bool:
    return bool(value) and value.isprintable() and "\\" not in value


def _line(head: str, body: bytes, at: int) -> bytes:
    event = body.decode().translate(_ESCAPES)
    return f'{head} event="{event}" {at}000000000\n'.encode()
