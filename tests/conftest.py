"""Fixtures that every test may use, and a summary of which real parts ran and which did not."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.tools.lab import BOOKWORM, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from _pytest.capture import CaptureManager

#: Marker → what the tests that carry it need.
REAL_PARTS = {
    "real_slurm": "real Slurm",
    "browser": "headless Chromium",
    "real_nats": "real nats-server",
    "real_systemd": "real systemd",
}
OUTCOMES = ("passed", "failed", "error", "skipped", "deselected")


# How long an example takes says more of the machine than of us.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Have Ctrl-C work in the programs that tests start, though a shell in the background has us ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the daemon does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Commands that are run within a test set the level of all later ones otherwise."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def native_lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """
    One real Slurm for all tests of the session; use `lab`.

    Where it can be had (root, apt) it has to come up: that it does not is a failure and no reason to skip.
    """
    if os.environ.get("SLURMSYNCD_TEST_SLURM") == "no":
        pytest.skip("SLURMSYNCD_TEST_SLURM=no")
    if reason := BOOKWORM.why_not():
        pytest.skip(reason)
    with _on_the_terminal(pytestconfig):  # it takes its time, and apt may have something to say
        BOOKWORM.install()
    with Lab.start() as lab:
        yield lab


@pytest.fixture(scope="session")
def running_lab(native_lab: Lab) -> Lab:
    """Return the real Slurm of this part of the tests; the end-to-end tests have those of other releases too."""
    return native_lab


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """Return a real Slurm with idle nodes and without hooks; afterwards it is made so again."""
    yield running_lab
    running_lab.set_hooks()
    running_lab.clear_jobs()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the matrix take all releases; each needs a chroot of its own but the one this machine has."""
    parser.addoption(
        "--slurm-releases",
        default="22.05,24.11",
        help="releases of Slurm, of 22.05, 24.11 and 26.05, that tests of every kind of job run on",
    )
    parser.addoption(
        "--whole-matrix",
        action="store_true",
        help="run all end-to-end tests on each of these releases, not only those of its words",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real Slurm, so that `-m "not real_slurm"` leaves it out."""
    for item in items:
        if "running_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_slurm)
        if "nats_package" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_nats)
        if "machine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_systemd)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not held against the real thing."""
    lines = [line for marker, name in REAL_PARTS.items() for line in _account(terminalreporter, marker, name)]
    if not lines:
        return
    terminalreporter.section("real parts")
    for line, ran in lines:
        terminalreporter.write_line(line, **({"green": True} if ran else {"red": True, "bold": True}))


def _on_the_terminal(config: pytest.Config) -> AbstractContextManager[None]:
    """Let what is written be seen at once, unlike a test's output."""
    capture: CaptureManager | None = config.pluginmanager.getplugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else nullcontext()


def _account(reporter: pytest.TerminalReporter, marker: str, name: str) -> Iterator[tuple[str, bool]]:
    """One line for what ran with a real part, and one for each reason that it did not."""
    counts: dict[str, int] = {}
    for outcome in OUTCOMES:
        for report in reporter.stats.get(outcome, ()):
            if marker in getattr(report, "keywords", ()) and getattr(report, "when", "call") in _phases(
                outcome
            ):
                result = _reason(report, outcome)
                counts[result] = counts.get(result, 0) + 1
    ran = counts.pop("", 0)
    if ran:
        yield f"{name}: ran, tests: {ran}", True
    for reason, count in counts.items():
        yield f"{name}: *** NOT RUN ***, tests: {count} ({reason})", False


def _phases(outcome: str) -> tuple[str, ...]:
    """Phases of a test in which this outcome says whether it ran; a teardown is no second test."""
    return ("call",) if outcome in {"passed", "failed"} else ("setup", "call")


def _reason(report: pytest.TestReport, outcome: str) -> str:
    """Why a test did not run; empty if it did."""
    if outcome == "deselected":
        return "deselected"
    if outcome == "error":
        return "it could not be started, see the errors"
    if outcome == "skipped":
        text = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        return text.removeprefix("Skipped: ")
    return ""
