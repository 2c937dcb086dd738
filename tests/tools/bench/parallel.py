"""A thousand hooks at sixteen in parallel, against the real daemon."""

from __future__ import annotations

import os
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.paths import ROOT
from tests.tools.bench.hook import ENVIRONMENT, SYSTEM
from tests.tools.bench.processes import spawn
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import site, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOOKS, AT_ONCE = 1000, 16
QLEN = "/proc/sys/net/unix/max_dgram_qlen"
#: The queue's length is one of a network namespace: with its own, nothing of the host has to be changed.
_WITH_QLEN = ("unshare", "--net", "sh", "-c", f'echo 512 >{QLEN} && exec "$@"', "sh")


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Ring and count; the bare interpreter, as often and as many at once, is the floor."""
    script = str(shutil.copy(ROOT / "hooks" / "slurmctld-hook", root))
    around = _WITH_QLEN if os.geteuid() == 0 else ()
    qlen = "512" if around else Path(QLEN).read_text().strip()
    count = HOOKS // 4 if quick else HOOKS
    with site(root) as here, here.daemon(around=around) as daemon:
        floor = _walls((SYSTEM, "-I", "-S", "-c", "pass"), count)
        walls = _walls((script, "--socket", f"unix:{here.socket}"), count)
        until(lambda: daemon.status()["live"]["sources"])

        def received() -> int:
            return int(daemon.status()["live"]["hook"]["received"])

        lost = count - received()  # the kernel's queue has been read by the time somebody is answered
    yield Figure("parallel-lost", lost, floor="-", note=f"of {count:,}; max_dgram_qlen {qlen}")
    yield Figure(
        "parallel-worst",
        (max(walls) - max(floor)) * 1e3,
        floor=f"`python3 -I -S -c pass`, likewise: median {statistics.median(floor) * 1e3:.0f} ms, "
        f"worst {max(floor) * 1e3:.0f} ms",
        note=f"median {statistics.median(walls) * 1e3:.0f} ms, worst {max(walls) * 1e3:.0f} ms",
    )


def _walls(argv: Sequence[str], count: int) -> list[float]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [cost.wall_s for cost in pool.map(lambda _: spawn(argv, ENVIRONMENT), range(count))]
