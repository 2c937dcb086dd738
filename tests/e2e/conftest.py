"""Fixtures of the end-to-end tests; a failed test shows what the daemon and the backend logged last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.site import Site
from tests.e2e.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.lab import Lab


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
