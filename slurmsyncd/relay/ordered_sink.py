"""A stop after its start, whoever took that there: the backend is asked whether it has the run."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import Outcome, Presence, Result
from slurmsyncd.model import Step
from slurmsyncd.sinks.filter import left_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import Entry, NodeState, RunKey
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

    async def deliver(self, entry: Entry) -> Outcome:
        """Tell of one step of one run. Never raises for what the other side does."""
        key = entry.start.key
        if entry.step is Step.STOP and not left_out(entry.start, self._clusters) and key not in self._there:
            found = await self._look(key)
            if isinstance(found, Outcome):
                return found
            if found is Presence.ENDED:
                return Outcome(result=Result.ALREADY_THERE, reason="ended_already")
            if found is Presence.ABSENT:
                result = Result.NOT_YET if entry.attempts < PATIENCE else Result.START_MISSING
                return Outcome(result=result, reason="start_not_there")
        outcome = await self._inner.deliver(entry)
        if outcome.result is Result.START_MISSING or entry.step is Step.STOP:
            self._there.pop(key, None)
        return outcome

    async def report_nodes(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Tell the states of a cluster's nodes."""
        return await self._inner.report_nodes(cluster, nodes)

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._inner.aclose()

    async def _look(self, key: RunKey) -> Presence | Outcome:
        """Ask for all runs of that second: those of an array come together, and are asked for once."""
        found = await self._inner.presence(key.cluster, key.start_at)
        if isinstance(found, Outcome):
            # What a question comes to is no verdict on the run.
            return replace(found, result=Result.FAILED) if found.result in _FINAL else found
        for job_id, there in found.items():
            if there is Presence.RUNNING:
                self._there[replace(key, job_id=job_id)] = None
        while len(self._there) > REMEMBERED:
            self._there.popitem(last=False)
        return found.get(key.job_id, Presence.ABSENT)


_FINAL = frozenset({Result.REFUSED, Result.CURABLE, Result.START_MISSING, Result.NOT_YET})
