"""Metrics on another address: TLS and a password, served by the real daemon."""

from __future__ import annotations

import shutil
import socket
import ssl
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
import structlog

from slurmsyncd.config import WebConfig
from slurmsyncd.observe.access import WebCertificate, WebCredentials
from tests.unit.observe.conftest import free_port, watched
from tests.unit.sinks.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

PASSWORD = "correct-horse-battery"


@pytest.fixture
def config(tmp_path: Path) -> WebConfig:
    """A certificate for localhost, and a password."""
    password = tmp_path / "web-password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD + "\n")
    folder = tmp_path / "tls"
    folder.mkdir()
    return WebConfig(cert_file=str(make_certificate(folder, "localhost")), password_file=str(password))


async def test_metrics_by_tls_with_a_password(tmp_path: Path, config: WebConfig) -> None:
    """Who trusts the certificate and knows the password gets metrics under any name; nobody else gets anything."""
    extra = f'cert_file = "{config.cert_file}"\npassword_file = "{config.password_file}"\n'
    public = free_port()
    async with watched(
        tmp_path, listen=f"unix:{tmp_path}/run/web.sock", more=extra, public=f"0.0.0.0:{public}"
    ) as watch:
        assert (await watch.get("/metrics")).status_code == 200  # by the UNIX socket: plain, no password
        trusted = ssl.create_default_context(cafile=config.cert_file)
        stalled = [socket.create_connection(("127.0.0.1", public)) for _ in range(100)]
        async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=30) as client:
            url, right = f"https://localhost:{public}", ("prometheus", PASSWORD)
            answer = await client.get(f"{url}/metrics", auth=right)
            assert (answer.status_code, "slurmsyncd_ready" in answer.text) == (200, True)
            for auth in (None, ("prometheus", "wrong"), ("root", PASSWORD)):
                refused = await client.get(f"{url}/metrics", auth=auth)
                assert refused.status_code == 401
                assert "slurmsyncd_" not in refused.text
            head = {"Host": "mgmt.example.org"}
            assert (await client.get(f"{url}/metrics", auth=right, headers=head)).status_code == 200
            renewed = make_certificate(tmp_path, "localhost")
            renewed.replace(config.cert_file)
        for sock in stalled:
            sock.close()
        fresh = ssl.create_default_context(cafile=config.cert_file)
        async with httpx.AsyncClient(verify=fresh, trust_env=False, timeout=30) as client:
            assert (await client.get(f"{url}/metrics", auth=right)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await anyio.to_thread.run_sync(
                lambda: httpx.get(f"http://localhost:{public}/metrics", trust_env=False)
            )
    assert PASSWORD not in watch.site.stage.log.read_text()


def test_a_half_renewed_certificate_leaves_the_last_one_in_use(tmp_path: Path, config: WebConfig) -> None:
    """A file that cannot be used is reported once and changes nothing until it can be used again."""
    certificate = WebCertificate(config)
    first = certificate.context()
    assert first is not None
    good = tmp_path / "good.pem"
    shutil.copy(config.cert_file, good)
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "broken").write_text("-----BEGIN CERTIFICATE-----\n")
        (tmp_path / "broken").replace(config.cert_file)
        assert certificate.context() is first
        assert certificate.context() is first
    assert [entry["event"] for entry in logs] == ["web_certificate_unusable"]
    good.replace(config.cert_file)
    assert certificate.context() not in (None, first)


def test_without_its_password_file_nobody_is_admitted(config: WebConfig) -> None:
    """A file that cannot be read closes the door and is reported once."""
    login = WebCredentials(WebConfig(password_file=config.password_file + "-gone"))
    with structlog.testing.capture_logs() as logs:
        assert not login.admits("Basic cHJvbWV0aGV1czo=")
        assert not login.admits("")
    assert [entry["event"] for entry in logs] == ["web_password_unusable"]
