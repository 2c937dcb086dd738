"""The real daemon as a process, with metrics and page on, beside a simulated Slurm and the embedded backend."""

from __future__ import annotations

import resource
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import httpx

from slurmsyncd.sandbox.demo.environment import stop_daemon
from tests.system.daemon.test_audit import Site, site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Watched:
    """A running daemon and where it can be looked at."""

    def __init__(self, at: Site, address: str) -> None:
        self.site = at
        path = address.removeprefix("unix:") if address.startswith("unix:") else None
        self.url = "http://localhost" if path else f"http://{address}"
        transport = httpx.AsyncHTTPTransport(uds=path)
        self.http = httpx.AsyncClient(base_url=self.url, transport=transport, trust_env=False, timeout=30)

    async def get(self, path: str) -> httpx.Response:
        """Fetch a page."""
        return await self.http.get(path)

    async def answers(self) -> bool:
        """Whether it serves yet."""
        try:
            return (await self.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Have processes that are started within the block run with so many file descriptors; 0: with those of here."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count or before[0], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@asynccontextmanager
async def watched(
    path: Path,
    *,
    listen: str = "",
    page: bool = True,
    token: str = "",
    descriptors: int = 0,
    public: str = "",
    more: str = "",
) -> AsyncIterator[Watched]:
    """
    Have one.

    Args:
        path: Directory for everything.
        listen: Where metrics and page are served; empty: a free port on loopback.
        page: Serve the page.
        token: What the daemon has instead of its token.
        descriptors: File descriptors that the daemon may have; 0: as many as here.
        public: A second address to serve them on.
        more: Further lines of the section [web].
    """
    async with site(path) as at:
        address = listen or f"127.0.0.1:{free_port()}"
        addresses = ", ".join(f'"{each}"' for each in (address, public) if each)
        web = f"\n[web]\nlisten = [{addresses}]\npage = {str(page).lower()}\n{more}"
        at.stage.config.write_text(at.stage.config.read_text() + web)
        if token:
            (path / "token").write_text(token)
        with few_descriptors(descriptors):
            daemon = at.stage.start_daemon()
        try:
            watch = Watched(at, address)
            async with watch.http:
                with anyio.fail_after(60):
                    while not await watch.answers():  # noqa: ASYNC110 - of another process
                        await anyio.sleep(0.05)
                yield watch
        finally:
            status = await stop_daemon(daemon)
        assert status == 0
        assert "Traceback" not in at.stage.log.read_text()
