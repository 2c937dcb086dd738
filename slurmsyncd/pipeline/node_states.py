"""Node states: what the nodes do now, told on as it is. No record is kept: the next one replaces it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    from slurmsyncd.delivery import Outcome
    from slurmsyncd.ports import Sink, Source

log = structlog.get_logger(__name__)


async def report_node_states(
    sources: Sequence[Source],
    sink: Sink,
    every_s: float,
    down: MutableMapping[str, Outcome] | None = None,
    *,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """
    Tell a sink the states of all nodes at an interval, each cluster by itself. Runs until cancelled.

    Args:
        sources: The clusters.
        sink: Whom to tell.
        every_s: From one report to the next.
        down: Where to keep, by cluster, that the sink as a whole is in trouble: while no job starts or
            ends, nobody else finds out.
        heard: Called when the sink accepted a report.
    """
    troubles = {} if down is None else down
    async with anyio.create_task_group() as group:
        for source in sources:
            name = f"nodes-{source.cluster}"
            group.start_soon(_keep_reporting, source, sink, every_s, troubles, heard, name=name)


async def _keep_reporting(
    source: Source,
    sink: Sink,
    every_s: float,
    down: MutableMapping[str, Outcome],
    heard: Callable[[], None],
) -> None:
    trouble: str | None = None
    while True:
        before, trouble = trouble, await _report(source, sink, down, heard)
        if trouble and not before:
            log.warning("node_states_not_sent", sink=sink.name, cluster=source.cluster, reason=trouble)
        elif before and not trouble:
            log.info("node_states_sent_again", sink=sink.name, cluster=source.cluster)
        await anyio.sleep(every_s)


async def _report(
    source: Source, sink: Sink, down: MutableMapping[str, Outcome], heard: Callable[[], None]
) -> str | None:
    """Return what went wrong, None if all went well."""
    try:
        nodes = await source.node_states()
    except SourceUnavailable as err:
        down.pop(source.cluster, None)  # we do not know
        return str(err)
    outcome = await sink.send_node_states(source.cluster, nodes)
    if outcome.result is OutcomeKind.SINK_UNAVAILABLE:
        down[source.cluster] = outcome
    else:
        down.pop(source.cluster, None)
    if outcome.result is OutcomeKind.ACCEPTED:
        heard()
        return None
    return f"{outcome.reason} {outcome.detail}".strip()
