"""Whom a sink trusts when it speaks TLS, and how it shows itself."""

from __future__ import annotations

import ssl
from pathlib import Path

# Where distributions keep their certificates. The environment's SSL_CERT_FILE is not asked.
_SYSTEM_CAS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# What OpenSSL looks a certificate up by.
_BY_HASH = "[0-9a-f]" * 8 + ".[0-9]"


def tls_context(ca_file: str, cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """
    Make a context that trusts ``ca_file``, or the system's certificates if it is empty.

    Args:
        ca_file: PEM.
        cert_file: The client's own certificate; empty: none.
        key_file: Its key.

    Raises:
        OSError: A file cannot be read, or does not hold what it should (ssl.SSLError is one).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        context.load_verify_locations(ca_file)
    elif bundle := next((path for path in map(Path, _SYSTEM_CAS) if path.is_file()), None):
        _trust(context, bundle)
    if cert_file:
        # A key behind a password would have OpenSSL ask for it on the terminal.
        context.load_cert_chain(cert_file, key_file or None, password="")
    return context


def _trust(context: ssl.SSLContext, bundle: Path) -> None:
    """Trust a bundle; by way of the links beside it, if they are complete, which costs 2 MB less."""
    links = sum(1 for _ in bundle.parent.glob(_BY_HASH))
    if links and links >= bundle.read_bytes().count(b"BEGIN CERTIFICATE"):
        context.load_verify_locations(capath=bundle.parent)  # read one by one, when they are needed
    else:
        context.load_verify_locations(bundle)
