"""End to end: a real Slurm 22.05, the daemon as a process, and the embedded backend as a process."""

import pytest

pytest.register_assert_rewrite(
    "tests.system.e2e.site", "tests.system.e2e.traffic", "tests.system.e2e.witness"
)
