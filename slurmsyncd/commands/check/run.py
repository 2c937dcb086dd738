"""The command ``slurmsyncd check``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import anyio

from slurmsyncd.commands.check.backend import check_sink
from slurmsyncd.commands.check.host import check_host
from slurmsyncd.commands.check.result import CheckLevel, CheckResult, worst
from slurmsyncd.commands.check.slurm import SlurmReport, check_slurm
from slurmsyncd.commands.check.web import examine_web
from slurmsyncd.console.terminal import Colour, Styled, Terminal
from slurmsyncd.errors import ConfigError
from slurmsyncd.logs import configure_logs
from slurmsyncd.text import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from slurmsyncd.config import Config

_COLOURS: Final = {
    CheckLevel.OK: Colour.GOOD,
    CheckLevel.NOTE: Colour.DIM,
    CheckLevel.WARN: Colour.WARN,
    CheckLevel.FAIL: Colour.BAD,
    CheckLevel.SKIPPED: Colour.DIM,
}
_STATUS: Final = {CheckLevel.OK: 0, CheckLevel.WARN: 1, CheckLevel.FAIL: 2}


def run(args: argparse.Namespace, read: Callable[[argparse.Namespace], Config]) -> int:
    """
    Walk the whole path and print what was found.

    Returns:
        0: all is well. 1: something deserves attention. 2: something does not work.
    """
    configure_logs("error", "auto")  # what is worth a warning is a finding
    found = run_checks(args, read)
    if args.json:
        print(
            json.dumps({"worst": worst(found).value, "findings": [asdict(each) for each in found]}, indent=2)
        )
    else:
        _show(found, Terminal())
    return _STATUS[worst(found)]


def run_checks(
    args: argparse.Namespace, read: Callable[[argparse.Namespace], Config]
) -> tuple[CheckResult, ...]:
    """Find out how it stands with everything; without a sound configuration there is nothing to walk."""
    try:
        config = read(args)
    except ConfigError as err:
        return tuple(
            CheckResult("configuration", "sound", CheckLevel.FAIL, problem, "see slurmsyncd.toml(5)")
            for problem in err.problems
        )
    sinks = ", ".join(config.sinks) or "none"
    first = CheckResult(
        "configuration", "sound", CheckLevel.OK, f"the configuration is sound; sinks: {sinks}"
    )
    return (first, *anyio.run(_walk, config))


async def _walk(config: Config) -> tuple[CheckResult, ...]:
    clusters: list[SlurmReport] = [
        await check_slurm(config, each) for each in config.clusters.values() or (None,)
    ]
    found = [finding for seen in clusters for finding in seen.findings]
    if not config.sinks:
        remedy = "add [sinks.NAME] with url and token_file"
        found.append(CheckResult("configuration", "sinks", CheckLevel.FAIL, "no sink is configured", remedy))
    for sink in config.sinks.values():
        found += await check_sink(config, sink, clusters)
    found += examine_web(config.web, time.time())
    # Last: where no daemon runs, looking into its store may cost us root's rights.
    found += check_host(config)
    return tuple(found)


def _show(found: tuple[CheckResult, ...], terminal: Terminal) -> None:
    for area in dict.fromkeys(each.area for each in found):
        terminal.print_line(Styled(area, Colour.STRONG))
        _show_area([each for each in found if each.area == area], terminal)
    terminal.print_line("")
    terminal.print_line(_verdict(found))


def _show_area(found: list[CheckResult], terminal: Terminal) -> None:
    for each in found:
        mark = Styled(f"{each.level.value:<7} ", _COLOURS[each.level])
        terminal.print_line(mark, each.said, indent=2, hang=8)
        if each.remedy:
            terminal.print_line(Styled("→ ", Colour.DIM), each.remedy, indent=10)


def _verdict(found: tuple[CheckResult, ...]) -> Styled:
    failed = sum(each.level is CheckLevel.FAIL for each in found)
    warned = sum(each.level is CheckLevel.WARN for each in found)
    if failed:
        return Styled(f"{counted(failed, 'thing does', 'things do')} not work", Colour.BAD)
    if warned:
        return Styled(f"works; {counted(warned, 'thing')} to look at", Colour.WARN)
    return Styled("all is well", Colour.GOOD)
