"""A stop after its start, whoever took that there: the backend is asked whether it has the run."""

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

#: How often a stop is given before it brings its start along: that may be on its way, with the script.
PATIENCE = 6
#: Runs of which we remember that they are there. Forgetting one costs a question.
REMEMBERED = 10_000


class OrderedSink:
    """
    A backend that is told of a stop only when it has committed the run.

    A stop within the commit interval may be acknowledged and lost there, and one before its start is refused.
    """

    def __init__(self, inner: RestSink, clusters: Mapping[str, ClusterConfig]) -> None:
        self._inner = inner
        self._clusters = clusters
        self._there: OrderedDict[RunKey, None] = OrderedDict()

    @property
    def name(self) -> str:
        """The section of the configuration."""
        return self._inner.name

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Tell of one step of one run. Never raises for what the other side does."""
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
        """Tell the states of a cluster's nodes."""
        return await self._inner.send_node_states(cluster, nodes)

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._inner.aclose()

    async def _look(self, key: RunKey) -> RemoteState | Outcome:
        """Ask for all runs of that second: those of an array come together, and are asked for once."""
        found = await self._inner.find_runs(key.cluster, key.start_at)
        if isinstance(found, Outcome):
            # What a question comes to is no verdict on the run.
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
