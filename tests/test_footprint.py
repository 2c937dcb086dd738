"""What the daemon takes of its host's memory: counts and sizes, no times."""

from __future__ import annotations

import subprocess
import sys

_LOADED = """\
import sys
from slurmsyncd.__main__ import main
sys.argv = ["slurmsyncd", "run", "--config", "/does/not/exist"]
status = main()
import slurmsyncd.daemon
print(status, *sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
"""
#: Optional parts of libraries, and what only the other commands and sinks need.
UNWANTED = {"click", "rich", "pygments", "trio", "nats", "jwt", "cryptography", "multiprocessing", "unittest"}


def test_p13_the_daemon_loads_nothing_that_it_does_not_use() -> None:
    """Libraries take along what happens to be installed beside them; here that is ten megabytes more."""
    done = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True)

    status, *loaded = done.stdout.split()
    assert status == "78"  # it came as far as to read its configuration
    assert {"httpx", "structlog", "asyncio"} <= set(loaded)
    assert not UNWANTED.intersection(loaded)
