"""slurmsyncd(1) of the parsers, slurmsyncd.toml(5) of the settings' comments. Pure."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.man.roff import bold, header, italic, marked, paragraphs, plain, verbatim
from slurmsyncd.config.reference import rows
from slurmsyncd.console.command_tree import Command, commands, help_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_FILES: Final = (
    ("/etc/slurmsyncd/config.toml", "The settings, see slurmsyncd.toml(5)."),
    ("/etc/slurmsyncd/hook.conf", "Options of the hook, in one line, see slurmsyncd notify."),
    (
        "/var/lib/slurmsyncd/store.sqlite",
        "All that is written down: runs, and what sinks were told.",
    ),
    ("/var/lib/slurmsyncd/lastrun", "Its modification time is what accounting was read up to."),
    ("/run/slurmsyncd/", "The PID file, the control socket and the hook's socket."),
)
_PLACES: Final = (
    "Later wins: the defaults, the file (`--config`, default `/etc/slurmsyncd/config.toml`), "
    "`config.d/*.toml` beside it, `SLURMSYNCD_SECTION__KEY` in the environment, "
    "`--set section.key=value`.\n\n"
    "All mistakes are reported at once, and an unknown key is one. The daemon reads the settings again at "
    "SIGHUP, and keeps the old ones if the new ones are wrong. `slurmsyncd config show --origin` tells where "
    "each value comes from."
)
_TOML: Final = """\
[sinks.cc]
url = "https://monitoring.example.org"
token_file = "/etc/slurmsyncd/token"
"""


def command_page(parser: argparse.ArgumentParser) -> str:
    """Return slurmsyncd(1)."""
    return "\n".join(_command_lines(parser)) + "\n"


def _command_lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    whole, *others = commands(parser)
    yield header("SLURMSYNCD", 1)
    yield ".SH NAME"
    yield plain("slurmsyncd - push Slurm accounting to ClusterCockpit")
    yield ".SH SYNOPSIS"
    yield f"{bold('slurmsyncd')} {italic('COMMAND')} [{italic('OPTION')} ...]"
    yield ".SH DESCRIPTION"
    yield marked(whole.about)
    yield ".SH OPTIONS"
    yield from _arguments(whole)
    yield ".SH COMMANDS"
    for command in others:
        yield from _command(command)
    yield ".SH EXIT STATUS AND EXAMPLES"
    yield from paragraphs(parser.epilog or "")
    yield ".SH FILES"
    for path, about in _FILES:
        yield from (".TP", bold(path), marked(about))
    yield ".SH SEE ALSO"
    yield f"{bold('slurmsyncd.toml')}(5), {bold('sacct')}(1), {bold('squeue')}(1), {bold('slurm.conf')}(5)"


def _command(command: Command) -> Iterator[str]:
    yield f'.SS "{plain("slurmsyncd " + " ".join(command.path))}"'
    yield marked(_sentence(command.about))
    if (said := command.parser.description) and said != command.about:
        yield from (".PP", marked(" ".join(said.split())))
    yield from _arguments(command)
    if command.parser.epilog:
        yield from paragraphs(command.parser.epilog)


def _arguments(command: Command) -> Iterator[str]:
    for action in (*command.operands, *command.options):
        if action.dest == "help":
            continue
        value = "" if action.nargs == 0 else _value(action)
        names = ", ".join(map(bold, action.option_strings))
        yield ".TP"
        yield " ".join(filter(None, (names, value)))
        yield marked(_sentence(help_of(command, action)) or "One of these.")


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        shown = "|".join(bold(str(each)) for each in action.choices)
    else:
        shown = italic(str(action.metavar or action.dest).upper())
    return f"[{shown}]" if action.nargs in ("?", "*") else shown


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text and not text.endswith(".") else text


def settings_page() -> str:
    """Return slurmsyncd.toml(5)."""
    return "\n".join(_settings_lines()) + "\n"


def _settings_lines() -> Iterator[str]:
    yield header("SLURMSYNCD.TOML", 5)
    yield ".SH NAME"
    yield plain("slurmsyncd.toml - settings of slurmsyncd")
    yield ".SH DESCRIPTION"
    yield marked("The settings are TOML. One sink is all that has to be set:")
    yield from (".PP", ".RS 4", *verbatim(_TOML), ".RE")
    yield from paragraphs(_PLACES)
    for section, settings in groupby(rows(), key=lambda row: row[0]):
        yield f".SH {plain(section.strip('`'))}"
        for _, key, kind, default, meaning in settings:
            yield from (".TP", f"{bold(key.strip('`'))} ({plain(kind)}, default {bold(default.strip('`'))})")
            yield marked(meaning.replace("\\|", "|"))
    yield ".SH FILES"
    yield from (".TP", bold("/etc/slurmsyncd/config.toml"), marked("The settings."))
    yield from (
        ".TP",
        bold("/etc/slurmsyncd/config.d/*.toml"),
        marked("More of them, in the order of their names."),
    )
    yield ".SH SEE ALSO"
    yield f"{bold('slurmsyncd')}(1)"
