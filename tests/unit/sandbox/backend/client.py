"""A client for the conformance cases; speaks to any base address, ours or a real cc-backend's."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx

NOW = int(time.time())
T = NOW - 100


def J(job_id: int = 1, **changes: Any) -> dict[str, Any]:  # as the contract writes it
    """Return a minimal valid start; a change to ``...`` leaves the key out."""
    job = {
        "jobId": job_id,
        "user": "alice",
        "cluster": "demo",
        "numNodes": 1,
        "resources": [{"hostname": "cn001"}],
        "startTime": T,
        **changes,
    }
    return {key: value for key, value in job.items() if value is not ...}


def S(job_id: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the stop of ``J(job_id)``, 60 s after its start; a change to ``...`` leaves the key out."""
    stop = {"jobId": job_id, "cluster": "demo", "startTime": T, "stopTime": T + 60, **changes}
    return {key: value for key, value in stop.items() if value is not ...}


def http(base_url: str) -> httpx.AsyncClient:
    # The default context reads all certificates of the system, for a plain address: 30 ms a test.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(base_url=base_url, verify=context, trust_env=False, timeout=10.0)


@dataclass
class Client:
    """Requests with a token; ``tick`` and ``rows`` need the look-alike's control API."""

    http: httpx.AsyncClient
    token: str

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"X-Auth-Token": self.token, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.ask("GET", path, **options)

    async def start(self, job: dict[str, Any]) -> httpx.Response:
        return await self.ask("POST", "/api/jobs/start_job/", json=job)

    async def start_raw(self, body: bytes, **headers: str) -> httpx.Response:
        return await self.ask("POST", "/api/jobs/start_job/", content=body, headers=headers)

    async def stop(self, stop: dict[str, Any]) -> httpx.Response:
        return await self.ask("POST", "/api/jobs/stop_job/", json=stop)

    async def jobs(self, **query: Any) -> list[dict[str, Any]]:
        query = {"items-per-page": 1000, **{key.replace("_", "-"): value for key, value in query.items()}}
        answer = await self.get("/api/jobs/", params=query)
        assert answer.status_code == 200, answer.text
        jobs: list[dict[str, Any]] = answer.json()["jobs"]
        return jobs

    async def tick(self) -> int:
        return int((await self.http.post("/-/tick")).json()["moved"])

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        rows: dict[str, list[dict[str, Any]]] = (await self.http.get("/-/rows")).json()
        return rows

    async def stored(self, job_id: int) -> dict[str, Any]:
        """Return the one row of a job, in either table."""
        tables = await self.rows()
        (row,) = (row for row in [*tables["cache"], *tables["main"]] if row["job_id"] == job_id)
        return row

    async def committed(self, job: dict[str, Any]) -> None:
        """Start a job and commit it."""
        assert (await self.start(job)).status_code == 201
        await self.tick()


def refused(answer: httpx.Response, status: int, marker: str = "") -> None:
    """Assert cc-backend's form of a refusal."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"status", "error"}
    assert marker in answer.json()["error"]
