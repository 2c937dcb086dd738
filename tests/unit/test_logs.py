"""One line per event, whatever it carries."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmsyncd.logs import _Relay, configure_logs, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = [
    "two\nlines",
    "carriage\rreturn",
    "\x1b[2J\x1b]0;title\x07",
    "right\u202eto left\u2066",
    "line\u2028separator\x85",
    "half a character \udcff",
    "nul\0",
    '"quoted" = {x}',
    "x" * 4_000_000,
    "\n" * 4_000_000,
]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the logging of other tests alone."""
    names = ("httpx", "httpcore", "nats", "asyncio")
    root, levels = logging.getLogger(), [logging.getLogger(name).level for name in names]
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)


def said(form: str, event: str = "event", *, level: str = "info", **values: Any) -> str:
    stream = io.StringIO()
    configure_logs(level, form, stream)
    structlog.get_logger().info(event, **values)
    return stream.getvalue()


def is_one_line(text: str) -> bool:
    return text.endswith("\n") and text[:-1].isprintable() and len(text) < 6000


@pytest.mark.parametrize("form", ["json", "console", "auto"])
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_x5_x13_every_event_is_one_printable_line(form: str, value: str) -> None:
    """Newlines, escapes, direction marks, half characters and four megabytes, wherever they stand."""
    assert is_one_line(said(form, value))
    assert is_one_line(said(form, value=value))
    assert is_one_line(said(form, value=[value], error=OSError(value), table={value: value}))
    assert is_one_line(said(form, value=value.encode("utf-8", "replace")))


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=8).map("k".__add__), st.text() | st.integers() | st.floats(), max_size=4)
)
def test_json_is_json_whatever_it_carries(values: dict[str, Any]) -> None:
    """One object a line, with standard numbers only."""
    line = said("json", **values)
    assert is_one_line(line)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    found = json.loads(line, parse_constant=refuse)
    assert (found["event"], found["level"]) == ("event", "info")


def test_json_keeps_numbers_and_truth() -> None:
    """What is no text stays what it is, as far as it goes."""
    found = json.loads(said("json", n=3, share=0.5, ok=True, nothing=None, huge=10**5000, ids=(1, 2)))
    assert (found["n"], found["share"], found["ok"], found["nothing"]) == (3, 0.5, True, None)
    assert (found["huge"], found["ids"]) == ("<int>", [1, 2])


def test_json_keeps_lists_and_tables_within_bounds() -> None:
    """A reader gets the problems of a configuration as a list; a long one does not fill the log."""
    problems = ["a.b: unknown", "c\n: wrong"]
    found = json.loads(said("json", problems=problems, left={"ready": 3}, many=list(range(1000))))
    assert found["problems"] == ["a.b: unknown", "c\\n: wrong"]
    assert found["left"] == {"ready": 3}
    assert len(found["many"]) == 20
    nested: list[Any] = ["deep"]
    for _ in range(100):
        nested = [nested]
    assert is_one_line(said("json", nested=nested))


def test_readable_text_is_left_as_it_is() -> None:
    """Umlauts and signs are printable."""
    assert printable("Grüße ✓ 日本") == "Grüße ✓ 日本"
    assert printable("a\nb") == "a\\nb"
    assert printable("abc", 2) == "ab…"


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_filters(level: str, lines: int) -> None:
    """What is below is not written."""
    stream = io.StringIO()
    configure_logs(level, "json", stream)
    log = structlog.get_logger()
    for method in (log.debug, log.info, log.warning, log.error):
        method("event")
    assert len(stream.getvalue().splitlines()) == lines


def test_auto_is_json_unless_it_is_a_terminal() -> None:
    """A pipe, a file, journald."""
    assert json.loads(said("auto"))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logs("info", "auto", stream)
    structlog.get_logger().info("event")
    assert "\x1b[" in stream.getvalue()
    assert "{" not in stream.getvalue()


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "httpcore", "nats.aio.client", "asyncio"])
def test_x15_libraries_do_not_print_headers_even_at_debug(name: str) -> None:
    """Their DEBUG and INFO are pinned; their warnings are lines like ours."""
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    logging.getLogger(name).debug("send_request_headers Authorization: Bearer canary")
    logging.getLogger(name).info("HTTP Request: canary")
    assert stream.getvalue() == ""
    logging.getLogger(name).warning("two\nlines %s", "here")
    found = json.loads(stream.getvalue())
    assert (found["logger"], found["message"], found["level"]) == (name, "two\\nlines here", "warning")


@pytest.mark.parametrize(("number", "level"), [(35, "warning"), (99, "critical")])
def test_a_library_with_levels_of_its_own(number: int, level: str) -> None:
    """They become the nearest usual one below."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    logging.getLogger("other").log(number, "hello")
    assert json.loads(stream.getvalue())["level"] == level


def test_a_library_that_repeats_itself_writes_few_lines() -> None:
    """Ten lines of one logger are written in a minute, other loggers are not affected, and omitted lines are counted."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    now = [0.0]
    relay = _Relay(lambda: now[0])

    def warn(name: str, count: int) -> list[dict[str, Any]]:
        before = len(stream.getvalue().splitlines())
        for number in range(count):
            relay.handle(logging.LogRecord(name, logging.ERROR, "", 0, "accept failed %s", (number,), None))
        return [json.loads(line) for line in stream.getvalue().splitlines()[before:]]

    assert len(warn("asyncio", 1000)) == 10
    assert len(warn("nats", 1)) == 1
    now[0] = 59.0
    assert warn("asyncio", 1) == []
    now[0] = 60.0
    first, second = warn("asyncio", 2)
    assert first["omitted"] == 991
    assert "omitted" not in second


def test_a_library_that_logs_nonsense_is_no_error() -> None:
    """Its arguments do not fit its message."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    logging.getLogger("other").warning("%d", "x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "failure", [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("closed")]
)
def test_a_reader_that_has_gone_does_not_end_the_daemon(failure: Exception) -> None:
    """The terminal was closed, the pipe's other end is dead."""

    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise failure

    configure_logs("info", "json", Gone())
    structlog.get_logger().info("event")
