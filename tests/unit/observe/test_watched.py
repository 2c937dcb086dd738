"""Metrics, health and the status page of the real daemon."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.observe.conftest import Watched, watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e & co"
Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Sample, float]:
    """Read metrics as Prometheus does."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def eventually(condition: Callable[[], Awaitable[object]], at_most_s: float = 60.0) -> None:
    """Wait for something that has to be asked for."""
    with anyio.fail_after(at_most_s):
        while not await condition():  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.1)


async def delivered(watch: Watched, step: str, count: int) -> bool:
    """Whether so many steps were taken."""
    found = samples((await watch.get("/metrics")).text)
    return (
        found.get(("slurmsyncd_delivered_total", frozenset({("sink", "demo"), ("step", step)})), 0) >= count
    )


async def test_metrics_follow_the_runs(tmp_path: Path) -> None:
    """Runs, attempts, latencies and Slurm's commands are counted; each name once, with our prefix; no job is a label."""
    async with watched(tmp_path) as watch:
        jobs = watch.site.submit(3, duration_s=1.0, name=HOSTILE, user="mallory")
        await eventually(lambda: delivered(watch, "stop", 3))
        text = (await watch.get("/metrics")).text
        found = samples(text)
    demo = ("cluster", "demo")
    assert found["slurmsyncd_starts_total", frozenset({demo})] >= 3
    assert found["slurmsyncd_source_up", frozenset({demo})] == 1
    assert found["slurmsyncd_deliveries", frozenset({("sink", "demo"), ("state", "dead")})] == 0
    assert found["slurmsyncd_resident_memory_bytes", frozenset()] > 2**20
    counts = [
        value for (name, _), value in found.items() if name == "slurmsyncd_delivery_latency_seconds_count"
    ]
    buckets = {
        labels: value
        for (name, labels), value in found.items()
        if name == "slurmsyncd_delivery_latency_seconds_bucket" and ("le", "+Inf") in labels
    }
    assert sum(counts) >= 6
    assert sum(buckets.values()) == sum(counts)
    asked = {
        dict(labels)["command"] for name, labels in found if name == "slurmsyncd_slurm_command_seconds_count"
    }
    assert {"squeue", "sacct"} <= asked
    assert {name.split("_")[0] for name, _ in found} == {"slurmsyncd"}
    labels = {value for _, pairs in found for _, value in pairs}
    assert not labels & {"mallory", HOSTILE, *map(str, jobs)}


async def test_x14_nobody_else_is_served(tmp_path: Path) -> None:
    """A foreign name in Host, another method, another path: refused; and it listens on loopback alone."""
    async with watched(tmp_path) as watch:
        assert (await watch.http.get("/", headers={"Host": "evil.example"})).status_code == 403
        assert (await watch.http.post("/metrics")).status_code == 405
        assert (await watch.get("/v2/GetTotals")).status_code == 404
        assert (await watch.get("/job?id=1;drop")).status_code == 400
        assert "from 0 to 9223372036854775807" in (await watch.get("/job?id=9999999999999999999")).text
        assert (await watch.get("/job?id=9223372036854775807")).status_code == 200
        page = await watch.get("/")
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_readiness_names_what_is_wrong(tmp_path: Path) -> None:
    """While the backend refuses us /readyz is 503 with the reason, and /healthz stays 200."""
    async with watched(tmp_path, token="nonsense") as watch:
        watch.site.submit(1)

        async def refused() -> bool:
            return (await watch.get("/readyz")).status_code == 503

        await eventually(refused)
        assert "sink demo" in (await watch.get("/readyz")).text
        assert (await watch.get("/healthz")).status_code == 200
        page = (await watch.get("/")).text
        assert "Needs attention" in page
        assert "sink demo" in page


async def test_metrics_alone_on_a_unix_socket(tmp_path: Path) -> None:
    """A UNIX socket serves our user alone; with page = false nothing there names jobs."""
    where = tmp_path / "run" / "web.sock"
    async with watched(tmp_path, listen=f"unix:{where}", page=False) as watch:
        assert stat.S_IMODE(where.stat().st_mode) == 0o600
        assert "slurmsyncd_ready" in (await watch.get("/metrics")).text
        assert (await watch.get("/")).status_code == 404
        assert (await watch.get("/job?id=1")).status_code == 404
    assert not where.exists()


CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
)


async def browse(tmp_path: Path, url: str, *flags: str) -> str:
    """Look at a page with a real browser; gives its DOM."""
    command: list[Any] = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={tmp_path / 'browser'}", url]
    with anyio.fail_after(90):
        done = await anyio.run_process(command, stderr=subprocess.DEVNULL)
    return done.stdout.decode()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_in_a_browser(tmp_path: Path) -> None:
    """The page shows flow, charts, sinks and runs under its policy; a hostile name runs nothing; a job has its story."""
    async with watched(tmp_path) as watch:
        jobs = watch.site.submit(4, duration_s=2.0, name=HOSTILE)
        await eventually(lambda: delivered(watch, "stop", 4))
        dom = await browse(tmp_path, watch.url + "/", "--dump-dom")
        assert "All is well" in dom
        assert dom.count("<svg") == 3
        assert dom.count("<rect") >= 3
        assert "<script>" not in dom
        assert "&lt;script&gt;alert(1)" in dom
        story = await browse(tmp_path, f"{watch.url}/job?id={jobs[0]}", "--dump-dom")
        assert f"Job {jobs[0]} on demo" in story
        assert "all told" in story
        assert "Nothing was seen of it" in await browse(tmp_path, f"{watch.url}/job?id=999", "--dump-dom")
        if directory := os.environ.get("SLURMSYNCD_TEST_SCREENSHOTS"):
            for name, size in (("wide", "1200,1500"), ("phone", "420,1500")):
                shot = f"--screenshot={directory}/status-{name}.png"
                await browse(tmp_path, watch.url + "/", shot, f"--window-size={size}")
            dark = f"--screenshot={directory}/status-dark.png"
            await browse(
                tmp_path,
                watch.url + "/",
                dark,
                "--window-size=1200,900",
                "--blink-settings=preferredColorScheme=0",
            )
            shot = f"--screenshot={directory}/status-job.png"
            await browse(tmp_path, f"{watch.url}/job?id={jobs[0]}", shot, "--window-size=900,700")
