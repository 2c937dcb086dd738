"""A sink that sends a stop only after the backend has the start, no matter which relay sent that."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import Outcome, OutcomeKind, RemoteState
from slurmsyncd.model import EventKind
from slurmsyncd.sinks.filter import skip_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import NodeState, OutboxEntry, RunKey
    from slurmsyncd.sinks.rest.sink import RestSink

#: Deliveries of a stop before its start is rebuilt from it: the real start, with the script, may still come.
PATIENCE = 6
#: Number of remembered runs that the backend has. Forgetting one costs a query.
REMEMBERED = 10_000


class OrderedSink:
    """
    A sink that sends a stop to the backend only when the backend has committed the run.

    Within its commit interval, the backend may acknowledge a stop and lose it. A stop without a start is
    rejected.
    """

    def __init__(self, inner: RestSink, clusters: Mapping[str, ClusterConfig]) -> None:
        self._inner = inner
        self._clusters = clusters
        self._there: OrderedDict[RunKey, None] = OrderedDict()

    @property
    def name(self) -> str:
        """Name of the sink's section in the configuration."""
        return self._inner.name

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Deliver one event of one run. Errors of the backend are returned as outcomes, never raised."""
        key = entry.start.key
        if (
            entry.kind is EventKind.STOP
            and not skip_reason(entry.start, self._clusters)
            and key not in self._there
        ):
            found = await self._look(key)
            if isinstance(found, Outcome):
                return found
            if found is RemoteState.ENDED:
                return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="ended_already")
            if found is RemoteState.ABSENT:
                result = OutcomeKind.TOO_EARLY if entry.attempts < PATIENCE else OutcomeKind.START_MISSING
                return Outcome(result=result, reason="start_not_there")
        outcome = await self._inner.deliver(entry)
        if outcome.result is OutcomeKind.START_MISSING or entry.kind is EventKind.STOP:
            self._there.pop(key, None)
        return outcome

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Send the node states of a cluster."""
        return await self._inner.send_node_states(cluster, nodes)

    async def aclose(self) -> None:
        """Close all connections of the sink."""
        await self._inner.aclose()

    async def _look(self, key: RunKey) -> RemoteState | Outcome:
        """Query all runs of the same start second, so that the runs of an array need one query."""
        found = await self._inner.find_runs(key.cluster, key.start_at)
        if isinstance(found, Outcome):
            # The outcome of a query must not decide about the run.
            return replace(found, result=OutcomeKind.FAILED) if found.result in _FINAL else found
        for job_id, there in found.items():
            if there is RemoteState.RUNNING:
                self._there[replace(key, job_id=job_id)] = None
        while len(self._there) > REMEMBERED:
            self._there.popitem(last=False)
        return found.get(key.job_id, RemoteState.ABSENT)


_FINAL = frozenset(
    {OutcomeKind.REJECTED, OutcomeKind.REJECTED_UNTIL_FIXED, OutcomeKind.START_MISSING, OutcomeKind.TOO_EARLY}
)
