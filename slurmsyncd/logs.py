"""One line per event: readable on a terminal, JSON otherwise. Whatever it carries, it stays one line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: A value longer than this is cut: a log is no place for a job script.
_LIMIT = 500


def configure_logs(level: str, form: str, stream: TextIO = sys.stderr) -> None:
    """
    Send structlog's events to ``stream``.

    Args:
        level: debug, info, warning or error.
        form: auto, console or json.
        stream: Where to.
    """
    readable = form == "console" or (form == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _tame,
            _console(stream) if readable else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # At DEBUG these print request headers, and with them the token.
    for name in ("httpx", "httpcore", "nats", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _console(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
    )


def _tame(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut long values and escape what would start a new line or speak to the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value)
    return event


def printable(text: str, limit: int = _LIMIT) -> str:
    """Give ``text`` in one line: control characters and direction marks escaped, cut at ``limit``."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
