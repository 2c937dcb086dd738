"""What differs between releases of the backend, in one place. Pure."""

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
    How one line of releases wants to be spoken to.

    Attributes:
        sharing_field: Key of the sharing value; the other release's key is an error.
        sharing: Our word → its value.
        states: Slurm's final state → its word. A state that is missing here is never sent.
        edits: A job's metadata can be changed by its id, cluster and start.
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
    # The backend has no word for these; the run as such was called off.
    JobState.REQUEUED: "cancelled",
    JobState.REVOKED: "cancelled",
    # A word younger than we are, of a run that accounting gives an end: that it is over is sure, how is not.
    JobState.UNKNOWN: "failed",
}

V1_5 = Dialect(
    name="1.5",
    sharing_field="shared",
    sharing=MappingProxyType({sharing: sharing.value for sharing in Sharing}),
    states=MappingProxyType(_STATES),
    edits=True,
)

#: 1.4.3 and later 1.4; older ones answer a start before it is stored and are not supported.
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
