"""Fixtures of the end-to-end tests; a failed test shows what the daemon and the backend logged last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.system.e2e.site import Site
from tests.system.e2e.witness import Witness
from tests.tools.lab import BOOKWORM, FORKY, TRIXIE, Lab

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

RELEASES = {release.version: release for release in (BOOKWORM, TRIXIE, FORKY)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on each release what depends on its words; the rest only on the first, or in the whole matrix."""
    if "running_lab" in metafunc.fixturenames:
        versions = metafunc.config.getoption("--slurm-releases").split(",")
        if not metafunc.config.getoption("--whole-matrix") and not metafunc.module.__name__.endswith(
            "test_records"
        ):
            versions = versions[:1]
        metafunc.parametrize("running_lab", versions, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Return a real Slurm of one release, for all end-to-end tests on it."""
    release = RELEASES[request.param]
    if release is BOOKWORM:
        # Where labs cannot be kept apart by mounts, a second one of a release would wait for the first to end.
        yield request.getfixturevalue("native_lab")
        return
    if os.environ.get("SLURMSYNCD_TEST_SLURM") == "no":
        pytest.skip("SLURMSYNCD_TEST_SLURM=no")
    if reason := release.why_not():
        pytest.skip(reason)
    with Lab.start(release) as lab:
        yield lab


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Return a site for one test."""
    with Site.open(lab) as site:
        yield site


@pytest.fixture
def witness(lab: Lab) -> Iterator[Witness]:
    """Return somebody who notes what Slurm says of each run while it runs."""
    with Witness.watching(lab) as witness:
        yield witness


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of a failed test's sites to its report."""
    report = yield
    if report.when == "call" and report.failed:
        for part in getattr(item, "funcargs", {}).values():
            found = part if isinstance(part, Site) else getattr(part, "site", None)
            if isinstance(found, Site):
                report.sections.append(("what the processes logged", found.last_words()))
    return report
