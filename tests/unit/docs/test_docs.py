"""What the pages say can be typed, linked to and written into settings."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.cli import _parser, main
from slurmsyncd.config import load_config
from slurmsyncd.config import toml as tomllib
from slurmsyncd.console.command_tree import Command, commands
from slurmsyncd.store import open_store
from tests.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
TREE = {command.path: command for command in commands(_parser())}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What may stand before the command on its line.
_BEFORE = re.compile(
    r"^(?:\w*[#$] )?(?:sudo -u \w+ |runuser -u \w+ -- )?(?:/opt/slurmsyncd/bin/)?(?=slurmsyncd )"
)


def _blocks(page: Path, kind: str) -> Iterator[str]:
    return (text for language, text in _FENCE.findall(page.read_text()) if language == kind)


def _typed() -> Iterator[tuple[str, str]]:
    """Return each slurmsyncd command of a block that shows what to type, with its page."""
    for page in PAGES:
        for block in (*_blocks(page, "console"), *_blocks(page, "sh")):
            for line in block.splitlines():
                if _BEFORE.match(line):
                    yield page.name, _BEFORE.sub("", line).replace("$job", "4711")


def _mentioned() -> Iterator[tuple[str, str]]:
    """Return each command that a sentence mentions, or a synopsis shows."""
    for page in PAGES:
        text = _FENCE.sub("", page.read_text())
        spans = re.findall(r"`(slurmsyncd [^`\n]+)`", text)
        lines = re.findall(r"^ {4}(?:/opt/slurmsyncd/bin/)?(slurmsyncd [^\n]*)$", text, re.MULTILINE)
        yield from ((page.name, each) for each in (*spans, *lines))


def _words(line: str) -> list[str]:
    """Return what the shell would pass on."""
    return shlex.split(re.split(r" [|>]", line.replace(" # ", " | "))[0])[1:]


@pytest.mark.parametrize(("page", "line"), sorted(set(_typed())))
def test_what_is_to_be_typed_is_understood(page: str, line: str) -> None:
    """Each command of a block is parsed by the real parser, to the end."""
    assert _parser().parse_args(_words(line)).run


def _command(words: list[str]) -> Command:
    path: tuple[str, ...] = ()
    for word in words:
        if (*path, word) not in TREE:
            break
        path = (*path, word)
    return TREE[path]


@pytest.mark.parametrize(("page", "text"), sorted(set(_mentioned())))
def test_what_is_mentioned_exists(page: str, text: str) -> None:
    """A command that a sentence speaks of is there, and has the options beside it."""
    words = re.split(r"[\s|]+", re.sub(r"[\[\]…]", " ", text.partition(" # ")[0]).strip())[1:]
    command = _command(words)
    known = {name for action in command.options for name in action.option_strings}

    assert command.path or words[0].startswith(("-", "COMMAND")), "no such command"
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository leads to a file, and its anchor to a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", file.read_text()), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _settings() -> Iterator[tuple[str, str]]:
    return ((page.name, block) for page in PAGES for block in _blocks(page, "toml"))


@pytest.mark.parametrize(("page", "block"), list(_settings()))
def test_settings_that_are_shown_are_sound(page: str, block: str) -> None:
    """What a page shows of the configuration is accepted as it stands."""
    load_config(tomllib.parse(block))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    places = "".join(
        f'{key} = "{tmp_path / name}"\n'
        for key, name in (("state_dir", "state"), ("lastrun_file", "lastrun"), ("pid_file", "run/pid"))
    )
    path.write_text(f'[daemon]\n{places}[sinks.cc]\nurl = "http://127.0.0.1:9"\ntoken_file = "/none"\n')
    path.chmod(0o600)
    open_store(tmp_path / "state", ["cc"], reserve_bytes=4096).store.close()
    return path


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("slurmsyncd config check", 0),
        ("slurmsyncd config show --origin", 0),
        ("slurmsyncd status", 3),
        ("slurmsyncd deadletters list", 0),
        ("slurmsyncd job 4711", 1),
    ],
)
def test_commands_of_the_pages_run(
    line: str, status: int, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that need neither Slurm nor a backend are run as they stand, beside a store and no daemon."""
    assert line in {typed for _, typed in _typed()}

    assert main([*_words(line), "--config", str(settings)]) == status
    assert capsys.readouterr().out


def test_the_first_steps_lead_to_sound_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `config init` writes passes `config check`, as the page for beginners has it."""
    lines = {line for page, line in _typed() if page == "getting-started.md"}
    assert {"slurmsyncd config init /etc/slurmsyncd/config.toml", "slurmsyncd config check"} <= lines
    path = tmp_path / "config.toml"

    assert main(["config", "init", str(path)]) == 0
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "sinks: monitoring" in capsys.readouterr().out


@pytest.mark.parametrize("path", list(TREE), ids=" ".join)
def test_help_is_printed(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each command ends well and has examples."""
    with pytest.raises(SystemExit) as stopped:
        main([*path, "--help"])

    assert stopped.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_the_hooks_own_help_has_examples() -> None:
    """notify answers before any parser is loaded; its examples have options that it takes."""
    command = [sys.executable, "-m", "slurmsyncd", "notify", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    examples = said.partition("For example:")[2].split("\n\n")[0].strip().splitlines()

    assert examples
    for example in examples:
        assert _parser().parse_args(_words(example.strip()))
