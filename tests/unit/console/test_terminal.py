"""What people are shown: aligned, escaped, in colour only where there is a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TextIO

import pytest

from slurmsyncd.console.terminal import Colour, Styled, Terminal
from slurmsyncd.model import RunKey
from slurmsyncd.text import age, counted, cut, duration, moment, safe, when, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = "a\x1b[2Jb\r\nc\u202ed\u200be\x9bf\udc80g\0"


@contextmanager
def on_terminal(columns: int = 60, **environ: str) -> Iterator[tuple[Terminal, Callable[[], str]]]:
    """Return a terminal of some width, and a way to read what was shown on it."""
    master, slave = pty.openpty()
    with closing(os.fdopen(slave, "w", encoding="utf-8")) as stream:
        terminal = Terminal(stream, environ)
        terminal.columns = columns

        def shown() -> str:
            stream.write("<END>")
            stream.flush()
            seen = b""
            while not seen.endswith(b"<END>"):  # the kernel gives it in parts
                seen += os.read(master, 65536)
            return seen.decode().removesuffix("<END>").replace("\r\n", "\n")

        yield terminal, shown
    os.close(master)


def printed(*, encoding: str = "utf-8") -> tuple[Terminal, Callable[[], str]]:
    """Return a pipe-like terminal, and what was printed."""
    raw = io.BytesIO()
    stream: TextIO = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    terminal = Terminal(stream, {})

    def shown() -> str:
        stream.flush()
        return raw.getvalue().decode(encoding)

    return terminal, shown


def test_columns_are_aligned_and_numbers_stand_on_the_right() -> None:
    """Also where letters are wide or have marks; no line ends in blanks."""
    terminal, shown = printed()
    terminal.table([("日本", 7, "x"), ("e\u0301a", 1234, "")], ("name", "n", "what"))
    assert shown() == "  name      n  what\n  日本      7  x\n  e\u0301a    1,234\n"


def test_a_table_without_rows_is_nothing() -> None:
    """Not even its heading."""
    terminal, shown = printed()
    terminal.table([], ("name",))
    assert not shown()


def test_colours_are_for_terminals() -> None:
    """A pipe gets none; a terminal does, unless NO_COLOR is set or it is a dumb one."""
    terminal, shown = printed()
    terminal.print_line(Styled("good", Colour.GOOD))
    assert shown() == "good\n"
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({}, "\x1b[32mgood\x1b[0m\n"),
        ({"NO_COLOR": "1"}, "good\n"),
        ({"NO_COLOR": ""}, "\x1b[32mgood\x1b[0m\n"),
        ({"TERM": "dumb"}, "good\n"),
    )
    for environ, expected in cases:
        with on_terminal(60, **environ) as (terminal, shown):
            terminal.print_line(Styled("good", Colour.GOOD))
            assert shown() == expected


def test_hostile_text_is_shown_and_does_nothing() -> None:
    """Escape sequences, line ends, direction marks, what is invisible, and broken Unicode are seen as such."""
    with on_terminal(columns=200) as (terminal, shown):
        terminal.print_line("name ", Styled(HOSTILE, Colour.BAD))
        terminal.table([(HOSTILE, 1)], (HOSTILE, "n"))
        lines = shown().split("\n")
    escaped = r"a\x1b[2Jb\r\nc\u202ed\u200be\x9bf\udc80g\x00"
    assert lines[0] == f"name \x1b[1;31m{escaped}\x1b[0m"
    assert lines[1] == f"  \x1b[2m{escaped}\x1b[0m  \x1b[2mn\x1b[0m"
    assert lines[2] == f"  {escaped}  1"


def test_what_the_locale_cannot_say_is_escaped() -> None:
    """A command does not end because somebody's name is not in Latin-1."""
    terminal, shown = printed(encoding="latin-1")
    terminal.print_line("Jürgen 日")
    assert shown() == "Jürgen \\u65e5\n"


