"""
`python -m tests.tools.bench.instant`: a backend that answers at once, so that it is never what limits us.

Prints its port; ends when its standard input does. `GET /count` gives how many starts and stops it took; with
``--keep``, `GET /taken` gives each of them: step, job id, and when it was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

_TOPOLOGY = json.dumps(
    {
        "clusters": [
            {
                "name": "sim",
                "metricConfig": [],
                "subClusters": [
                    {
                        "name": "all",
                        "nodes": "*",
                        "socketsPerNode": 2,
                        "coresPerSocket": 8,
                        "threadsPerCore": 2,
                        "topology": {
                            "node": list(range(32)),
                            "core": [[core, core + 16] for core in range(16)],
                        },
                    }
                ],
            }
        ]
    }
).encode()
_COUNTS = {"start": 0, "stop": 0}
_KEEP = "--keep" in sys.argv
_KEPT: list[tuple[str, bytes, float]] = []


def _answer(status: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


_START = _answer("201 Created", b'{"msg":"success"}')
_CLUSTERS = _answer("200 OK", _TOPOLOGY)
_EMPTY = _answer("200 OK", b"")


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            self._transport.write(_reply(head, body))


def _reply(head: bytes, body: bytes) -> bytes:
    path = head.split(b" ", 2)[1]
    if path == b"/api/jobs/start_job/":
        _note("start", body)
        return _START
    if path == b"/api/jobs/stop_job/":
        _note("stop", body)
        return _answer("200 OK", body)  # it names the job, as the real one's does
    if path == b"/taken":
        taken = [(step, json.loads(told)["jobId"], at) for step, told, at in _KEPT]
        return _answer("200 OK", json.dumps(taken).encode())
    if path == b"/count":
        return _answer("200 OK", json.dumps(_COUNTS).encode())
    return _CLUSTERS if path == b"/api/clusters/" else _EMPTY


def _note(step: str, body: bytes) -> None:
    _COUNTS[step] += 1
    if _KEEP:
        _KEPT.append((step, body, time.time()))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
