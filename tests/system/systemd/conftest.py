"""A booted machine for the tests that hold the units against a real systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.systemd.machine import boot, why_not
from tests.system.systemd.site import INSTALL, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.systemd.machine import Machine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have the whole matrix boot systemd 257, too; the oldest that is still in use is 252, of Debian 12 and EL 9."""
    if "machine" in metafunc.fixturenames:
        suites = ["bookworm", "trixie"] if metafunc.config.getoption("whole_matrix") else ["bookworm"]
        metafunc.parametrize("machine", suites, indirect=True, scope="session")


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """
    One machine for all tests of the session.

    Where one can be booted (root, apt, mounts) it has to come up: that it does not is a failure and no reason to skip.
    """
    if reason := why_not():
        pytest.skip(f"NOT RUN: {reason}")
    with boot(request.param) as machine:
        yield machine


@pytest.fixture(scope="session")
def installed(machine: Machine) -> Site:
    """The daemon on the machine, not started."""
    machine.run("sh", "-eux", stdin=INSTALL, timeout_s=300)
    return Site(machine)


@pytest.fixture
def site(installed: Site) -> Iterator[Site]:
    """The daemon on the machine as if just installed, not started; afterwards it is stopped."""
    installed.reset()
    yield installed
    installed.machine.run("systemctl", "stop", "slurmsyncd.service")
