"""Checks of `[web]`: the certificate, its key and the password, as the daemon would read them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secret_file import read_secret
from slurmsyncd.text import moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.config import WebConfig

AREA: Final = "web"
#: A certificate that ends sooner deserves attention.
EXPIRES_S: Final = 14 * 86400.0
#: Rounds of a TLS handshake; two are enough.
_ROUNDS: Final = 10


def examine_web(web: WebConfig, now: float) -> Iterator[CheckResult]:
    """
    Return the findings for the files that `[web]` names; nothing if it names none.

    Args:
        web: The section.
        now: Epoch seconds.
    """
    if web.cert_file:
        yield _certificate(web, now)
        yield from _exposed(Path(web.key_file or web.cert_file))
    if web.password_file:
        yield _password(web)


def _certificate(web: WebConfig, now: float) -> CheckResult:
    cert, key = web.cert_file, web.key_file or web.cert_file
    for name, file in (("cert_file", cert), ("key_file", key)):
        try:
            Path(file).read_bytes()
        except OSError as err:
            said = f"web.{name} = {file}: cannot be read: {err.strerror}"
            return _found(CheckLevel.FAIL, said, "let the daemon's user read it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as err:
        said = f"web.cert_file = {cert}, key {key}: cannot be used: {err.reason or err}"
        return _found(CheckLevel.FAIL, said, "name a PEM certificate and the key that belongs to it")
    return _dated(cert, context, now)


def _dated(cert: str, context: ssl.SSLContext, now: float) -> CheckResult:
    remedy = "renew it; the daemon reads the new files without a restart"
    try:
        ends_at = _not_after(context, cert)
    except ssl.SSLCertVerificationError as err:
        return _found(CheckLevel.FAIL, f"web.cert_file = {cert}: {err.verify_message}", remedy)
    except (ssl.SSLError, OSError) as err:
        return _found(CheckLevel.WARN, f"web.cert_file = {cert}: no client can be served: {err}", remedy)
    said = f"web.cert_file = {cert}: valid until {moment(ends_at)}"
    if ends_at - now < EXPIRES_S:
        return _found(CheckLevel.WARN, said, remedy)
    return _found(CheckLevel.OK, said)


def _not_after(server: ssl.SSLContext, cert: str) -> float:
    """
    Return when a certificate expires (epoch seconds), by a handshake in memory.

    Raises:
        SSLCertVerificationError: It is expired, or not valid yet.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is the trusted one
    client.load_verify_locations(cert)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        if _has_finished(ours):
            shown = ours.getpeercert() or {}
            return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))
        _has_finished(theirs)
    raise ssl.SSLError("no handshake")


def _has_finished(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _exposed(key: Path) -> Iterator[CheckResult]:
    try:
        mode = key.stat().st_mode
    except OSError:
        return
    if mode & 0o007:
        said = f"{key} holds the key of the web server and has mode {mode & 0o777:o}: every user can use it"
        yield CheckResult(AREA, "key", CheckLevel.WARN, said, f"chmod 640 {key}, with the daemon's group")


def _password(web: WebConfig) -> CheckResult:
    try:
        secret = read_secret(web.password_file, key="web.password_file")
    except ConfigError as err:
        return CheckResult(
            AREA, "password", CheckLevel.FAIL, err.problems[0], "no client can log in until then"
        )
    if secret.warning:
        return CheckResult(
            AREA, "password", CheckLevel.WARN, secret.warning, "the password is known to others: change it"
        )
    return CheckResult(
        AREA, "password", CheckLevel.OK, f"clients log in as {web.user!r}, with the password in {secret.path}"
    )


def _found(level: CheckLevel, said: str, remedy: str = "") -> CheckResult:
    return CheckResult(AREA, "certificate", level, said, remedy)
