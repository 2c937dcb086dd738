"""After a day's outage: read, plan and store what ended meanwhile, while no backend answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.tools.bench.processes import cpu_s, peak_mb
from tests.tools.bench.rows import Figure, Lines
from tests.tools.bench.site import site, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tools.bench.site import Site

DAY_S = 86400
#: Nobody listens there: nothing is delivered while it is measured.
NOBODY = {"url": "http://127.0.0.1:1", "nodestate_interval": 0}


def measure(root: Path, *, quick: bool) -> Iterator[Figure | Lines]:
    """Take the sizes in turn; the largest has the budget."""
    lines = []
    for runs in (1000, 10_000) if quick else (1000, 10_000, 100_000):
        folder = root / str(runs)
        folder.mkdir()
        with site(folder) as here:
            here.slurm.end_jobs(100_000, runs, DAY_S)
            wall_s, own_s, commands_s, top_mb = _catch_up(here, runs)
        size_mb = (folder / "state" / "store.sqlite").stat().st_size / 1e6
        cells = (f"{wall_s:.1f}", f"{own_s:.1f}", f"{commands_s:.1f}", f"{top_mb:.0f}", f"{size_mb:.1f}")
        lines.append((f"{runs:,}", *cells))
        if runs == 100_000:
            commands = (
                f"{commands_s:.1f} s of CPU by the (simulated) Slurm commands, which take turns with ours"
            )
            yield Figure("catchup-time", wall_s, floor=commands, note=f"{own_s:.1f} s of our own CPU")
            yield Figure("catchup-rss", top_mb, floor="the modules alone take some 40 MB", note="peak, VmHWM")
    yield Lines("catchup-sizes", tuple(lines))


def _catch_up(here: Site, runs: int) -> tuple[float, float, float, float]:
    """Return seconds, our CPU and that of the commands, and our peak in MB."""
    settings: dict[str, dict[str, Any]] = {
        "daemon": {"max_span": DAY_S + 600, "poll_interval": 600},
        "sinks.cc": NOBODY,
    }
    with here.daemon(settings) as daemon:
        began, log = time.perf_counter(), here.root / "log"
        until(lambda: '"caught_up"' in log.read_text())
        wall_s = time.perf_counter() - began
        own, children = cpu_s(daemon.pid)
        (source,) = daemon.status()["live"]["sources"]
        if source["stops"] != runs:
            raise RuntimeError(f"{source['stops']} of {runs} runs")
        return wall_s, own, children, peak_mb(daemon.pid)
