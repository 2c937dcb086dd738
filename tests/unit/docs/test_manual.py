"""Help, manual pages and completion, all made of the parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from slurmsyncd import notify
from slurmsyncd.cli import _parser, main
from slurmsyncd.commands.completion.scripts import bash_script, zsh_script
from slurmsyncd.commands.man.pages import command_page, settings_page
from slurmsyncd.config.reference import rows
from slurmsyncd.console.command_tree import Command, commands
from tests.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAN = ROOT / "docs" / "man"
TREE = list(commands(_parser()))


def _id(command: Command) -> str:
    return "-".join(command.path) or "slurmsyncd"


@pytest.mark.parametrize("command", TREE, ids=_id)
def test_each_command_has_help_with_examples(command: Command) -> None:
    """--help says what the command does and gives examples, none of which would be refused as wrong usage."""
    said = command.parser.format_help()
    examples = re.findall(r"^  (slurmsyncd .*?)(?:  .*)?$", said.partition("examples:")[2], re.MULTILINE)

    assert command.about
    assert examples
    for example in examples:
        if not example.startswith("slurmsyncd notify"):
            _parser().parse_args(re.split(r" [|>]", example)[0].split()[1:])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("statsu", "status"),
        ("config chekc", "check"),
        ("status --jsno", "--json"),
        ("run --confg=x", "--config"),
        ("deadletters list --staet dead", "--state"),
        ("run --log-level debgu", "debug"),
    ],
)
def test_a_slip_of_the_finger_is_answered_with_what_was_meant(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped command, option or choice is wrong usage, and the nearest right one is named."""
    with pytest.raises(SystemExit) as stopped:
        main(typed.split())

    assert stopped.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_what_resembles_nothing_is_refused_without_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is near, the choices are listed and nothing is guessed."""
    with pytest.raises(SystemExit):
        main(["xyzzy"])

    said = capsys.readouterr().err
    assert "did you mean" not in said
    assert "choose from run, config" in said


def test_the_hooks_command_is_described_as_it_is() -> None:
    """The hook parses its own few options; help, manual and completion name the same ones."""
    described = next(each for each in TREE if each.path == ("notify",))
    named = {name for action in described.options for name in action.option_strings}

    assert named - {"-h", "--help"} == {*notify._OPTIONS, "--verbose"}


@pytest.mark.parametrize(("section", "page"), [(1, "slurmsyncd.1"), (5, "slurmsyncd.toml.5")])
def test_the_manual_is_up_to_date(section: int, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is checked in is what the program prints; else: slurmsyncd man SECTION >docs/man/PAGE."""
    assert main(["man", str(section)]) == 0

    printed = capsys.readouterr().out
    assert printed == (MAN / page).read_text("ascii")


def test_the_manual_names_every_command_and_setting() -> None:
    """No command, option or setting is left out."""
    page = command_page(_parser()).replace("\\-", "-")
    for command in TREE:
        assert " ".join(("slurmsyncd", *command.path)) in page
        for action in command.options:
            assert action.dest == "help" or f"\\fB{action.option_strings[-1]}\\fR" in page
    settings = settings_page().replace("\\-", "-")
    assert all(f"\\fB{key.strip('`')}\\fR" in settings for _, key, *_ in rows())


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("page", sorted(MAN.iterdir()), ids=lambda page: page.name)
def test_groff_finds_nothing_wrong_with_the_manual(page: Path) -> None:
    """It is formatted without a warning."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


_ASK = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p slurmsyncd | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "slurmsyncd"
    path.write_text(bash_script(_parser()))
    return path


def _offered(script: Path, *typed: str) -> set[str]:
    """Ask a real bash, as it asks when TAB is pressed, what may stand for the last word."""
    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK, "bash", script, "slurmsyncd", *typed],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["stat"], {"status"}),
        (["config", ""], {"check", "show", "init", "import", "-h", "--help"}),
        (["config", "show", "--o"], {"--origin"}),
        (["deadletters", "list", "--state", "d"], {"dead", "dropped"}),
        (["deadletters", "retry", "--state", "d"], {"dead", "dropped"}),
        (["run", "--log-format", ""], {"auto", "console", "json"}),
        (["run", "--log-format", "=", "j"], {"json"}),
        (["run", "--set", "x"], set()),
        (["verify", "--cluster", "config", "--ba"], {"--backend"}),
        (["completion", ""], {"bash", "zsh", "-h", "--help"}),
        (["nonsense", "stat"], {"status"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(script: Path, typed: list[str], offered: set[str]) -> None:
    """Commands, options and choices are offered where they belong, and only there."""
    assert _offered(script, *typed) == offered


@pytest.mark.parametrize("before", [["run", "--config"], ["config", "import"], ["config", "import", "--to"]])
def test_bash_completes_names_of_files(script: Path, before: list[str], tmp_path: Path) -> None:
    """Where a file is wanted, the files that are there are offered."""
    (tmp_path / "config.toml").touch()

    assert _offered(script, *before, f"{tmp_path}/con") == {f"{tmp_path}/config.toml"}


def test_every_command_is_completed(script: Path) -> None:
    """Each command is offered behind the words before it, and each of its options."""
    for command in TREE:
        names = {name for action in command.options for name in action.option_strings}
        assert names <= _offered(script, *command.path, "-")
        assert {each.path[-1] for each in command.below} <= _offered(script, *command.path, "")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    """The script for zsh has no mistake of syntax."""
    path = tmp_path / "_slurmsyncd"
    path.write_text(zsh_script(_parser()))

    done = subprocess.run(["zsh", "-n", path], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
