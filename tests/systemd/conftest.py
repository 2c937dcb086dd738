"""A booted machine for the tests that hold the units against a real systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.systemd.machine import boot, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.systemd.machine import Machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """
    One machine for all tests of the session.

    Where one can be booted (root, apt, mounts) it has to come up: that it does not is a failure and no reason to skip.
    """
    if reason := why_not():
        pytest.skip(f"NOT RUN: {reason}")
    with boot("bookworm") as machine:
        yield machine