def test_long_lines_go_on_below_and_tables_are_cut() -> None:
    """On a terminal nothing is wider than it is; what cannot be broken between words is broken."""
    words = "the token was refused: put a new one into /etc/slurmsyncd/token " + "x" * 90
    with on_terminal(columns=40) as (terminal, shown):
        terminal.print_line(words, indent=2)
        terminal.table([("alpha", "日" * 40)])
        lines = shown().split("\n")[:-1]
    assert all(width(line) <= 40 for line in lines)
    assert lines[0] == "  the token was refused: put a new one"
    assert "".join(line.strip() for line in lines[:-1]).replace(" ", "") == words.replace(" ", "")
    assert lines[-1] == "  alpha  " + "日" * 15 + "…"


def test_nothing_is_cut_in_a_pipe() -> None:
    """Whoever greps finds all of it."""
    terminal, shown = printed()
    terminal.print_line("x" * 500)
    terminal.table([("a", "y" * 500)])
    assert shown() == "x" * 500 + "\n  a  " + "y" * 500 + "\n"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 4, "日…"), ("日本", 4, "日本"), ("", 0, "")],
)
def test_cutting_counts_columns(text: str, columns: int, expected: str) -> None:
    """Not characters."""
    assert cut(text, columns) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "less than 1 s"),
        (0.4, "less than 1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
        (86400 * 1500, "1,500 d"),
        (float("inf"), "11,574,074 d 1 h"),
    ],
)
def test_spans_are_words(seconds: float, expected: str) -> None:
    """The two largest units."""
    assert duration(seconds) == expected


def test_ages_look_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was and what will be; local time, with date and zone where they are needed."""
    monkeypatch.setenv("TZ", "XYZ-2")
    time.tzset()
    try:
        now = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC, the 15th in this zone
        assert (age(now, now), age(now - 61, now), age(now + 7200, now)) == (
            "just now",
            "1 min 1 s ago",
            "in 2 h",
        )
        assert when(now - 60, now) == "00:12:20 (1 min ago)"
        assert moment(now - 3600, now) == "2023-11-14 23:13:20"
        assert moment(now) == "2023-11-15 00:13:20 XYZ"
        assert moment(2.0**63) == "epoch second 9223372036854775808"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_numbers_have_their_noun() -> None:
    """One is not many."""
    assert [counted(n, "run") for n in (0, 1, 1204)] == ["0 runs", "1 run", "1,204 runs"]
    assert counted(2, "delivery", "deliveries") == "2 deliveries"


def test_long_text_is_bounded() -> None:
    """A name of megabytes is no reason to print megabytes."""
    assert len(safe("\x1b" * 1_000_000, limit=100)) == 400


def test_a_page_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, without a flicker, and no longer than the screen; what is left of the old one is erased."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "4")
    with on_terminal() as (terminal, shown):
        with terminal.redraw():
            for number in range(9):
                terminal.print_line(str(number))
        assert shown() == "\x1b[H0\x1b[K\n1\x1b[K\n2\x1b[K\n\x1b[J"


def test_pages_in_a_pipe_follow_each_other() -> None:
    """Whole, with an empty line in between."""
    terminal, shown = printed()
    for _ in range(2):
        with terminal.redraw():
            terminal.print_line("a")
            terminal.print_line("b")
    assert shown() == "a\nb\n\na\nb\n\n"


def test_json_is_one_line_that_does_nothing_to_a_terminal() -> None:
    """And comes back as it was."""
    terminal, shown = printed(encoding="latin-1")
    terminal.json({"name": HOSTILE.replace("\udc80", "日"), "at": RunKey("c", 1, 2)})
    assert shown().isascii()
    assert shown().count("\n") == 1
    assert json.loads(shown())["name"] == HOSTILE.replace("\udc80", "日")


def test_a_reader_that_has_gone_is_no_failure() -> None:
    """`slurmsyncd … | head` ends without a word, also if all of it was still in our buffer."""
    ours, theirs = os.pipe()
    os.close(ours)
    argv = [sys.executable, "-m", "slurmsyncd", "config", "init"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(argv, stdout=theirs, stderr=subprocess.PIPE, env=buffered, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
