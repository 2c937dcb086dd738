"""Answers in the form of cc-backend. Pure."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from slurmsyncd.http_server.server import HttpResponse

_JSON = (("content-type", "application/json"),)
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ApiError(Exception):
    """
    A request is refused.

    Attributes:
        label: The body's ``status``; the reason text of the status unless said otherwise.
    """

    def __init__(self, status: int, message: str, label: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.label = label or HTTPStatus(status).phrase


class HandlerCrash(Exception):
    """The original's handler would crash here: 500 with an empty body."""


def to_json(value: Any) -> bytes:
    """Encode as Go does: one line, HTML characters escaped, a newline at the end."""
    return _ENCODE(value).translate(_ESCAPES).encode() + b"\n"


def answer(value: Any, status: int = 200) -> HttpResponse:
    """Answer with JSON."""
    return HttpResponse(status, to_json(value), _JSON)


def refusal(error: ApiError) -> HttpResponse:
    """Answer with cc-backend's form of an error."""
    return answer({"status": error.label, "error": error.message}, error.status)


def unauthorized(reason: str, *, twice: bool = False) -> HttpResponse:
    """Answer 401; ``twice``: the original writes two objects for a token with an empty role list."""
    body = to_json({"error": reason, "status": HTTPStatus.UNAUTHORIZED.phrase})
    return HttpResponse(401, body * 2 if twice else body, _JSON)
