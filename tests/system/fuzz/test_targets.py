"""T9, a little of it on each run of the tests; `make fuzz` goes on for as long as is wanted."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.tools.fuzz.targets import TARGETS

EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
def test_t9_anything_is_a_value_within_the_limits_or_the_named_error(name: str) -> None:
    """The same inputs on each run: a failure here is a change of the program's."""
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.feed)
    def check(fed: Any) -> None:
        target.check(fed)

    check()


def test_x1_x2_x3_t9_little_input_never_takes_much_memory_or_time() -> None:
    """Lists, numbers, dates and nestings that would grow, with a limit on what the reader may take."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.fuzz.bombs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
