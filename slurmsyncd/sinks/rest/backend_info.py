"""The facts about a backend that deliveries need: its dialect and its topology."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import msgspec

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.sinks.dialect import V1_4, V1_5, Dialect
from slurmsyncd.sinks.rest.client import BackendRequest
from slurmsyncd.sinks.rest.responses import BackendResponse, RequestContext, RequestKind
from slurmsyncd.sinks.topology import NotKnown, Topology, parse_topology

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from slurmsyncd.sinks.rest.responses import LookupNeeded

    Ask = Callable[
        [RequestContext, BackendRequest], Awaitable[tuple[Outcome | LookupNeeded, BackendResponse | None]]
    ]

_MAX_AGE_S = 3600.0
# A host that is missing from the topology may have been added recently; minimum time between such queries.
_MIN_AGE_S = 5.0
_PATIENCE_S = 60.0  # between attempts to renew a topology that still serves
_TOPOLOGY_LIMIT = 8 * 2**20  # bytes


class BackendInfoCache:
    """
    A cache of one backend's dialect and topology, filled on first use.

    Args:
        ask: Sends one request and returns its outcome.
        dialect: Dialect set by the operator; None to detect it.
    """

    def __init__(self, ask: Ask, dialect: Dialect | None = None) -> None:
        self._ask = ask
        self._forced = dialect
        self._dialect = dialect
        self._topology: Topology | None = None
        self._read_at = -math.inf
        self._lock = anyio.Lock(fast_acquire=True)

    async def dialect(self, cluster: str) -> Dialect | Outcome:
        """
        Return the backend's dialect, or the reason why it cannot be detected now.

        An upload of no nodes changes nothing; releases before 1.5 have no such endpoint.
        """
        async with self._lock:
            if self._dialect is None:
                body = msgspec.json.encode({"cluster": cluster, "nodes": []})
                outcome, _ = await self._ask(
                    RequestContext(RequestKind.NODES), BackendRequest("POST", "/api/nodestate/", body)
                )
                assert isinstance(outcome, Outcome)
                if outcome.result is OutcomeKind.ACCEPTED:
                    self._dialect = V1_5
                elif outcome.reason == "no_nodestate":
                    self._dialect = V1_4
                else:
                    return _sinks_trouble(outcome)
            return self._dialect

    @property
    def known(self) -> tuple[Dialect | None, Topology | None]:
        """Return the cached dialect and topology, without a query."""
        return self._dialect, self._topology

    def forget_dialect(self) -> None:
        """Detect the dialect again on next use: the backend rejected a request or has no such endpoint."""
        self._dialect = self._forced

    async def topology(self, cluster: str, hosts: Collection[str]) -> Topology | Outcome:
        """
        Return the backend's topology, or the reason why it is not available now.

        Hardware threads cannot be corrected after a start is sent. So no start is sent with an outdated
        topology that lacks one of its hosts: the operator may have just added it and restarted the backend.
        """
        async with self._lock:
            age = time.monotonic() - self._read_at
            listed = self._lists(cluster, hosts)
            if self._topology is not None and age < (_MAX_AGE_S if listed else _MIN_AGE_S):
                return self._topology
            outcome = await self._read()
            if outcome is not None:
                if not listed or self._topology is None:
                    return outcome
                # The cached topology is correct for these hosts, so it is not queried again for each start.
                self._read_at = time.monotonic() - _MAX_AGE_S + _PATIENCE_S
            assert self._topology is not None
            return self._topology

    def forget_topology(self) -> None:
        """Query the topology again on next use: the backend rejected a host or cluster as unknown."""
        self._read_at = -math.inf

    def _lists(self, cluster: str, hosts: Collection[str]) -> bool:
        subs = () if self._topology is None else self._topology.clusters.get(cluster, ())
        return all(any(sub.everything or sub.has(host) for sub in subs) for host in hosts)

    async def _read(self) -> Outcome | None:
        outcome, answer = await self._ask(
            RequestContext(RequestKind.CLUSTERS),
            BackendRequest("GET", "/api/clusters/", limit=_TOPOLOGY_LIMIT),
        )
        assert isinstance(outcome, Outcome)
        if outcome.result is not OutcomeKind.ACCEPTED or answer is None:
            return _sinks_trouble(outcome)
        found = parse_topology(answer.body)
        if isinstance(found, NotKnown):
            return Outcome(
                result=OutcomeKind.SINK_UNAVAILABLE,
                reason="no_topology",
                detail=found.reason,
                status=200,
                action_required=True,
            )
        self._topology, self._read_at = found, time.monotonic()
        return None


def _sinks_trouble(outcome: Outcome) -> Outcome:
    # These queries do not concern a delivery, so none is charged.
    return replace(outcome, result=OutcomeKind.SINK_UNAVAILABLE)
