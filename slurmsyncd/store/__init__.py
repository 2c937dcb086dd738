"""
What is written down: one SQLite file, held by one process and used by one thread.

claim.py     the directory's rights, the marker, the lock
opening.py   finds and makes the file; sets a damaged one aside
soundness.py whether a file is a sound store
database.py  the connection: transactions, the translation of errors, the reserve for a full disk
intake.py    known runs, cursor, recording
outbox.py    what is due, and carrying out verdicts
letters.py   how much of the dead letters is kept
desk.py      what operators ask and decide
lastrun.py   the checkpoint beside the store
"""

from slurmsyncd.store.opening import Opened, open_store
from slurmsyncd.store.sqlite_store import SqliteStore

__all__ = ["Opened", "SqliteStore", "open_store"]
