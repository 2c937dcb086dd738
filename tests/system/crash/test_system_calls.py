"""
T3, T4: the real store in a process of its own, killed or failed at every system call of two small lives.

A run is described by its call (``pwrite64:signal=KILL:when=7``), so a failure can be repeated by itself. The
check is strict: each step is one call of the store, so what is found afterwards is exactly what stands after
the steps that were said to be done, or one more.

SLURMSYNCD_TEST_ALL_POINTS=1 takes every point, else an even sample; SLURMSYNCD_TEST_SEED chooses it.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.system.crash import strace
from tests.system.crash.script import REFUSED, prepare
from tests.system.crash.snapshot import Snapshot, expected, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SAMPLE = 32
ALL = os.environ.get("SLURMSYNCD_TEST_ALL_POINTS") == "1"
SEED = int(os.environ.get("SLURMSYNCD_TEST_SEED") or random.randrange(10**6))

WRITING = {"write", "pwrite64"}
SYNCING = {"fsync", "fdatasync"}
#: What can go wrong with a call; 0 bytes written is the short write that is no error yet.
ERRORS = {
    "error=ENOSPC": {"openat", "mkdir", "rename", "fallocate", "ftruncate", *WRITING, *SYNCING},
    "error=EIO": {"openat", "unlink", "rename", "fallocate", "ftruncate", "utimensat", *WRITING, *SYNCING},
    "error=EROFS": {"openat", "mkdir", "unlink", "rename", "fallocate", "utimensat", *WRITING},
    "error=EMFILE": {"openat"},
    "retval=0": WRITING,
}
#: Names of the same call on other machines.
ALIASES = {
    "open": "openat",
    "mkdirat": "mkdir",
    "renameat": "rename",
    "renameat2": "rename",
    "unlinkat": "unlink",
}

pytestmark = pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "-")


class Script(NamedTuple):
    name: str
    root: Path
    calls: Counter[str]
    after: Sequence[Snapshot]


class Result(NamedTuple):
    inject: str
    trouble: str
    refused: bool
    killed: bool


@pytest.fixture(scope="module", params=["life", "recovery"])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Script:
    name = request.param
    root = tmp_path_factory.mktemp(name)
    prepare(name, root / "whole")
    return Script(name, root, Counter(strace.calls(name, root / "whole")), expected(name, root))


def sample(points: list[str]) -> list[str]:
    """Return all points, or so many that are evenly spread over them."""
    if ALL:
        return points
    stride = max(1.0, len(points) / SAMPLE)
    offset = random.Random(SEED).random() * stride
    return [points[int(offset + number * stride)] for number in range(int((len(points) - offset) / stride))]


def points(
    calls: Counter[str], what: str, *, names: set[str] | None = None, for_ever: bool = False
) -> Iterator[str]:
    for call, count in calls.items():
        if names is None or ALIASES.get(call, call) in names:
            yield from (f"{call}:{what}:when={n}{'+' if for_ever else ''}" for n in range(1, count + 1))


def tried(script: Script, inject: str) -> Result:
    """Run the script with one fault, and compare what it leaves with what it said."""
    directory = script.root / inject.replace(":", "-")
    prepare(script.name, directory)
    done = strace.run(script.name, directory, inject)
    said = done.stdout.splitlines()
    steps = sum(line.isdecimal() for line in said)
    killed = done.returncode in {-9, 137}
    refused = done.returncode == REFUSED
    trouble = ""
    if not (killed or refused or done.returncode == 0):
        trouble = f"exit status {done.returncode}: {done.stderr[-1000:]}"
    else:
        try:
            found = look(directory)
        except Exception as err:  # noqa: BLE001  # whatever it is, it is the result
            trouble = f"cannot be opened again: {err!r}"
        else:
            if found not in script.after[steps : steps + 2]:
                trouble = f"after step {steps} of {len(script.after) - 1}: {found}"
    return Result(inject, trouble, refused, killed)


def all_tried(script: Script, wanted: list[str]) -> list[Result]:
    chosen = sample(wanted)
    say(f"{script.name}: {len(chosen)} of {len(wanted)} points, SLURMSYNCD_TEST_SEED={SEED}")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda inject: tried(script, inject), chosen))
    say(f"killed {sum(each.killed for each in results)}, refused {sum(each.refused for each in results)}")
    bad = [f"{each.inject}: {each.trouble}" for each in results if each.trouble]
    assert not bad, "\n".join(bad)
    return results


def say(line: str) -> None:
    """Return what is shown if the test fails, or with -s."""
    sys.stdout.write(f"{line}\n")


def test_d5_t3_a_kill_at_any_system_call_leaves_what_was_promised(script: Script) -> None:
    """SIGKILL in place of a call: what is left is what stands after the steps said, or one more (I1, I2, I3)."""
    results = all_tried(script, list(points(script.calls, "signal=KILL")))
    assert all(each.killed for each in results)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for_ever"])
def test_d1_d3_d4_t4_an_error_at_any_system_call_is_named_and_loses_nothing(
    script: Script, for_ever: bool
) -> None:
    """A failing call ends in one of the store's own errors or is overcome, and nothing said before is lost."""
    wanted = [
        point
        for what, names in ERRORS.items()
        for point in points(script.calls, what, names=names, for_ever=for_ever)
    ]
    results = all_tried(script, wanted)
    assert any(each.refused for each in results)
