"""
``requeue = "replace"``: let the later run of a requeued job take the earlier one's place in the sink.

A backend may refuse a run because it holds an earlier one of the same job id. With ``keep-first`` it is left
out. With ``replace`` the earlier run is removed there, if it is ours, all told, ended and archived.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.delivery import OVERTAKEN, REPLACED, Outcome, OutcomeKind
from slurmsyncd.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmsyncd.delivery import OtherRun
    from slurmsyncd.model import NodeState, OutboxEntry, RunKey
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Clock, Inventory, Sink, Store

log = structlog.get_logger(__name__)

#: Outcome of a start that took an earlier run's place.
REPLACES = "replaces_earlier_run"

#: Runs that have to give way to one: a job that was requeued while the sink was unreachable.
_MOST = 10
#: For so long the metrics of an ended run may be on their way to the archive, which outlives its removal.
_ARCHIVED_WITHIN_S = 3600.0
#: A run that is removed for a later one began less than so long before it.
_DAY_S = 86400


class ReplacingSink:
    """
    A sink whose earlier runs of a job give way to the later one.

    Args:
        sink: Whom we tell.
        inventory: The same, to see and to remove what is there.
    """

    def __init__(
        self, sink: Sink, inventory: Inventory, store: Store, thread: StoreThread, clock: Clock
    ) -> None:
        self._sink = sink
        self._inventory = inventory
        self._store = store
        self._thread = thread
        self._clock = clock

    @property
    def name(self) -> str:
        """The section of the configuration."""
        return self._sink.name

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Tell of one step of one run; see ``ports.Sink``."""
        outcome = await self._sink.deliver(entry)
        replaced = False
        for _ in range(_MOST):
            if outcome.result is not OutcomeKind.REPEATED or outcome.other is None:
                break
            hindered = await self._make_room(entry.start.key, outcome.other, outcome)
            if hindered is not None:
                return hindered
            replaced = True
            outcome = await self._sink.deliver(entry)
        if replaced and outcome.result is OutcomeKind.ACCEPTED:
            return replace(outcome, reason=REPLACES)
        return _given_way(entry.start.key, outcome)

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Tell the states of a cluster's nodes."""
        return await self._sink.send_node_states(cluster, nodes)

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._sink.aclose()

    async def _make_room(self, key: RunKey, other: OtherRun, refusal: Outcome) -> Outcome | None:
        """Remove the earlier run; None if that is done, else what becomes of the later one."""
        earlier = other.key
        told = (await self._thread(self._store.delivery_summaries, self.name, (earlier,))).get(earlier)
        if told is None or told.kind is not EventKind.STOP or told.state in {"dead", "dropped"}:
            # Somebody else's, or one that will not end there: an operator may remove it.
            return replace(refusal, result=OutcomeKind.REJECTED, certain=True)
        if told.state != "done":
            return replace(refusal, result=OutcomeKind.TOO_EARLY, reason="earlier_run_not_stopped")
        if not other.archived and (other.running or self._clock.now() - told.since < _ARCHIVED_WITHIN_S):
            return replace(refusal, result=OutcomeKind.TOO_EARLY, reason="earlier_run_not_stopped")
        return await self._remove(key, earlier)

    async def _remove(self, key: RunKey, earlier: RunKey) -> Outcome | None:
        # Written down first: a row that is gone without a word would look like one that was lost.
        await self._note(earlier, REPLACED, f"gives way to the run that began at {key.start_at}")
        outcome = await self._inventory.remove(earlier)
        if outcome.result not in {OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED}:
            return outcome
        await self._note(key, REPLACES, f"the run that began at {earlier.start_at} gave way")
        log.warning(
            REPLACED,
            sink=self.name,
            cluster=key.cluster,
            job=key.job_id,
            start_at=earlier.start_at,
            by_start_at=key.start_at,
        )
        return None

    async def _note(self, key: RunKey, reason: str, detail: str) -> None:
        await self._thread(self._store.add_history, self.name, key, reason, detail, self._clock.now())


def _given_way(key: RunKey, outcome: Outcome) -> Outcome:
    """Leave out a run in whose place the sink has a later one already, as it would be after this one."""
    other = outcome.other
    if outcome.reason != OVERTAKEN or other is None or other.key.start_at - key.start_at >= _DAY_S:
        return outcome
    return replace(outcome, result=OutcomeKind.REPEATED)
