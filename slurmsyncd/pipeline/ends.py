"""The audit of recently finished runs: compare their ends in a sink with what it was sent."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from slurmsyncd.delivery import Outcome, Repair
from slurmsyncd.model import RunKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Inventory, Store

#: Stops that were settled longer ago are never compared: the first audit after a start costs no more.
RECENT_S: Final = 86400.0
#: How long before an outage of the sink stops are compared again: the race at its restart hits recent rows.
AGAIN_S: Final = 3600.0
#: Stops settled within so long are read from the store at a time.
STEP_S: Final = 3600.0
#: Records of ends that are in memory at a time.
GROUP: Final = 500


class _Position(NamedTuple):
    """
    How far comparisons got.

    Attributes:
        at: Stops settled before (epoch seconds) are compared.
        doubted: The sink's ``doubtful_since`` then.
    """

    at: float
    doubted: float | None


class EndComparison:
    """Which stops of one sink were compared already, by cluster."""

    def __init__(self, inventory: Inventory, store: Store, thread: StoreThread) -> None:
        self._inventory = inventory
        self._store = store
        self._thread = thread
        self._compared: dict[str, _Position] = {}
        self._reached: dict[str, _Position] = {}

    async def compare(self, cluster: str, before: float) -> tuple[list[Repair], Outcome | None]:
        """
        Compare the stops that were settled since the last time; ``keep`` ends it.

        Args:
            cluster: Slurm's name.
            before: Stops settled later (epoch seconds) are left to the next time.

        Returns:
            The differences, and why the sink did not answer; None if it did.
        """
        found: list[Repair] = []
        last, doubted = self._compared.get(cluster, _Position(0.0, None)), self._inventory.doubtful_since
        at = last.at if doubted in (None, last.doubted) else min(last.at, doubted - AGAIN_S)
        at = max(at, before - RECENT_S)
        self._reached[cluster] = last
        while at < before:
            until = min(at + STEP_S, before)
            for keys in _groups(cluster, await self._settled(cluster, at, until)):
                stops = await self._thread(self._store.stops, keys)
                differing = await self._inventory.differing(cluster, stops)
                if isinstance(differing, Outcome):
                    return found, differing
                found += [Repair(each.key, each.finding, detail=each.detail) for each in differing]
            at = until
            self._reached[cluster] = _Position(at, doubted)
        return found, None

    def keep(self, cluster: str) -> None:
        """Compare no stop again that the last comparison reached: its differences are recorded."""
        self._compared[cluster] = self._reached[cluster]

    async def _settled(self, cluster: str, since: float, before: float) -> list[tuple[int, int]]:
        name = self._inventory.name
        return await self._thread(
            lambda: list(self._store.delivered_ended_runs(name, cluster, since, before))
        )


def _groups(cluster: str, settled: Sequence[tuple[int, int]]) -> Iterator[list[RunKey]]:
    """Yield the keys in groups, in order of their starts."""
    keys = (RunKey(cluster, job_id, start_at) for start_at, job_id in settled)
    while group := list(islice(keys, GROUP)):
        yield group
