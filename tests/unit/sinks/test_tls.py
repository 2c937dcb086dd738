"""Whom a sink trusts: the system's certificates, however the system keeps them."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.sinks import tls
from tests.unit.sinks.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a system that trusts the server of a test."""
    path = make_certificate(tmp_path, "localhost")
    monkeypatch.setattr(tls, "_SYSTEM_CAS", (str(path),))
    return path


def test_h19_the_systems_certificates_are_read_one_by_one_where_they_have_links(bundle: Path) -> None:
    """All of them at once are 2 MB of memory for each sink, of which one is needed."""
    argv = ("openssl", "x509", "-noout", "-subject_hash", "-in", bundle)
    found = subprocess.run(argv, check=True, capture_output=True, text=True)
    (bundle.parent / f"{found.stdout.strip()}.0").symlink_to(bundle.name)

    context = tls.tls_context("")

    assert not context.get_ca_certs()
    _shake_hands(context, bundle)
    assert len(context.get_ca_certs()) == 1


def test_h19_a_bundle_of_which_not_all_have_links_is_read_whole(bundle: Path) -> None:
    """A link that somebody made for a CA of his own must not cost the trust in the others."""
    bundle.write_text(bundle.read_text() * 2)
    (bundle.parent / "01234567.0").symlink_to(bundle.name)

    context = tls.tls_context("")

    assert context.get_ca_certs()
    _shake_hands(context, bundle)


def test_h19_nobody_else_is_trusted(bundle: Path, tmp_path: Path) -> None:
    """A certificate that the system does not know ends the handshake."""
    other = tmp_path / "other"
    other.mkdir()

    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(tls.tls_context(""), make_certificate(other, "localhost"))
    _shake_hands(tls.tls_context(""), bundle)


def _shake_hands(context: ssl.SSLContext, certificate: Path) -> None:
    """Have a client meet a server that shows the certificate."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="localhost")
    server = theirs.wrap_bio(there, back, server_side=True)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.getpeercert()
