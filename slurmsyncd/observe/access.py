"""Who may read what ``web.listen`` serves: the server's certificate, and the password of its clients."""

from __future__ import annotations

import base64
import hmac
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.sinks.rest.token import TokenFile

if TYPE_CHECKING:
    from slurmsyncd.config import WebConfig

log = structlog.get_logger(__name__)


class WebCertificate:
    """
    The certificate that connections by TCP are encrypted with, read again when one of its files changes.

    A pair that cannot be used (one of them is renewed already, the other not yet) leaves the last one in use.
    """

    def __init__(self, config: WebConfig) -> None:
        self._files = (config.cert_file, config.key_file or config.cert_file)
        self._seen: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext | None:
        """Return what the next connection is encrypted with, None while there is nothing usable."""
        seen = [_version(Path(file)) for file in self._files]
        if seen != self._seen:
            self._seen = seen
            self._load()
        return self._context

    def _load(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            # A key behind a password would have OpenSSL ask for it on the terminal.
            context.load_cert_chain(*self._files, password="")
        except OSError as err:  # ssl.SSLError is one
            log.error(  # noqa: TRY400 - one line, no traceback
                "web_certificate_unusable",
                detail=f"web.cert_file = {self._files[0]}, key {self._files[1]}: {err.strerror or err}",
                remedy="let the daemon's user read both, and see that they belong together",
            )
        else:
            self._context = context


class WebCredentials:
    """The user and the password that clients by TCP must send, read again when the file changes."""

    def __init__(self, config: WebConfig) -> None:
        self._user = config.user
        self._password = TokenFile(config.password_file, "web.password_file")
        self._reported = False

    def admits(self, authorization: str) -> bool:
        """Return whether a header ``Authorization`` proves user and password; False without a password."""
        try:
            known = f"{self._user}:{self._password.read().value}".encode()
        except ConfigError as err:
            if not self._reported:
                log.error("web_password_unusable", problems=err.problems)  # noqa: TRY400
            self._reported = True
            return False
        self._reported = False
        scheme, _, given = authorization.partition(" ")
        # In constant time; and nothing that a client sends is decoded.
        same = hmac.compare_digest(given.strip().encode("latin-1"), base64.b64encode(known))
        return same and scheme.lower() == "basic"


def _version(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
