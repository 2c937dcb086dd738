"""T2: a state machine over the real store and a model of it that fits in a few dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from slurmsyncd.delivery import DeadLetter, Delivered, Park, ResendStart, Retry, Verdict
from slurmsyncd.model import Event, EventKind, Job, OutboxEntry, RunKey, RunPhase
from slurmsyncd.store import open_store
from slurmsyncd.store.outbox import PATIENCE_S
from tests.unit.store.builders import CLUSTER, T0, key, known, plan, started, stopped

if TYPE_CHECKING:
    from slurmsyncd.store import SqliteStore

SINKS = ("rest", "file")
NAMES = st.text(max_size=3)
HOLDS = st.integers(0, 300)


@dataclass
class Told:
    """What one sink should have been told of one run."""

    due: float | None
    step: EventKind = EventKind.START
    state: str = "ready"
    attempts: dict[EventKind, int] = field(default_factory=lambda: {EventKind.START: 0, EventKind.STOP: 0})
    hold: float = 0.0
    failing_since: float | None = None


@dataclass
class Run:
    start: Job
    stop: Job | None = None
    stop_recorded_at: float = 0.0


class StoreMachine(RuleBasedStateMachine):
    """Every rule does the same to both; the invariants compare all that can be seen of them."""

    runs = Bundle("runs")
    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.lives = 0
        self.now = float(T0)
        self.cursor: int | None = None
        self.model: dict[RunKey, Run] = {}
        self.told: dict[tuple[str, RunKey], Told] = {}
        self.store: SqliteStore

    @initialize()
    def begin(self) -> None:
        self.open("0")

    def open(self, name: str) -> None:
        """Open what was left; nothing of it is ever taken for damage."""
        now = open_store(self.root / name, SINKS, reserve_bytes=4096)
        assert now.recovered is None
        self.store = now.store

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    # What Slurm shows

    @rule(
        target=runs, job_id=st.integers(1, 5), start=st.integers(0, 2), name=NAMES, moves=st.integers(-5, 5)
    )
    def look_shows_a_start(self, job_id: int, start: int, name: str, moves: int) -> RunKey:
        """Also of a run that is known (I3), also of the same id again (requeue)."""
        run = key(job_id, T0 + start)
        self.record([started(run, name)], moves)
        return run

    @rule(run=runs, end=st.integers(0, 1000), repeat_start=st.booleans())
    def look_shows_an_end(self, run: RunKey, end: int, repeat_start: bool) -> None:
        if run in self.model or repeat_start:
            self.record([*([started(run, "again")] if repeat_start else []), stopped(run, T0 + end)], 1)

    @rule(target=runs, job_id=st.integers(6, 8), name=NAMES)
    def look_shows_a_run_that_is_over(self, job_id: int, name: str) -> RunKey:
        self.record([started(key(job_id), name), stopped(key(job_id))], 3)
        return key(job_id)

    def record(self, events: list[Event], moves: int) -> None:
        cursor = (self.cursor or 0) + moves
        new = self.store.record(plan(*events, cursor=cursor), self.now)
        self.cursor = max(cursor, cursor if self.cursor is None else self.cursor)
        assert new == sum(self.expect(event.job, isinstance(event.job.end_at, int)) for event in events)

    def expect(self, job: Job, over: bool) -> bool:
        run = self.model.get(job.key)
        if not over:
            if run is None:
                self.model[job.key] = Run(job)
                self.told.update({(sink, job.key): Told(self.now) for sink in SINKS})
            return run is None
        assert run is not None
        if run.stop is not None:
            return False
        run.stop, run.stop_recorded_at = job, self.now
        for sink in SINKS:
            told = self.told[sink, job.key]
            if told.state == "idle":
                told.state, told.due = "ready", max(self.now, told.hold)
        return True

    # What sinks do

    @rule(
        target=in_flight,
        sink=st.sampled_from(SINKS),
        step=st.sampled_from(list(EventKind)),
        pick=st.integers(0, 9),
    )
    def take(self, sink: str, step: EventKind, pick: int) -> OutboxEntry | None:
        """Take an entry that is due; nothing of it is settled yet, and perhaps never is."""
        due = self.store.due(sink, step, self.now, 100)
        return due[pick % len(due)] if due else None

    @rule(entry=consumes(in_flight), hold=HOLDS)
    def acknowledged(self, entry: OutboxEntry | None, hold: int) -> None:
        self.settle(entry, Delivered(self.now, self.now + hold, "ok"))

    @rule(entry=in_flight, wait=HOLDS, charged=st.booleans())
    def failed(self, entry: OutboxEntry | None, wait: int, charged: bool) -> None:
        self.settle(entry, Retry(self.now + wait, "http_500", "\ud800", charged=charged))

    @rule(entry=in_flight, wait=HOLDS)
    def refused_for_now(self, entry: OutboxEntry | None, wait: int) -> None:
        self.settle(entry, Park(self.now + wait, "no_subcluster", ""))

    @rule(entry=in_flight)
    def refused(self, entry: OutboxEntry | None) -> None:
        self.settle(entry, DeadLetter("http_400", ""))

    @rule(entry=in_flight)
    def start_is_missing(self, entry: OutboxEntry | None) -> None:
        if entry and entry.kind is EventKind.STOP:
            self.settle(entry, ResendStart(self.now, "not_found"))

    def settle(self, entry: OutboxEntry | None, verdict: Verdict) -> None:
        if entry is None:
            return
        self.store.settle([(entry, verdict)], self.now)
        told = self.told.get((entry.sink, entry.start.key))  # None: dropped and forgotten meanwhile
        if told and told.step is entry.kind and told.due is not None:
            self.move(told, verdict, over=self.model[entry.start.key].stop is not None)

    def move(self, told: Told, verdict: Verdict, *, over: bool) -> None:
        if isinstance(verdict, Delivered):
            told.failing_since = None
        elif not isinstance(verdict, Retry) or verdict.charged:
            told.attempts[told.step] += 1
            told.failing_since = self.now if told.failing_since is None else told.failing_since
        match verdict:
            case Delivered() if told.step is EventKind.STOP:
                told.state, told.due = "done", None
            case Delivered(_, next_at):
                told.step, told.hold = EventKind.STOP, next_at
                told.state, told.due = ("ready", next_at) if over else ("idle", None)
            case Retry(at):
                told.state, told.due = ("ready" if verdict.charged else told.state), at
            case Park(at):
                told.state, told.due = "parked", at
            case ResendStart(at):
                told.step, told.state, told.due = EventKind.START, "ready", at
                told.attempts[EventKind.START] = 0
            case DeadLetter():
                told.state, told.due = "dead", None

    # What operators do

    @rule(sink=st.sampled_from(SINKS))
    def retry_the_dead(self, sink: str) -> None:
        self.store.retry([letter.id for letter in self.store.list_deliveries(sink)], self.now)
        for (name, _), told in self.told.items():
            if name == sink and told.state == "dead":
                told.state, told.due, told.attempts = (
                    "ready",
                    self.now,
                    {EventKind.START: 0, EventKind.STOP: 0},
                )
                told.failing_since = None

    @rule(sink=st.sampled_from(SINKS))
    def drop_the_dead(self, sink: str) -> None:
        self.store.drop([letter.id for letter in self.store.list_deliveries(sink)])
        for (name, _), told in self.told.items():
            if name == sink and told.state == "dead":
                told.state = "dropped"

    @rule(keep_s=st.integers(0, 500))
    def prune(self, keep_s: int) -> None:
        limit = self.now - keep_s
        gone = [run for run, seen in self.model.items() if self.may_be_forgotten(run, seen, limit)]
        assert self.store.prune(self.now, keep_s) == len(gone)
        for run in gone:
            del self.model[run]
            for sink in SINKS:
                del self.told[sink, run]

    def may_be_forgotten(self, run: RunKey, seen: Run, limit: float) -> bool:
        if seen.stop is None or seen.stop.end_at is None:
            return False
        settled = all(self.told[sink, run].state in {"done", "dropped"} for sink in SINKS)
        return settled and seen.stop.end_at < limit and seen.stop_recorded_at < limit

    # What the world does

    @rule(seconds=st.integers(-100, 400) | st.just(int(PATIENCE_S)))
    def clock_moves(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def crash(self) -> None:
        """As after kill -9: the files as they are, whatever the old process still had in mind."""
        before, after = self.root / str(self.lives), self.root / str(self.lives + 1)
        shutil.copytree(before, after)
        self.store.close()
        self.lives += 1
        self.open(after.name)

    @precondition(lambda self: self.lives < 20)
    @rule()
    def stop_and_start(self) -> None:
        self.store.close()
        self.open(str(self.lives))

    # What must hold

    @invariant()
    def i1_runs_and_cursor_agree(self) -> None:
        assert self.store.cursor(CLUSTER) == self.cursor
        phases = {
            run: RunPhase.STARTED if seen.stop is None else RunPhase.STOPPED
            for run, seen in self.model.items()
        }
        assert known(self.store, CLUSTER, range(10)) == phases

    @invariant()
    def i2_nothing_leaves_but_by_success_or_operator(self) -> None:
        for sink in SINKS:
            states = [told.state for (name, _), told in self.told.items() if name == sink]
            expected = {state: states.count(state) for state in set(states) - {"done"}}
            assert self.store.counts(sink).states == expected

    @invariant()
    def i3_i4_what_is_due_is_what_was_seen_in_order(self) -> None:
        for sink in SINKS:
            for step in EventKind:
                entries = self.store.due(sink, step, self.now, 100)
                assert {
                    entry.id for entry in self.store.due(sink, step, self.now, 100, newest_first=True)
                } == {entry.id for entry in entries}
                expected = {
                    (run, told.attempts[step], told.due)
                    for run, told in self.in_turn(sink, step)
                    if told.due is not None and told.due <= self.now
                }
                dues = {run: due for run, _, due in expected}
                assert {
                    (entry.start.key, entry.attempts, dues[entry.start.key]) for entry in entries
                } == expected
                assert [dues[entry.start.key] for entry in entries] == sorted(dues.values(), key=float)
                for entry in entries:
                    assert (entry.start, entry.stop) == (
                        self.model[entry.start.key].start,
                        self.model[entry.start.key].stop,
                    )
                waiting = [told.due for _, told in self.in_turn(sink, step) if told.due is not None]
                assert self.store.next_due_at(sink, step, self.now) == min(waiting, default=None)

    def in_turn(self, sink: str, step: EventKind) -> list[tuple[RunKey, Told]]:
        """Return what waits for a sink, but for starts behind the start of an earlier run of their job id."""
        waiting = [
            (run, told)
            for (name, run), told in self.told.items()
            if name == sink and told.step is step and told.due is not None
        ]
        held_up = {
            run
            for run, _ in waiting
            for earlier, told in waiting
            if step is EventKind.START and earlier.job_id == run.job_id and earlier.start_at < run.start_at
            if told.failing_since is None or abs(self.now - told.failing_since) < PATIENCE_S
        }
        return [(run, told) for run, told in waiting if run not in held_up]


TestT2StoreMachine = StoreMachine.TestCase
TestT2StoreMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
