"""What endpoints are given, and how paths find them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.backend.decode import BadJson, JsonType, decode
from slurmsyncd.sandbox.backend.responses import ApiError

if TYPE_CHECKING:
    from slurmsyncd.http_server.server import HttpRequest, HttpResponse
    from slurmsyncd.sandbox.backend.database import BackendDatabase, Row
    from slurmsyncd.sandbox.backend.fault_injection import InjectedFaults
    from slurmsyncd.sandbox.backend.jobs import Jobs
    from slurmsyncd.sandbox.backend.tags import Tags
    from slurmsyncd.sandbox.backend.tokens import Tokens, User

#: Bytes of one request's body. The original has no limit; its users were seen to send 20 MB.
BODY_BYTES = 32 * 2**20
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class BackendCore:
    """The backend's parts that endpoints use."""

    database: BackendDatabase
    jobs: Jobs
    tags: Tags
    tokens: Tokens
    knobs: InjectedFaults
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class ApiCall:
    """
    One authorised request.

    Attributes:
        content: The body.
        arg: The path's last segment where the route has a ``{}``.
    """

    request: HttpRequest
    user: User
    content: bytes
    arg: str = ""

    def body(self, kind: JsonType) -> Any:
        """
        Decode the body.

        Raises:
            ApiError: 400.
        """
        try:
            return decode(kind, self.content)
        except BadJson as err:
            raise ApiError(400, f"parsing request body failed: {err}") from err

    def dbid(self) -> int:
        """
        Return the path's database id.

        Raises:
            ApiError: 400, it is no integer.
        """
        number = to_int(self.arg)
        if number is None:
            raise ApiError(400, f"integer expected in path for id: {self.arg!r}")
        return number


Endpoint = Callable[[BackendCore, ApiCall], Awaitable["HttpResponse | None"]]
Routes = Mapping[str, Mapping[str, Endpoint]]


def to_int(text: str) -> int | None:
    """Read an integer of 64 bits as Go's ParseInt does, None if it is none."""
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 4000):
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None


def route(routes: Routes, path: str) -> tuple[Mapping[str, Endpoint], str] | None:
    """Find the methods of a path and its ``{}`` segment; None if there is no such path."""
    if path in routes:
        return routes[path], ""
    head, _, last = path.rpartition("/")
    methods = routes.get(f"{head}/{{}}") if last else None
    return (methods, last) if methods is not None else None


def require_row(row: Row | None, status: int) -> Row:
    """
    Return the row.

    Raises:
        ApiError: There is none; with this status.
    """
    if row is None:
        raise ApiError(status, "finding job failed: sql: no rows in result set")
    return row
