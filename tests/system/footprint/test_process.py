"""What the daemon takes of its host's memory: counts and sizes, no times."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.paths import ROOT
from tests.tools.packages import NOT_LOADED, is_within

if TYPE_CHECKING:
    from pathlib import Path

_LOADED = """\
import sys
from slurmsyncd.__main__ import main
sys.argv = ["slurmsyncd", "run", "--config", "/does/not/exist"]
status = main()
import slurmsyncd.daemon, slurmsyncd.observe.routes
print(status, *sorted(name for name, module in sys.modules.items() if module))
"""
_STORED = """\
import sys
from pathlib import Path
from tests.unit.store.builders import T0, key, opened, plan, started, stopped, tell_all
store = opened(Path(sys.argv[1]))
for first in range(0, 6000, 50):
    for event in started, stopped:
        store.record(plan(*(event(key(number)) for number in range(first, first + 50))), T0)
    tell_all(store, T0 + 1)
    if first in (500, 5950):
        fields = Path("/proc/self/smaps_rollup").read_text().split()
        print(fields[fields.index("Anonymous:") + 1])
store.close()
"""
#: Optional parts of libraries, and what only the other commands and sinks need.
UNWANTED = {"click", "rich", "pygments", "trio", "nats", "jwt", "cryptography", "multiprocessing", "unittest"}
UNWANTED |= {"html", "prometheus_client", "wsgiref"}


def test_p13_the_daemon_loads_nothing_that_it_does_not_use() -> None:
    """Libraries take along what happens to be installed beside them; here that is ten megabytes more."""
    done = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True)

    status, *loaded = done.stdout.split()
    assert status == "78"  # it came as far as to read its configuration
    assert {"httpx", "structlog", "asyncio"} <= set(loaded)
    assert not UNWANTED.intersection(loaded)
    assert [name for name in loaded if is_within(name, NOT_LOADED)] == []


def test_t11_the_store_takes_no_more_memory_the_more_runs_it_has_seen(tmp_path: Path) -> None:
    """What SQLite keeps of pages is bounded below its own 2 MiB, which each run would fill by one KB more."""
    command = [sys.executable, "-c", _STORED, str(tmp_path / "state")]
    checkout = ROOT
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=checkout)

    early, late = map(int, done.stdout.split())  # KiB
    assert late - early < 512
