"""``slurmsyncd events`` as a process: what is published is seen, whatever its texts try."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from slurmsyncd.model import EventKind
from tests.unit.relay.parts import CONFIG, publish
from tests.unit.sinks.nats.parts import SUBJECT, client, runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import Job
    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio


class Reader:
    """The command, and what it prints."""

    def __init__(self, path: Path, server: NatsServer, *options: str) -> None:
        config = path / "config.toml"
        (path / "token").write_text("")
        text = CONFIG.format(root=path, url="http://127.0.0.1:1", servers=json.dumps([server.url]), more="")
        config.write_text(text)
        config.chmod(0o600)
        command = [sys.executable, "-m", "slurmsyncd", "events", "--config", str(config), *options]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.stdout: IO[str] = self.process.stdout

    async def line(self) -> str:
        with anyio.fail_after(60):
            return await anyio.to_thread.run_sync(self.stdout.readline, abandon_on_cancel=True)


@contextmanager
def reading(path: Path, server: NatsServer, *options: str) -> Iterator[Reader]:
    reader = Reader(path, server, *options)
    with reader.process:
        try:
            yield reader
        finally:
            reader.process.kill()


async def subscribed(server: NatsServer, reader: Reader, run: Job) -> None:
    """Publish until the first line comes: what was published before the subscription is not shown."""
    lines: list[str] = []

    async def wait() -> None:
        lines.append(await reader.line())
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        for job_id in range(10_000, 20_000):
            key = replace(run.key, job_id=job_id)
            await publish([server.url], [replace(run, key=key)], EventKind.START)
            await anyio.sleep(0.1)
    assert lines


async def test_events_of_the_past_and_of_now_are_shown_in_a_table(server: NatsServer, tmp_path: Path) -> None:
    """``--since``: in order, none twice over a server that dies; hostile texts escaped; Ctrl-C is clean."""
    first, hostile, later = runs(3)
    await publish([server.url], [first], EventKind.START)
    name = "\x1b[31mred\n\u202egone"
    run = {"cluster": "demo", "job_id": 2, "start_at": hostile.key.start_at, "state": "RUNNING", "name": name}
    async with client(server.url) as other:
        body = json.dumps({"version": 1, "kind": "start", "run": {**run, "user": "mallory"}})
        await other.jetstream().publish(SUBJECT, body.encode())
        await other.jetstream().publish(SUBJECT, b"\x1b[2Jnothing")
    with reading(tmp_path, server, "--since", "1h") as reader:
        assert (await reader.line()).split()[:3] == ["TIME", "KIND", "CLUSTER"]
        assert " start  demo        1 " in await reader.line()
        line = await reader.line()
        assert " 2 " in line
        assert "mallory" in line
        assert r"\x1b[31mred\n\u202egone" in line
        server.kill()
        server.start()
        await publish([server.url], [later], EventKind.STOP)
        line = await reader.line()
        assert " stop " in line
        assert " 3 " in line
        assert "COMPLETED" in line
        reader.process.send_signal(signal.SIGINT)
        out, err = reader.process.communicate(timeout=60)
        assert (reader.process.returncode, out) == (130, "")
        assert "not understood" in err
        assert "\x1b" not in err
        assert "Traceback" not in err


async def test_events_as_json_are_whole_and_filtered(server: NatsServer, tmp_path: Path) -> None:
    """Live, one user's only, every field; and a reader of ours that goes away ends it without a word."""
    theirs, ours, more = runs(3)
    ours, more = replace(ours, user="ada"), replace(more, user="ada")
    with reading(tmp_path, server, "--json", "--cluster", "demo", "--user", "ada") as reader:
        await subscribed(server, reader, replace(ours, name="first"))
        await publish([server.url], [theirs, replace(ours, name="ü\n")])
        found = [json.loads(await reader.line())]
        while found[-1]["run"]["job_id"] >= 10_000:
            found.append(json.loads(await reader.line()))
        assert (found[-1]["run"]["job_id"], found[-1]["run"]["name"]) == (ours.key.job_id, "ü\n")
        assert found[-1]["run"]["allocation"][0]["host"] == "cn001"
        assert (json.loads(await reader.line()))["kind"] == "stop"
        reader.stdout.close()
        await publish([server.url], [more])
        assert reader.process.wait(60) == 0
        assert reader.process.stderr is not None
        assert reader.process.stderr.read() == ""
