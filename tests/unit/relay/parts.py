"""A stream that is filled by the real sink, relays as processes, and what the backend has in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind, OutboxEntry
from slurmsyncd.sandbox.backend.clusters import make_cluster
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from tests.unit.sinks.nats.parts import STREAM, client, over, sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from pathlib import Path

    from slurmsyncd.model import Job

DURABLE = "relay-backend"
CONFIG = """
[daemon]
state_dir = "{root}/state"
pid_file = "{root}/run/slurmsyncd.pid"
log_format = "json"

[sinks.events]
type = "nats"
mode = "jetstream"
servers = {servers}
stream = "JOBS"
manage_stream = true

[sinks.backend]
type = "rest"
url = "{url}"
token_file = "{root}/token"
stop_hold = 1
backoff = 0.1
backoff_max = 2
timeout = 10
{more}
"""


class Known(Protocol):
    """A backend that a relay is to tell."""

    @property
    def url(self) -> str: ...

    def token(self) -> str: ...


class Relay:
    """One relay as a process; it ends with the test, however that ends."""

    def __init__(self, root: Path, backend: Known, servers: Sequence[str], more: str = "") -> None:
        self.root = root
        root.mkdir(parents=True)
        for name in ("state", "run"):
            (root / name).mkdir(mode=0o700)
        self.config = root / "config.toml"
        token = root / "token"
        token.write_text(backend.token())
        token.chmod(0o600)
        listed = json.dumps(list(servers))
        self.config.write_text(CONFIG.format(root=root, url=backend.url, servers=listed, more=more))
        self.config.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "slurmsyncd", "relay", "--config", str(self.config)]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it as the OOM killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """Stop it as systemd would; give its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        self._process = None
        return status

    def run_another(self) -> int:
        """Run the same once more, and give its exit status."""
        command = [sys.executable, "-m", "slurmsyncd", "relay", "--config", str(self.config)]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    @property
    def dead(self) -> list[dict[str, Any]]:
        """Return its dead letters."""
        path = self.root / "state" / "relay-dead.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last one is being written


@contextmanager
def relay(root: Path, backend: Known, *servers: str, count: int = 1, more: str = "") -> Iterator[list[Relay]]:
    """Run relays while the block runs; their logs are shown if it fails."""
    made = [Relay(root / f"relay{n}", backend, servers, more) for n in range(count)]
    try:
        for each in made:
            each.start()
        yield made
    except BaseException:
        for each in made:
            sys.stdout.write(each.log[-5000:])
        raise
    finally:
        for each in made:
            each.kill()


@asynccontextmanager
async def backend(**changes: Any) -> AsyncIterator[EmbeddedBackend]:
    """Run a backend that commits often and notes what it is asked."""
    clusters = [make_cluster("demo", "cn[001-100]")]
    config = BackendConfig(clusters=clusters, commit_interval=0.5, test_api=True, **changes)
    async with EmbeddedBackend.open(config) as running:
        yield running


async def publish(servers: Sequence[str], jobs: Iterable[Job], *steps: EventKind) -> None:
    """Have the real sink publish steps of runs into the stream, each settled before the next."""
    told = sink_of(servers)
    async with told as made:
        for run in jobs:
            for step in steps or (EventKind.START, EventKind.STOP):
                stop = over(run) if step is EventKind.STOP else None
                entry = OutboxEntry(id=run.key.job_id, sink="nats", kind=step, start=run, stop=stop)
                outcome = await made.deliver(entry)
                while outcome.result in (OutcomeKind.FAILED, OutcomeKind.SINK_UNAVAILABLE):
                    await anyio.sleep(0.1)
                    outcome = await made.deliver(entry)
                assert outcome.result in (OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED), outcome


def sink_of(servers: Sequence[str]) -> Any:
    return sink(*servers, mode="jetstream", stream=STREAM, manage_stream=True)


def ended(at: EmbeddedBackend) -> set[int]:
    """Return the jobs that the backend has as completed."""
    return {row["job_id"] for row in at.rows() if row["job_state"] == "completed"}


def tally(at: EmbeddedBackend, jobs: Sequence[Job]) -> str:
    """Return the figures of a test that kills: runs that are missing or there twice, and repeats that changed nothing."""
    found = [row["job_id"] for row in at.rows()]
    said = Counter(request["status"] for request in at.requests if request["path"].endswith("_job/"))
    lost, doubled = len(jobs) - len(ended(at)), len(found) - len(set(found))
    return f"{len(jobs)} runs: {lost} lost, {doubled} doubled; the backend's answers: {dict(said)}"


def assert_once_and_in_order(at: EmbeddedBackend, jobs: Iterable[Job]) -> None:
    """Each run is there once, with its times; the stop it took came after the start it took."""
    wanted = sorted((run.key.job_id, run.key.start_at, 60, "completed") for run in jobs)
    assert (
        sorted((row["job_id"], row["start_time"], row["duration"], row["job_state"]) for row in at.rows())
        == wanted
    )
    taken: dict[str, list[int]] = {"start_job": [], "stop_job": []}
    for request in at.requests:
        kind = request["path"].strip("/").rpartition("/")[2]
        if kind in taken and request["status"] in (200, 201):
            job_id = json.loads(request["body"])["jobId"]
            if kind == "stop_job":
                assert job_id in taken["start_job"]
            taken[kind].append(job_id)
    ids = [job_id for job_id, *_ in wanted]
    assert sorted(taken["start_job"]) == ids
    assert sorted(taken["stop_job"]) == ids


async def make_consumer(servers: Sequence[str], ack_wait_s: float = 2.0) -> None:
    """Make stream and consumer as an operator may; what a killed relay had in hand comes back soon."""
    async with sink_of(servers) as made:
        while (await made.probe()).result is not OutcomeKind.ACCEPTED:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.1)
    config = ConsumerConfig(
        durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT, ack_wait=ack_wait_s, max_ack_pending=10_000
    )
    async with client(servers[0]) as other:
        await other.jetstream().add_consumer(STREAM, config)


async def unsettled(url: str, durable: str = DURABLE) -> int:
    """Return how many messages the consumer has not settled; they are settled after the backend has them."""
    async with client(url) as other:
        try:
            info = await other.jetstream().consumer_info(STREAM, durable)
        except NotFoundError:
            return -1
    return (info.num_ack_pending or 0) + (info.num_pending or 0)


async def all_settled(url: str) -> None:
    """Wait until the consumer has nothing left."""
    with anyio.fail_after(90):
        while await unsettled(url):  # noqa: ASYNC110 - the condition is in the server
            await anyio.sleep(0.2)
