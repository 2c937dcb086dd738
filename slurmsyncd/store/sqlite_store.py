"""The class that implements ``ports.Store`` and the queries and actions of operators."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.store import audit_repairs as repairs
from slurmsyncd.store import gaps, outbox, soundness
from slurmsyncd.store import ingest as intake
from slurmsyncd.store import queries as desk
from slurmsyncd.store.database import DatabaseCorrupt
from slurmsyncd.store.dead_letters import LETTERS, bare, limit_dead_letters, refill

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from slurmsyncd.delivery import DeliverySummary, Repair, Verdict
    from slurmsyncd.model import EventKind, Gap, Job, OutboxEntry, Plan, RunKey
    from slurmsyncd.store.database import Database
    from slurmsyncd.store.lock import StoreLock
    from slurmsyncd.store.queries import Delivery, DeliveryGroup, DeliverySelection, RunHistory, SinkTotals

log = structlog.get_logger()


class SqliteStore:
    """
    An open store, created by ``open_store``. Only one thread at a time may use the store.

    Every method may raise StoreError: the state on disk is unusable and the process must exit. Two subclasses
    need another reaction. DiskFull comes from methods that write: nothing was changed, and the call can be
    repeated later. AlreadyRunning comes only from opening.
    """

    def __init__(self, database: Database, sinks: Sequence[str], marker: StoreLock) -> None:
        self._db = database
        self._sinks = tuple(sinks)
        self._marker = marker
        if self.has_cursor():
            self._note_read()

    def cursor(self, cluster: str) -> int | None:
        """Return a cluster's accounting cursor (epoch seconds), None if its accounting was never read."""
        return intake.cursor(self._db, cluster)

    def has_cursor(self) -> bool:
        """Return whether the accounting of any cluster was read."""
        return bool(self._db.rows("SELECT 1 FROM cursor LIMIT 1"))

    def set_cursor(self, cluster: str, at: int) -> None:
        """Set the accounting cursor. Moving it back makes the daemon read that range again."""
        self._db.write_durable(lambda con: con.execute("REPLACE INTO cursor VALUES (?, ?)", (cluster, at)))
        self._note_read()

    def gaps(self, cluster: str) -> tuple[Gap, ...]:
        """Return the spans of the cluster's accounting that could not be read, oldest first."""
        return gaps.every(self._db.rows(gaps.OF, (cluster,)))

    def all_gaps(self) -> tuple[Gap, ...]:
        """Return the spans of all clusters' accounting that could not be read."""
        return gaps.every(self._db.rows(gaps.ALL))

    def close_gap(self, cluster: str, since: int, until: int) -> bool:
        """Note that a span has been read and its runs are recorded; return whether any of it was a gap."""
        return self._db.write_durable(lambda con: gaps.close(con, cluster, since, until))

    def settled_until(self, cluster: str) -> int | None:
        """Return up to where slurmctld and slurmdbd agreed (epoch seconds), None if that is not known."""
        return intake.settled_until(self._db, cluster)

    def settle_until(self, cluster: str, at: int) -> None:
        """Record up to where slurmctld and slurmdbd agree. Unlike the cursor it may also move back."""
        self._db.write_durable(lambda con: con.execute("REPLACE INTO settled VALUES (?, ?)", (cluster, at)))

    def open_runs(self) -> dict[str, int]:
        """Return how many runs of each cluster, configured or not, have started and not stopped."""
        return dict(
            self._db.rows("SELECT cluster, count(*) FROM run WHERE phase = 'started' GROUP BY cluster")
        )

    def changed_job_ids(self, cluster: str, running: Iterable[tuple[int, int]]) -> frozenset[int]:
        """
        Return the ids of jobs whose open runs differ from the job list.

        Args:
            cluster: Slurm's name.
            running: Job id and start (epoch seconds) of each.
        """
        return intake.changed_job_ids(self._db, cluster, running)

    def end_times(self, cluster: str, job_ids: Iterable[int]) -> dict[RunKey, int | None]:
        """Return when each known run of ``job_ids`` ended (epoch seconds), None while it is open."""
        return intake.end_times(self._db, cluster, job_ids)

    def record(self, plan: Plan, now: float) -> int:
        """
        Write events, runs and cursor in one transaction that is on the disk when this returns.

        A repeated event changes nothing, and the cursor never moves back.

        Returns:
            Number of new events.

        Raises:
            DiskFull: Nothing was changed. Poll again later, and continue to deliver.
            StoreError: Also for a stop whose run never started. A wrong plan is never recorded in part.
        """
        new = self._db.write_durable(lambda con: intake.record(con, plan, self._sinks, now))
        if plan.cursor is not None:
            self._note_read()
        return new

    def due(
        self,
        sink: str,
        step: EventKind,
        now: float,
        limit: int,
        in_flight: Iterable[int] = (),
        *,
        newest_first: bool = False,
    ) -> list[OutboxEntry]:
        """
        Return the due outbox entries of one event kind, oldest due first, without those ``in_flight``.

        A damaged record is never returned: its delivery becomes a dead letter and does not block others. The
        start of a later run of a job id waits until the start of the earlier run is delivered. If the earlier
        start fails, the wait ends after one hour.

        Args:
            sink: Name of the sink.
            step: Starts and stops are delivered separately: a sink slow with stops still receives starts.
            now: Epoch seconds.
            limit: Maximum number of entries.
            in_flight: Ids of entries in flight.
            newest_first: Select from the other end of the queue, for new events behind a long backlog.
        """
        flying = frozenset(in_flight)
        return outbox.select_due(
            self._db, sink, step, now, limit=limit, in_flight=flying, newest_first=newest_first
        )

    def next_due_at(
        self, sink: str, step: EventKind, now: float, in_flight: Iterable[int] = ()
    ) -> float | None:
        """
        Return when the next entry of one event kind is due (epoch seconds), None if none is queued.

        Entries ``in_flight`` are left out, as are entries that wait for an earlier run of their job id.
        """
        return outbox.next_due_at(self._db, sink, step, now, frozenset(in_flight))

    def settle(self, verdicts: Sequence[tuple[OutboxEntry, Verdict]], now: float) -> None:
        """
        Apply decisions in one transaction. On a full disk, the disk reserve is released for it.

        A decision on a delivery that was dropped or settled in the meantime changes nothing.
        """

        def work(con: sqlite3.Connection) -> None:
            for entry, verdict in verdicts:
                outbox.apply_decision(con, entry.id, entry.kind, verdict, now)

        self._db.write_relaxed(work)

    def hasten(self, ids: Iterable[int], now: float) -> None:
        """Make deliveries due that wait for a later attempt; others stay as they are."""
        self._db.write_relaxed(lambda con: outbox.hasten(con, ids, now))

    def delivery_summaries(self, sink: str, keys: Iterable[RunKey]) -> dict[RunKey, DeliverySummary]:
        """Return the delivery of each of these runs at a sink; runs without a delivery there are missing."""
        return repairs.delivery_summaries(self._db, sink, keys)

    def delivered_open_runs(self, sink: str, cluster: str, before: float) -> Iterator[tuple[int, int]]:
        """Return start and job id of open runs; see ``ports.Store``."""
        return repairs.delivered_open_runs(self._db, sink, cluster, before)

    def delivered_ended_runs(
        self, sink: str, cluster: str, since: float, before: float
    ) -> Iterator[tuple[int, int]]:
        """Return start and job id of runs that have ended; see ``ports.Store``."""
        return repairs.delivered_ended_runs(self._db, sink, cluster, since, before)

    def stops(self, keys: Iterable[RunKey]) -> dict[RunKey, Job]:
        """Return the recorded ends of runs; see ``ports.Store``."""
        return repairs.stops(self._db, keys)

    def repair(self, sink: str, wanted: Sequence[Repair], now: float) -> tuple[Repair, ...]:
        """
        Carry out an audit's repairs in one transaction that is on the disk when this returns.

        Returns:
            Those that changed something: what moved on meanwhile, or was reported before, does not.

        Raises:
            DiskFull: Nothing was changed; the next audit finds it again.
        """
        return self._db.write_durable(
            lambda con: tuple(each for each in wanted if repairs.apply_repair(con, sink, each, now))
        )

    def second_chance(self, sink: str, cluster: str, *, before: float, now: float, limit: int) -> int:
        """Make dead letters due again, each once; see ``ports.Store``."""
        return self._db.write_relaxed(
            lambda con: repairs.second_chance(con, sink, cluster, before=before, now=now, limit=limit)
        )

    def add_history(self, sink: str, key: RunKey, reason: str, detail: str, now: float) -> bool:
        """Add to the history of a sink's run; False if it says so already, or there is no such run."""
        return self._db.write_relaxed(lambda con: repairs.add_history(con, sink, key, (reason, detail), now))

    def sinks(self) -> frozenset[str]:
        """Return the names of all sinks, configured or not, with deliveries neither completed nor dropped."""
        rows = self._db.rows("SELECT DISTINCT sink FROM delivery WHERE state NOT IN ('done', 'dropped')")
        return frozenset(name for (name,) in rows)

    def all_sinks(self) -> tuple[str, ...]:
        """Return the configured sinks, followed by the other sinks of ``sinks``."""
        return (*self._sinks, *sorted(self.sinks() - set(self._sinks)))

    def cursors(self) -> dict[str, int]:
        """Return the accounting cursor of each cluster (epoch seconds)."""
        return dict(self._db.rows("SELECT cluster, at FROM cursor ORDER BY cluster"))

    def set_sinks(self, sinks: Sequence[str]) -> None:
        """Set the configured sinks. A new sink receives the runs that are recorded from now on."""
        self._sinks = tuple(sinks)

    def counts(self, sink: str) -> SinkTotals:
        """Return the number of deliveries of a sink that are not completed, by state and reason."""
        return desk.counts(self._db, sink)

    def list_deliveries(
        self,
        sink: str | None = None,
        *,
        state: str = "dead",
        reason: str | None = None,
        limit: int = 1000,
        after: int = 0,
    ) -> tuple[Delivery, ...]:
        """List deliveries of one state, by id, from behind the id ``after``; the dead ones by default."""
        return self.select(
            desk.DeliverySelection(sink=sink, state=state, reason=reason), limit=limit, after=after
        )

    def select(self, wanted: DeliverySelection, *, limit: int = 1000, after: int = 0) -> tuple[Delivery, ...]:
        """List deliveries by id, from behind the id ``after``."""
        return desk.list_deliveries(self._db, wanted, limit, after)

    def select_ids(self, wanted: DeliverySelection) -> tuple[int, ...]:
        """Return the ids of deliveries, in order."""
        return desk.list_delivery_ids(self._db, wanted)

    def group_deliveries(self, wanted: DeliverySelection) -> tuple[DeliveryGroup, ...]:
        """Count deliveries by sink, state, step and reason."""
        return desk.group_deliveries(self._db, wanted)

    def retry(self, ids: Iterable[int], now: float) -> int:
        """Make dead or parked deliveries due immediately, with no attempts counted; return their number."""
        return self._db.write_relaxed(lambda con: desk.retry_deliveries(con, ids, now))

    def bare(self, ids: Iterable[int]) -> tuple[tuple[int, RunKey], ...]:
        """Return id and run of the deliveries whose record is damaged or was discarded."""
        return bare(self._db, ids)

    def refill(self, jobs: Iterable[Job]) -> int:
        """Restore records that are damaged or were discarded; return the number of runs."""
        return self._db.write_durable(lambda con: sum(refill(con, job) for job in jobs))

    def drop(self, ids: Iterable[int]) -> int:
        """Drop deliveries permanently, at the operator's request; return their number."""
        return self._db.write_relaxed(lambda con: desk.drop_deliveries(con, ids))

    def run_histories(self, job_id: int) -> tuple[RunHistory, ...]:
        """Return the known runs of a job with their deliveries, oldest first."""
        return desk.run_histories(self._db, job_id)

    def latest_runs(self, limit: int) -> tuple[RunHistory, ...]:
        """Return the runs that were recorded last, newest first."""
        return desk.latest_runs(self._db, limit)

    def prune(self, now: float, keep_s: float, limit: int = 1000, *, keep: int = LETTERS) -> int:
        """
        Delete runs that are settled at every sink and ended more than ``keep_s`` ago.

        Also corrects due times that a wrong clock moved too far into the future, and limits the dead letters.

        Args:
            now: Epoch seconds.
            keep_s: At least the look-back limit plus the overlap, in seconds: runs must still be known when
                their accounting is read again.
            limit: Maximum number of runs; call again while the result equals it.
            keep: Number of dead letters per sink that keep their records. Others keep name, reason, history.

        Returns:
            Number of deleted runs.
        """

        def work(con: sqlite3.Connection) -> tuple[int, int]:
            return desk.prune(con, now, keep_s, limit), limit_dead_letters(con, keep)

        forgotten, given_up = self._db.write_relaxed(work)
        if given_up:
            log.warning(
                "dead_letters_pile_up",
                records_given_up=given_up,
                hint="look at them; a retry reads what was given up from Slurm again",
            )
        return forgotten

    def data_loss(self) -> tuple[float, str] | None:
        """Return time and reason of the last data loss, None if there was none or it was acknowledged."""
        ((at, reason),) = self._db.rows("SELECT recovered_at, recovered_from FROM meta")
        return None if at is None else (at, reason)

    def acknowledge_data_loss(self) -> None:
        """Record that the operator acknowledged the data loss."""
        self._db.write_relaxed(
            lambda con: con.execute("UPDATE meta SET recovered_at = NULL, recovered_from = NULL")
        )

    def check_files(self) -> None:
        """
        Check that the files were not deleted or replaced and that no damage was found. Fast: no file is read.

        Raises:
            StoreError: A file was deleted, replaced or damaged. Exit; the next start recovers.
        """
        self._db.check_files()

    @contextmanager
    def examined(self) -> Iterator[None]:
        """
        Check the file if the body fails: an impossible value in it causes any error.

        Raises:
            DatabaseCorrupt: The file is damaged, and the next start quarantines it.
        """
        try:
            yield
        except Exception as err:
            try:
                soundness.check(self._db)
            except DatabaseCorrupt as damage:
                raise self._db.damaged(damage.what) from err
            raise

    def close(self) -> None:
        """Close the database and release the lock."""
        self._db.close()
        self._marker.release()

    def _note_read(self) -> None:
        with suppress(OSError):  # the next cursor comes soon
            self._marker.note_read()
