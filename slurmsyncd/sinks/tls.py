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
    files = [ca_file] if ca_file else [path for path in _SYSTEM_CAS if Path(path).is_file()][:1]
    for path in files:
        context.load_verify_locations(path)
    if cert_file:
        # A key behind a password would have OpenSSL ask for it on the terminal.
        context.load_cert_chain(cert_file, key_file or None, password="")
    return context
