"""The REST sink: delivers events to ClusterCockpit's cc-backend by its REST interface."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Union

import msgspec
import structlog

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import ConfigError
from slurmsyncd.model import EventKind
from slurmsyncd.sinks.bodies import (
    BodyOptions,
    NotRepresentable,
    backend_cluster_name,
    backend_stop_state,
    edit_body,
    end_body,
    nodes_body,
    start_body,
    stop_body,
)
from slurmsyncd.sinks.dialect import V1_4, Dialect
from slurmsyncd.sinks.filter import cluster_section, skip_reason
from slurmsyncd.sinks.preview import BackendInfo
from slurmsyncd.sinks.resources import backend_host_name, hosts_of
from slurmsyncd.sinks.rest.backend_info import BackendInfoCache
from slurmsyncd.sinks.rest.client import BackendClient, BackendRequest, ExchangeFailure
from slurmsyncd.sinks.rest.commit import AGAIN_S, CommitWatch
from slurmsyncd.sinks.rest.duplicates import NOTE, note_of, outcome_of_lookup
from slurmsyncd.sinks.rest.ends import compare_ends
from slurmsyncd.sinks.rest.listing import BackendListing
from slurmsyncd.sinks.rest.responses import (
    JOBS_BY_NATS,
    BackendResponse,
    FailureKind,
    LookupNeeded,
    RequestContext,
    RequestKind,
    outcome_of_failure,
    outcome_of_response,
    stopped_id,
)
from slurmsyncd.sinks.rest.token import TokenFile, token_expires_at
from slurmsyncd.sinks.text import printable
from slurmsyncd.sinks.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from slurmsyncd.config import SinkConfig
    from slurmsyncd.delivery import Differing, RemoteState
    from slurmsyncd.model import Job, NodeState, OutboxEntry, RunKey
    from slurmsyncd.ports import Clock
    from slurmsyncd.sinks.bodies import RequestBody
    from slurmsyncd.sinks.topology import Topology

log = structlog.get_logger(__name__)

_LOOK_UP_LIMIT = 8 * 2**20  # bytes; a run on many nodes with its script
_NOTED_WITHIN = 3  # attempts; what is only noted must not keep a run waiting
_EXPIRY_WARNING_S = 7 * 86400.0
_ENDED = 10_000  # answers to stops that are remembered
_UNREACHABLE = frozenset({FailureKind.UNREACHABLE.value, FailureKind.CONNECT_TIMEOUT.value})
_AWAY = frozenset({FailureKind.UNREACHABLE, FailureKind.CONNECT_TIMEOUT, FailureKind.BROKEN_OFF})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """
    The properties of a backend, as shown to the operator.

    Attributes:
        jobs_by_rest: Whether the backend accepts starts and stops by REST and not by NATS.
        clock_s: Seconds by which the local clock is ahead of the backend's; None if unknown.
        token_expires_at: Expiry of the token in seconds since the epoch; None if the token has none.
    """

    dialect: Dialect
    topology: Topology
    jobs_by_rest: bool
    clock_s: float | None
    token_expires_at: float | None


class RestSink:
    """
    A sink that delivers to one cc-backend.

    Args:
        config: Section of the sink.
        clusters: Sections of clusters by Slurm's name; a cluster without a section has no special settings.
        clock: Clock for dates.
        dialect: Dialect of the backend's release; None to detect it.

    Attributes:
        notes: How often each kind of note was made, for metrics.

    Raises:
        ConfigError: The CA file cannot be used.
    """

    def __init__(
        self,
        config: SinkConfig,
        clusters: Mapping[str, ClusterConfig],
        clock: Clock,
        *,
        dialect: Dialect | None = None,
    ) -> None:
        self._config = config
        self._clusters = clusters
        self._clock = clock
        self._token = TokenFile(config.token_file, f"sinks.{config.name}.token_file")
        self._token_warnings: set[str] = set()
        self._token_expires_at: float | None = None
        self._facts = BackendInfoCache(self._ask, dialect)
        self._commits = CommitWatch(config.stop_hold)
        self._ended: OrderedDict[int, RunKey] = OrderedDict()  # by the id in the answer to the stop
        self._has_answered = False
        self._doubtful_since: float | None = None
        self.notes: Counter[str] = Counter()
        try:
            # A context that trusts nobody is enough where TLS is not spoken.
            context = tls_context(config.ca_file)
        except OSError as err:
            problem = (
                f"sinks.{config.name}.ca_file = {config.ca_file}: {err}; name a file of PEM certificates"
            )
            raise ConfigError([problem]) from err

        self._transport = BackendClient(config.url, context, config.timeout, clock.now)

    @property
    def name(self) -> str:
        """Name of the sink's section in the configuration."""
        return self._config.name

    @property
    def known(self) -> BackendInfo:
        """Return the facts learned from the backend so far, without a query."""
        dialect, topology = self._facts.known
        return BackendInfo(dialect=dialect, topology=topology)

    @property
    def doubtful_since(self) -> float | None:
        """Time of the last event that may have lost runs at the backend; see ``ports.Inventory``."""
        return self._doubtful_since

    @property
    def token_expires_at(self) -> float | None:
        """Expiry of the last used token in seconds since the epoch; None if the token has none."""
        return self._token_expires_at

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Deliver one event of one run. Errors of the backend are returned as outcomes, never raised."""
        out = skip_reason(entry.start, self._clusters)
        if out is not None:
            return out
        cluster = backend_cluster_name(entry.start.key.cluster, self._cluster(entry.start))
        dialect = await self._facts.dialect(cluster)
        if isinstance(dialect, Outcome):
            return dialect
        outcome = await self._deliver(entry, dialect)
        if outcome.reason == "no_endpoint":
            self._facts.forget_dialect()
        elif outcome.reason == "unknown_field":
            # The backend was upgraded or downgraded after its dialect was detected.
            self._facts.forget_dialect()
            changed = await self._facts.dialect(cluster)
            if isinstance(changed, Dialect) and changed is not dialect:
                return await self._deliver(entry, changed)
        return outcome

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Send the node states of a cluster. Reason ``no_nodestate`` means that the backend is too old."""
        body = nodes_body(cluster, nodes, self._clusters.get(cluster, ClusterConfig(name=cluster)))
        outcome, _ = await self._ask(
            RequestContext(RequestKind.NODES), BackendRequest("POST", "/api/nodestate/", body.content)
        )
        assert isinstance(outcome, Outcome)
        return outcome

    async def probe(self) -> Outcome:
        """
        Query whether the backend accepts stops by REST. The request changes and logs nothing there.

        cc-backend 1.5 and later answer 405 to a GET of that endpoint, before they read the token. They answer
        404 if api-subjects prevents the endpoint from being mounted.
        """
        outcome, _ = await self._probe()
        return outcome

    async def _probe(self) -> tuple[Outcome, BackendResponse | None]:
        outcome, answer = await self._ask(
            RequestContext(RequestKind.PROBE), BackendRequest("GET", "/api/jobs/stop_job/")
        )
        assert isinstance(outcome, Outcome)
        return outcome, answer

    async def inspect(self, cluster: str) -> BackendReport | Outcome:
        """Query the facts that deliveries need, without changing anything. Return an Outcome on failure."""
        backend_name = self._backend_name(cluster)
        topology = await self._facts.topology(backend_name, ())
        if isinstance(topology, Outcome):
            return topology
        dialect = await self._facts.dialect(backend_name)
        if isinstance(dialect, Outcome):
            return dialect
        outcome, answer = await self._probe()
        # 1.4 always accepts jobs by REST, and answers an unexpected method differently.
        by_rest = dialect is V1_4 or outcome.result is OutcomeKind.ACCEPTED
        if not by_rest and outcome.reason != JOBS_BY_NATS:
            return outcome
        said_at = None if answer is None else answer.server_time
        return BackendReport(
            dialect=dialect,
            topology=topology,
            jobs_by_rest=by_rest,
            clock_s=None if said_at is None else self._clock.now() - said_at,
            token_expires_at=token_expires_at(self._token.read().value),
        )

    async def list_running(
        self, cluster: str, each_page: Callable[[Sequence[RunKey]], Awaitable[None]]
    ) -> Outcome:
        """List the runs that the backend shows as running, page by page; see ``ports.Inventory``."""
        return await self._reading(cluster).running(each_page)

    async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        """Return the committed runs that began at ``start_at``, by job id."""
        return await self._reading(cluster).presence(start_at)

    async def differing(self, cluster: str, stops: Mapping[RunKey, Job]) -> Sequence[Differing] | Outcome:
        """Return the finished runs that the backend shows with another end; see ``ports.Inventory``."""
        dialect = await self._facts.dialect(self._backend_name(cluster))
        if isinstance(dialect, Outcome):
            return dialect
        return await compare_ends(self._reading(cluster), stops, dialect)

    async def remove(self, key: RunKey) -> Outcome:
        """Delete one committed run. Its archive stays."""
        which = {"jobId": key.job_id, "cluster": self._backend_name(key.cluster), "startTime": key.start_at}
        call = BackendRequest("DELETE", "/api/jobs/delete_job/", msgspec.json.encode(which))
        outcome, _ = await self._ask(RequestContext(RequestKind.REMOVE), call)
        assert isinstance(outcome, Outcome)
        return outcome

    async def topology(self, job: Job) -> Topology | Outcome:
        """Return a topology that is recent enough for a run, or the reason why it is unknown."""
        config = self._cluster(job)
        hosts = [backend_host_name(host, config) for host in hosts_of(job)]
        return await self._facts.topology(backend_cluster_name(job.key.cluster, config), hosts)

    async def aclose(self) -> None:
        """Close all connections of the sink."""
        await self._transport.aclose()

    def _reading(self, cluster: str) -> BackendListing:
        return BackendListing(self._ask, cluster, self._backend_name(cluster))

    def _backend_name(self, cluster: str) -> str:
        return backend_cluster_name(cluster, cluster_section(cluster, self._clusters))

    def _cluster(self, job: Job) -> ClusterConfig:
        return cluster_section(job.key.cluster, self._clusters)

    async def _deliver(self, entry: OutboxEntry, dialect: Dialect) -> Outcome:
        options = BodyOptions(dialect=dialect, script_limit=self._config.script_limit)
        if entry.kind is EventKind.STOP:
            return await self._stop(entry, options)
        return await self._start(entry, options)

    async def _start(self, entry: OutboxEntry, options: BodyOptions) -> Outcome:
        config = self._cluster(entry.start)
        cluster = backend_cluster_name(entry.start.key.cluster, config)
        topology = await self.topology(entry.start)
        if isinstance(topology, Outcome):
            return topology
        body = start_body(entry.start, config, topology, options, entry.stop)
        outcome = await self._send_start(entry, body)
        if isinstance(outcome, Outcome) and outcome.reason == "too_large" and not options.without_long_texts:
            return await self._start(entry, replace(options, without_long_texts=True))
        if isinstance(outcome, Outcome) and outcome.reason in ("no_subcluster", "no_cluster"):
            self._facts.forget_topology()
        if isinstance(outcome, LookupNeeded):
            found = await self._look_up(entry, outcome.dbid, cluster, notes=options.dialect.edits)
            return replace(found, hold_s=0.0)  # it is committed
        return replace(outcome, hold_s=self._commits.wait_s) if options.dialect.edits else outcome

    async def _send_start(
        self, entry: OutboxEntry, body: Union[RequestBody, NotRepresentable]
    ) -> Outcome | LookupNeeded:
        if isinstance(body, NotRepresentable):
            return _refused(body)
        self._say(entry, body)
        sent = RequestContext(RequestKind.START, job_id=entry.start.key.job_id)
        outcome, _ = await self._ask(sent, BackendRequest("POST", "/api/jobs/start_job/", body.content))
        return outcome

    async def _look_up(self, entry: OutboxEntry, dbid: int, cluster: str, *, notes: bool) -> Outcome:
        """Query whether the row that makes a start a duplicate is the same run; else note the run there."""
        found, answer = await self._ask(
            RequestContext(RequestKind.LOOK_UP),
            BackendRequest("GET", f"/api/jobs/{dbid}", limit=_LOOK_UP_LIMIT),
        )
        assert isinstance(found, Outcome)
        if found.result is not OutcomeKind.ACCEPTED or answer is None:
            return found
        outcome = outcome_of_lookup(answer, entry.start.key, cluster)
        if outcome.other is None:
            return outcome
        # The backend names any of several runs of the job id, so this run may exist as well.
        key = entry.start.key
        there = await self.find_runs(key.cluster, key.start_at)
        if isinstance(there, Outcome):
            return there
        if key.job_id in there:
            return Outcome(
                result=OutcomeKind.ALREADY_DELIVERED, reason="listed_already", status=outcome.status
            )
        if notes and outcome.result is OutcomeKind.REPEATED and self._config.requeue == "keep-first":
            return await self._note(entry, outcome.other.key, answer) or outcome
        return outcome

    async def _note(self, entry: OutboxEntry, earlier: RunKey, answer: BackendResponse) -> Outcome | None:
        """Note at the kept run that its job ran again. Return an Outcome if the note must be retried."""
        text = note_of(answer, entry.start.key)
        if text is None:
            return None
        outcome = await self._edit(edit_body(earlier, NOTE, text, self._cluster(entry.start)))
        passing = outcome.result in (OutcomeKind.SINK_UNAVAILABLE, OutcomeKind.FAILED)
        return outcome if passing and entry.attempts < _NOTED_WITHIN else None

    async def _edit(self, body: RequestBody) -> Outcome:
        """Change the metadata of a committed run."""
        outcome, _ = await self._ask(
            RequestContext(RequestKind.EDIT), BackendRequest("PATCH", "/api/jobs/edit_meta/", body.content)
        )
        assert isinstance(outcome, Outcome)
        return outcome

    async def _stop(self, entry: OutboxEntry, options: BodyOptions) -> Outcome:
        assert entry.stop is not None
        held = await self._hold_back(entry, options.dialect)
        if held is not None:
            return held
        outcome = await self._send_stop(entry, options)
        plain = replace(options, dialect=V1_4)
        words = (backend_stop_state(entry.stop, options.dialect), backend_stop_state(entry.stop, V1_4))
        if outcome.reason == "unknown_state" and words[0] != words[1]:
            return await self._send_stop(entry, plain)
        return outcome

    async def hold_back(self, entry: OutboxEntry) -> Outcome | None:
        """
        Prepare a stop that another sink sends, as this sink prepares its own stops; see ``_hold_back``.

        An unreachable backend would miss the stop on any way. Other errors concern only the REST interface.
        """
        dialect = await self._facts.dialect(self._backend_name(entry.start.key.cluster))
        found = dialect if isinstance(dialect, Outcome) else await self._hold_back(entry, dialect)
        if found is None or found.result is OutcomeKind.TOO_EARLY or found.reason in _UNREACHABLE:
            return found
        return self._unproven(entry)

    async def _hold_back(self, entry: OutboxEntry, dialect: Dialect) -> Outcome | None:
        """
        Write the end of a run into its metadata, which proves that its start was committed.

        Returns:
            Why the stop must not be sent yet; None if it may be sent now.
        """
        assert entry.stop is not None
        proof = await self._write_end(entry) if dialect.edits else None
        if proof is not None and proof.result in (
            OutcomeKind.ACCEPTED,
            OutcomeKind.SINK_UNAVAILABLE,
            OutcomeKind.FAILED,
        ):
            return None if proof.result is OutcomeKind.ACCEPTED else proof
        held = self._unproven(entry)
        if held is None or proof is None or proof.result is not OutcomeKind.TOO_EARLY:
            return held
        return replace(proof, retry_after_s=min(AGAIN_S, held.retry_after_s or AGAIN_S))

    def _unproven(self, entry: OutboxEntry) -> Outcome | None:
        """Hold a stop for a time, because nothing proves that its start was committed."""
        wait_s = self._commits.unproven_s(entry.start_acknowledged_at, self._clock.now())
        return (
            Outcome(result=OutcomeKind.TOO_EARLY, reason="stop_held", retry_after_s=wait_s)
            if wait_s
            else None
        )

    async def _write_end(self, entry: OutboxEntry) -> Outcome:
        assert entry.stop is not None
        outcome = await self._edit(end_body(entry.start, entry.stop, self._cluster(entry.start)))
        if outcome.result is OutcomeKind.ACCEPTED:
            self._commits.note_committed()
        elif outcome.result is OutcomeKind.TOO_EARLY and entry.start_acknowledged_at is not None:
            self._commits.note_uncommitted(entry.start_acknowledged_at, self._clock.now())
        return outcome

    async def _send_stop(self, entry: OutboxEntry, options: BodyOptions) -> Outcome:
        assert entry.stop is not None
        body = stop_body(entry.start, entry.stop, self._cluster(entry.start), options)
        if isinstance(body, NotRepresentable):
            return _refused(body)
        self._say(entry, body)
        state = backend_stop_state(entry.stop, options.dialect) or ""
        sent = RequestContext(RequestKind.STOP, job_id=entry.start.key.job_id, state=state)
        outcome, answer = await self._ask(sent, BackendRequest("POST", "/api/jobs/stop_job/", body.content))
        assert isinstance(outcome, Outcome)
        if outcome.reason == "stopped_otherwise":
            log.warning("stopped_otherwise", **self._names(entry), sent=state, detail=outcome.detail)
        if outcome.result is OutcomeKind.ACCEPTED and answer is not None:
            return self._notice_race(entry, answer) or outcome
        return outcome

    def _notice_race(self, entry: OutboxEntry, answer: BackendResponse) -> Outcome | None:
        """
        Detect a stop that ended another run: the responses to both stops have one id (race R1).

        Returns:
            The outcome that makes the stop be sent again; None without a race.
        """
        dbid, key = stopped_id(answer), entry.start.key
        other = key if dbid is None else self._ended.setdefault(dbid, key)
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
        if other == key:
            return None
        self._doubtful_since = self._clock.now()
        detail = f"the backend ended job {other.job_id} that started at {other.start_at} with this run's end"
        log.warning("stop_ended_another_run", **self._names(entry), other=other.job_id, detail=detail)
        return Outcome(result=OutcomeKind.FAILED, reason="stop_ended_another_run", detail=detail)

    async def _ask(
        self, sent: RequestContext, call: BackendRequest
    ) -> tuple[Outcome | LookupNeeded, BackendResponse | None]:
        """Send one request and return the outcome of its response."""
        try:
            token = self._read_token()
        except ConfigError as err:
            return outcome_of_failure(FailureKind.TOKEN, str(err)), None
        result = await self._transport.exchange(call, token)
        self._note_exchange(result)
        if isinstance(result, ExchangeFailure):
            return outcome_of_failure(result.failure, f"{self._config.url}: {result.detail}"), None
        outcome = outcome_of_response(sent, result)
        if isinstance(outcome, Outcome) and outcome.reason == "credentials":
            self._token.forget()
            remedy = f"put a token that it takes into {self._config.token_file}"
            outcome = replace(outcome, detail=f"{self._config.url}: {outcome.detail}; {remedy}")
        return outcome, result

    def _note_exchange(self, result: BackendResponse | ExchangeFailure) -> None:
        """Record whether the backend itself, and not only a proxy, responds."""
        was_away = self._commits.answering_since is None and self._has_answered
        answered = isinstance(result, BackendResponse) and result.status not in (502, 503, 504)
        if not answered and isinstance(result, ExchangeFailure) and result.failure not in _AWAY:
            return
        now = self._clock.now()
        self._commits.note_exchange(answered=answered, now=now)
        if answered and was_away:
            self._doubtful_since = now
        self._has_answered = self._has_answered or answered

    def _read_token(self) -> str:
        secret = self._token.read()
        self._token_expires_at = expires_at = token_expires_at(secret.value)
        left_s = None if expires_at is None else expires_at - self._clock.now()
        if secret.warning:
            self._warn_of_token(secret.warning)
        if left_s is not None and left_s < _EXPIRY_WARNING_S:
            self._warn_of_token(f"expires at {expires_at:.0f} (epoch seconds); have a new one made")
        return secret.value

    def _warn_of_token(self, detail: str) -> None:
        if detail not in self._token_warnings:
            self._token_warnings.add(detail)
            log.warning("token_file", sink=self.name, detail=detail)

    def _say(self, entry: OutboxEntry, body: RequestBody) -> None:
        """Count omitted parts of a body, and log each kind once."""
        for note in body.notes:
            self.notes[note.kind] += 1
            level = log.warning if self.notes[note.kind] == 1 else log.debug
            level(note.kind, **self._names(entry), detail=note.detail)

    def _names(self, entry: OutboxEntry) -> dict[str, object]:
        key = entry.start.key
        return {"sink": self.name, "cluster": key.cluster, "job": key.job_id}


def _refused(refusal: NotRepresentable) -> Outcome:
    detail = printable(refusal.detail)
    return Outcome(result=OutcomeKind.REJECTED, reason=refusal.reason, detail=detail, certain=True)
