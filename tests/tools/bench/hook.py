"""What slurmctld pays for a hook."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.paths import ROOT
from tests.tools.bench.processes import interleaved
from tests.tools.bench.rows import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tools.bench.processes import Cost

SYSTEM = "/usr/bin/python3"
#: What slurmctld gives to a hook, as far as the hook reads it.
ENVIRONMENT = {
    "SLURM_SCRIPT_CONTEXT": "prolog_slurmctld",
    "SLURM_CLUSTER_NAME": "alpha",
    "SLURM_JOB_ID": "27",
    "SLURM_JOB_RESTART_COUNT": "0",
}


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Time each form of the hook beside the bare interpreter that it runs on."""
    spool = root / "spool"
    spool.mkdir()
    shell = str(shutil.copy(ROOT / "hooks" / "slurmctld-hook.sh", root))
    script = str(shutil.copy(ROOT / "hooks" / "slurmctld-hook", root))
    console = str(Path(sys.executable).with_name("slurmsyncd"))
    with _listening(root / "sock") as address:
        costs = interleaved(
            {
                "notify": (console, "notify", "--socket", address),
                "bare": (sys.executable, "-c", "pass"),
                "alone": (script, "--socket", address),
                "bare -I -S": (SYSTEM, "-I", "-S", "-c", "pass"),
                "sh": (shell, str(spool)),
                "bare sh": ("/bin/sh", "-c", ":"),
            },
            ENVIRONMENT,
            20 if quick else 100,
        )
    yield _figure("hook-notify", costs["notify"], costs["bare"], "`python3 -c pass`")
    yield _figure("hook-alone", costs["alone"], costs["bare -I -S"], "`python3 -I -S -c pass`")
    yield Figure(
        "hook-sh",
        max(costs["sh"].wall_s, costs["sh"].cpu_s) * 1e3,
        floor=f"`sh -c :`: {_ms(costs['bare sh'])}",
        note=f"{_ms(costs['sh'])}; medians, run in turn",
    )


def _figure(key: str, ours: Cost, floor: Cost, name: str) -> Figure:
    wall, cpu = ours.wall_s / floor.wall_s, ours.cpu_s / floor.cpu_s
    return Figure(
        key,
        max(wall, cpu),
        floor=f"{name}: {_ms(floor)}",
        note=f"{_ms(ours)}: {wall:.2f} times the wall time, {cpu:.2f} times the CPU; medians, run in turn",
    )


def _ms(cost: Cost) -> str:
    return f"{cost.wall_s * 1e3:.1f} ms, {cost.cpu_s * 1e3:.1f} ms of CPU"


@contextmanager
def _listening(path: Path) -> Iterator[str]:
    """Have somebody who takes hints at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))

        def drain() -> None:
            while sock.recv(8192) != b"end":
                pass

        thread = threading.Thread(target=drain)
        thread.start()
        try:
            yield f"unix:{path}"
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", str(path))
            thread.join()
