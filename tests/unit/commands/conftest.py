"""What an operator types, and what is shown then."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import pytest

from slurmsyncd.console.options import add_commands
from tests.unit.control.conftest import asked, config, filled

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.config import Config

    Command = Callable[..., "Done"]

__all__ = ["asked", "config", "filled"]


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    shown: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one of the operator's commands, on a configuration that is at hand."""

    def run(config: Config, *argv: str) -> Done:
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers(), lambda _: None, lambda _: config)
        args = parser.parse_args(argv)
        return Done(int(args.run(args)), capsys.readouterr().out)

    return run
