"""TLS of sinks: trusted certificates and the client's own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

# Paths of the distributions' certificates. SSL_CERT_FILE in the environment is ignored.
_SYSTEM_CAS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# Name of the links by which OpenSSL finds a certificate.
_BY_HASH = "[0-9a-f]" * 8 + ".[0-9]"


def tls_context(ca_file: str, cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """
    Build a context that trusts ``ca_file``, or the system's certificates if ``ca_file`` is empty.

    Args:
        ca_file: Path of the trusted certificates in PEM.
        cert_file: Path of the client's own certificate; empty for none.
        key_file: Path of the key of ``cert_file``.

    Raises:
        OSError: A file cannot be read or has invalid content (ssl.SSLError is an OSError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        context.load_verify_locations(ca_file)
    elif bundle := next((path for path in map(Path, _SYSTEM_CAS) if path.is_file()), None):
        _trust(context, bundle)
    if cert_file:
        # Without this, OpenSSL would prompt on the terminal for the password of an encrypted key.
        context.load_cert_chain(cert_file, key_file or None, password="")
    return context


def _trust(context: ssl.SSLContext, bundle: Path) -> None:
    """Trust a bundle. Use the links beside it if they are complete, which saves 2 MB of memory."""
    links = sum(1 for _ in bundle.parent.glob(_BY_HASH))
    if links and links >= bundle.read_bytes().count(b"BEGIN CERTIFICATE"):
        context.load_verify_locations(capath=bundle.parent)  # certificates are read one by one on use
    else:
        context.load_verify_locations(bundle)
