"""What an operator types, and what is shown then."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from slurmsyncd import cli
from tests.control.conftest import asked, config, filled

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
    """Run a command with the options of the real command line, on a configuration that is at hand."""

    def run(config: Config, *argv: str) -> Done:
        args = cli._parser().parse_args(argv)
        module: Any = import_module(f"slurmsyncd.operator.{argv[0]}")
        status = module.run(args, config)
        return Done(int(status), capsys.readouterr().out)

    return run
