"""
The tables, and how older files become today's. Pure.

Kept to what SQLite 3.26 can do: that is what some of the hosts of a slurmctld have.
"""

from __future__ import annotations

#: In the file's header, so that a database of another program is never taken for ours.
APPLICATION_ID = 0x534C5359  # "SLSY"

#: Statements that lead from one schema to the next; the version is how many of them were carried out.
#: What was released stays as it is: a change is a new entry. ``soundness`` compares a file's schema with
#: what these make in memory, so its text must not depend on SQLite's release, as a renamed column's does.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # One row. ``program`` is the release that made or last migrated the file.
        """
        CREATE TABLE meta (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            id TEXT NOT NULL,
            program TEXT NOT NULL,
            created_at REAL NOT NULL,
            opened_at REAL,
            recovered_at REAL,
            recovered_from TEXT
        )
        """,
        "CREATE TABLE cursor (cluster TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE run (
            id INTEGER PRIMARY KEY,
            cluster TEXT NOT NULL,
            job_id INTEGER NOT NULL,
            start_at INTEGER NOT NULL,
            phase TEXT NOT NULL CHECK (phase IN ('started', 'stopped')),
            end_at INTEGER,
            UNIQUE (job_id, start_at, cluster)
        )
        """,
        "CREATE INDEX run_open ON run (cluster, job_id, start_at) WHERE phase = 'started'",
        "CREATE INDEX run_ended ON run (end_at) WHERE phase = 'stopped'",
        # The bodies are apart from ``run``, so that known runs are found without reading over them.
        """
        CREATE TABLE started (
            run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
            at REAL NOT NULL,
            trigger TEXT NOT NULL,
            body BLOB NOT NULL,
            crc INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE stopped (
            run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
            at REAL NOT NULL,
            trigger TEXT NOT NULL,
            body BLOB NOT NULL,
            crc INTEGER NOT NULL
        )
        """,
        # One row for each (run, sink): a start before its stop and one request in flight hold by
        # construction. Due at some time is what waits for the sink; the others have no such time.
        # Ids are never used again: a verdict that comes late must not hit another run.
        """
        CREATE TABLE delivery (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
            sink TEXT NOT NULL,
            step TEXT NOT NULL CHECK (step IN ('start', 'stop')),
            state TEXT NOT NULL CHECK (state IN ('ready', 'parked', 'idle', 'dead', 'done', 'dropped')),
            due_at REAL CHECK ((due_at IS NOT NULL) = (state IN ('ready', 'parked'))),
            waiting_since REAL NOT NULL,
            start_attempts INTEGER NOT NULL DEFAULT 0,
            stop_attempts INTEGER NOT NULL DEFAULT 0,
            acked_at REAL,
            hold_until REAL NOT NULL DEFAULT 0,
            failing_since REAL,
            reason TEXT NOT NULL DEFAULT '',
            detail TEXT NOT NULL DEFAULT '',
            history TEXT NOT NULL DEFAULT '[]',
            UNIQUE (run_id, sink)
        )
        """,
        "CREATE INDEX delivery_due ON delivery (sink, step, due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX delivery_open ON delivery (sink, state, reason) WHERE state <> 'done'",
    ),
    # For no query: what is in an index, too, is compared with it at start. A later cursor would skip runs.
    ("CREATE INDEX cursor_at ON cursor (at)",),
    (
        # What is skipped of accounting. The index has all of it, so that a damaged row is found at start:
        # a gap that grew would hide runs.
        """
        CREATE TABLE accounting_gap (
            cluster TEXT NOT NULL,
            since INTEGER NOT NULL,
            until INTEGER NOT NULL,
            reason TEXT NOT NULL,
            recorded_at REAL NOT NULL,
            PRIMARY KEY (cluster, since)
        ) WITHOUT ROWID""",
        "CREATE INDEX accounting_gap_all ON accounting_gap (until, reason, recorded_at)",
        # Up to where slurmctld and slurmdbd were known to agree. In an index for the cursor's reason.
        "CREATE TABLE settled (cluster TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX settled_at ON settled (at)",
    ),
)

VERSION = len(MIGRATIONS)
