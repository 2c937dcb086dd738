"""Each test of a scene runs for each release; `--slurm-releases` says for which."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.system.job_kinds.scene import Scene, Stage
from tests.system.job_kinds.world import RELEASES

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a scene once for each release, all tests of one release together."""
    if "scene" in metafunc.fixturenames:
        versions = metafunc.config.getoption("--slurm-releases").split(",")
        metafunc.parametrize("scene", versions, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real Slurm."""
    for item in items:
        if "scene" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_slurm)


@pytest.fixture(scope="session")
def stage(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the wanted releases that can be had here play."""
    wanted = pytestconfig.getoption("--slurm-releases").split(",")
    possible = [version for version in wanted if RELEASES[version].why_not() is None]
    stage = Stage(possible, tmp_path_factory.mktemp("kinds"))
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def scene(request: pytest.FixtureRequest, stage: Stage) -> Scene:
    """Return what was played on a release."""
    if os.environ.get("SLURMSYNCD_TEST_SLURM") == "no":
        pytest.skip("SLURMSYNCD_TEST_SLURM=no")
    version: str = request.param
    if reason := RELEASES[version].why_not():
        pytest.skip(reason)
    return stage.scene(version)
