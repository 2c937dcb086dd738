"""What has to be known of the backend before it can be told of runs: its dialect and its topology."""

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
# A host that the topology lacks may have been added just now; more often than this is not asked.
_MIN_AGE_S = 5.0
_PATIENCE_S = 60.0  # between attempts to renew a topology that still serves
_TOPOLOGY_LIMIT = 8 * 2**20  # bytes


class BackendInfoCache:
    """
    Dialect and topology of one backend, asked for when first needed.

    Args:
        ask: Makes one exchange and judges it.
        dialect: Forced by the operator; None to find out.
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
        Return the backend's dialect, or why it cannot be found out now.

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
        """What was found out so far; asks nothing."""
        return self._dialect, self._topology

    def forget_dialect(self) -> None:
        """Find out again: the backend did not understand us, or has no such endpoint."""
        self._dialect = self._forced

    async def topology(self, cluster: str, hosts: Collection[str]) -> Topology | Outcome:
        """
        Return what the backend says of its clusters, or why it cannot be had now.

        Hardware threads cannot be corrected once a start is sent. So it is never sent on an outdated
        topology that lacks one of its hosts: the admin may have added it and restarted the backend just now.
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
                # What we have is right for these hosts; do not ask again with every start.
                self._read_at = time.monotonic() - _MAX_AGE_S + _PATIENCE_S
            assert self._topology is not None
            return self._topology

    def forget_topology(self) -> None:
        """Ask again: the backend does not know a host or cluster that we have from somewhere."""
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
    # What is asked here concerns no entry, so none is charged for it.
    return replace(outcome, result=OutcomeKind.SINK_UNAVAILABLE)
