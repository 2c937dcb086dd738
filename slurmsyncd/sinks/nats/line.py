"""The line protocol that cc-backend reads from NATS. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.model import Step

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})
_FUNCTIONS = {Step.START: "start_job", Step.STOP: "stop_job"}


def job_line(step: Step, body: bytes, at: int) -> bytes:
    """
    Give one line for the start or the stop of a run.

    Args:
        step: Which of them.
        body: The same JSON as in the request to the REST interface, in one line.
        at: Epoch seconds. The value is not used there, but without one the message is dropped.

    Source:
        Contract section 11.
    """
    return _line(f"job,function={_FUNCTIONS[step]}", body, at)


def nodes_line(body: bytes, at: int) -> bytes:
    """Give one line for the states of a cluster's nodes."""
    return _line("nodestate", body, at)


def message_id(key: RunKey, kind: str) -> str:
    """Give what JetStream knows a repeated message by: cluster, job id, start and kind."""
    return f"{key.cluster}.{key.job_id}.{key.start_at}.{kind}"


def _line(head: str, body: bytes, at: int) -> bytes:
    event = body.decode().translate(_ESCAPES)
    return f'{head} event="{event}" {at}000000000\n'.encode()
