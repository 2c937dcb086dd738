"""
The store: one SQLite file, held by one process and used by one thread.

- `sqlite_store.py`: the class that the other packages use.
- `opening.py`: finds or creates the file, and quarantines a damaged one.
- `lock.py`: permissions of the state directory, the marker and the lock.
- `soundness.py`: checks whether a file is a valid store.
- `schema.py`: the tables and the migrations.
- `database.py`: the connection, its transactions and the translation of SQLite's errors.
- `disk_reserve.py`: the file that is released when the disk is full.
- `ingest.py`: known runs, the accounting cursor and the recording of plans.
- `gaps.py`: time ranges of accounting that could not be read.
- `outbox.py`: due deliveries, and the decisions applied to them.
- `codec.py`: the stored form of a job record, with its checksum.
- `dead_letters.py`: the limit on the records that dead letters keep.
- `queries.py`: queries and actions of operators, and the retention of finished runs.
- `audit_repairs.py`: queries and repairs of the audit.
- `checkpoint_file.py`: the checkpoint file beside the store.
"""

from slurmsyncd.store.opening import Opened, open_store
from slurmsyncd.store.sqlite_store import SqliteStore

__all__ = ["Opened", "SqliteStore", "open_store"]
