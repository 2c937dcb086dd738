"""One line per event: readable on a terminal, JSON otherwise. Whatever it carries, it stays one line."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from slurmsyncd.host.journal import is_journal, with_priority

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: A value longer than this is cut: a log is no place for a job script.
_LIMIT = 500
#: Of a list or a table so many items are shown, so many levels, and so much of each text.
_ITEMS, _DEPTH, _SHORT = 20, 2, 200
#: Lines of one library's logger in each span of so many seconds: asyncio alone wrote 934,000 in a shortage of
#: file descriptors.
_LINES, _SPAN_S = 10, 60.0


def configure_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """
    Send structlog's events, and the warnings of libraries, to ``stream``.

    Args:
        level: debug, info, warning or error.
        form: auto, console or json.
        stream: Where to; None: standard error.
    """
    out = sys.stderr if stream is None else stream
    readable = form == "console" or (form == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _tame,
            _console(out) if readable else structlog.processors.JSONRenderer(),
            *([_mark] if is_journal(out) else []),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Line(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Relay()], level=logging.WARNING, force=True)
    # At DEBUG these print request headers, and with them the token.
    for name in ("httpx", "httpcore", "nats", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Line:
    """Writes one line. A reader that has gone (a terminal, a pipe) does not end the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Relay(logging.Handler):
    """Handler for log lines of libraries, in the daemon's format and limited in number per logger."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._spans: dict[str, _Span] = {}

    def emit(self, record: logging.LogRecord) -> None:
        span = self._spans.setdefault(record.name, _Span())
        if self._clock() >= span.ends_at:
            span.ends_at, span.lines = self._clock() + _SPAN_S, 0
        if span.lines >= _LINES:
            span.omitted += 1
            return
        span.lines += 1
        omitted = {"omitted": span.omitted} if span.omitted else {}
        span.omitted = 0
        with contextlib.suppress(TypeError, ValueError):  # a message that does not fit its arguments
            message = record.getMessage()
            level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows the usual ones only
            structlog.get_logger().log(level, "library", logger=record.name, message=message, **omitted)


@dataclass(slots=True)
class _Span:
    """The lines of one logger until ``ends_at``, and those left out since the last line."""

    ends_at: float = -math.inf
    lines: int = 0
    omitted: int = 0


def _console(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
    )


def _mark(_: object, level: str, line: Any) -> Any:
    """Return the line with its priority, by which `journalctl --priority` selects."""
    return with_priority(line, level)


def _tame(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return every value as numbers, truth values and short texts that neither break the line nor speak."""
    return {printable(key): _plain(value, _DEPTH) for key, value in event.items()}


def _plain(value: object, depth: int) -> object:
    if depth and isinstance(value, Mapping):
        items = islice(value.items(), _ITEMS)
        return {printable(_text(key), _SHORT): _plain(each, depth - 1) for key, each in items}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth - 1) for each in islice(value, _ITEMS)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return printable(value if isinstance(value, str) else _text(value), _LIMIT if depth == _DEPTH else _SHORT)


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return f"<{type(value).__name__}>"


def printable(text: str, limit: int = _LIMIT) -> str:
    """Return ``text`` in one line: control characters and direction marks escaped, cut at ``limit``."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
