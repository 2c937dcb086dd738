"""The differences between releases of the backend. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from slurmsyncd.model import JobState, Sharing

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    The request format of one release line of cc-backend.

    Attributes:
        sharing_field: Key of the sharing value; the key of the other release line is an error.
        sharing: Sharing in slurmsyncd → value at the backend.
        states: Final state in Slurm → state at the backend. A state that is missing here is never sent.
        edits: Whether a job's metadata can be changed by job id, cluster and start.
    """

    name: str
    sharing_field: str
    sharing: Mapping[Sharing, str | int]
    states: Mapping[JobState, str]
    edits: bool = False


_STATES = {
    JobState.BOOT_FAIL: "boot_fail",
    JobState.CANCELLED: "cancelled",
    JobState.COMPLETED: "completed",
    JobState.DEADLINE: "deadline",
    JobState.FAILED: "failed",
    JobState.NODE_FAIL: "node_fail",
    JobState.OUT_OF_MEMORY: "out_of_memory",
    JobState.PREEMPTED: "preempted",
    JobState.TIMEOUT: "timeout",
    # The backend has no state for these; each of them means that the run was cancelled.
    JobState.REQUEUED: "cancelled",
    JobState.REVOKED: "cancelled",
    # A state newer than slurmsyncd. Accounting has an end of the run, so only the result is unknown.
    JobState.UNKNOWN: "failed",
}

V1_5 = Dialect(
    name="1.5",
    sharing_field="shared",
    sharing=MappingProxyType({sharing: sharing.value for sharing in Sharing}),
    states=MappingProxyType(_STATES),
    edits=True,
)

#: 1.4.3 and later 1.4. Older releases acknowledge a start before it is stored and are not supported.
V1_4 = Dialect(
    name="1.4",
    sharing_field="exclusive",
    sharing=MappingProxyType({Sharing.NONE: 1, Sharing.MULTI_USER: 0, Sharing.SINGLE_USER: 2}),
    states=MappingProxyType(
        {
            **_STATES,
            JobState.NODE_FAIL: "failed",
            JobState.BOOT_FAIL: "failed",
            JobState.DEADLINE: "timeout",
        }
    ),
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in (V1_5, V1_4)})
