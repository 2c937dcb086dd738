"""All the parts of one run: simulated Slurm, daemon, proxy, backend, a small disk; and what is known of them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from slurmsyncd import notify
from slurmsyncd.sandbox.backend.clusters import join_cluster, make_sub_cluster
from slurmsyncd.sandbox.backend.tokens import Tokens
from slurmsyncd.sandbox.slurm import COMMANDS, install
from slurmsyncd.sandbox.slurm.engine import Simulation
from tests.paths import ROOT
from tests.tools.lab.configuration import free_ports
from tests.tools.oracle.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from slurmsyncd.sandbox.slurm.engine import HookCall

CLUSTER = "sim"
POLL_S, QUERY_DELAY_S, COMMAND_TIMEOUT_S = 3.0, 0.3, 3.0
COMMIT_S, STOP_HOLD_S, EXCHANGE_S = 1.0, 4.0, 2.0
OVERLAP_S, BACKOFF_MAX_S, PARK_S = 120.0, 2.0, 2.0
#: Two polls, a command that hangs until its deadline, and what a busy machine takes.
SIGHT_S = 2 * POLL_S + COMMAND_TIMEOUT_S + 3.0
DISK_MIB = 64  # the reserve alone is 8
KEPT_LINES = 200_000
CLOCK_S = 1  # until a turn of the clock is noticed
STARVED = 0.2  # share of the time for which the daemon waits for a processor and cannot be held to anything
STARVED = 0.2  # share of the time for which the daemon waits for a processor and cannot be held to anything
NO_ROOM = 74  # exit status: the state on disk cannot be used

_CONFIG = f"""\
[daemon]
poll_interval = {{poll}}
query_delay = {QUERY_DELAY_S}
overlap = {OVERLAP_S}
max_span = 86400
state_dir = "{{disk}}/state"
lastrun_file = "{{disk}}/state/lastrun"
pid_file = "{{root}}/run/pid"
log_level = "{{level}}"
log_format = "json"

[slurm]
bin_dir = "{{root}}/bin"
command_timeout = {COMMAND_TIMEOUT_S}
output_limit = 8

[clusters.{CLUSTER}]

[hook]
socket = "unix:{{root}}/run/hook.sock"

[sinks.cc]
url = "http://127.0.0.1:{{port}}"
token_file = "{{root}}/token"
timeout = {EXCHANGE_S}
stop_hold = {STOP_HOLD_S}
backoff = 0.1
backoff_max = {BACKOFF_MAX_S}
park_interval = {PARK_S}
nodestate_interval = 2
audit_interval = 5
audit_grace = 6
requeue = "keep-first"
"""
#: A second backend, mostly out of reach: told of stops at once, so that they race with its commits, and a
#: requeued job's later run takes the place of the first.
_FAR = f"""\

[sinks.far]
url = "http://127.0.0.1:{{far_port}}"
token_file = "{{root}}/token-far"
timeout = {EXCHANGE_S}
stop_hold = 0
backoff = 0.1
backoff_max = {BACKOFF_MAX_S}
park_interval = {PARK_S}
nodestate_interval = 0
audit_interval = 5
audit_grace = 6
requeue = "replace"
"""
# Counts the calls of each command, so that a fault is known to have met one, and keeps their words.
_COUNTING = """#!/bin/sh
echo >>{calls}/{command}
printf '%s\\n' "{command} $*" >>{calls}/words
exec {real}/{command} "$@"
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A backend, and the proxy before it.

    Attributes:
        replaces: By its sink's policy, later runs replace earlier ones.
        races: Stops are not held back.
    """

    name: str
    backend: BackendProcess
    proxy: Proxy
    replaces: bool = False
    races: bool = False


class World:
    """
    The parts, and the counts.

    Attributes:
        peers: The backends; the first is the one whose wire is tampered with, the second mostly dead.
        met: How often each kind of trouble really happened.
        blind: When Slurm could not be looked at, (from, to) in epoch seconds.
        unmapped: When the backend's cluster.json was wrong, likewise.
        clock: Environment of a process whose clock can be turned; empty if none can.
        hints_lost: Share of hooks that are not called, from 0 to 1.
    """

    def __init__(self, root: Path, seed: int, release: str, *, far: bool = False) -> None:
        self.root, self.seed, self.release = root, seed, release
        self.dice = Random(seed)
        self.met: Counter[str] = Counter()
        self.blind: list[tuple[float, float]] = []
        self.unmapped: list[tuple[float, float]] = []
        self.hints_lost = 0.2
        self.disk = Disk(root / "disk")
        for part in ("run", "bin", "calls"):
            (root / part).mkdir(mode=0o700)
        self.slurm = self._make_slurm()
        self.cluster = cluster_json()
        self.backend = BackendProcess(root, self.cluster)
        self.proxy = Proxy(self.backend.port, Random(self.dice.random()))
        self.peers = [Peer("cc", self.backend, self.proxy)]
        if far:
            backend = BackendProcess(root, self.cluster, "-far")
            proxy = Proxy(backend.port, Random(self.dice.random()))
            self.peers.append(Peer("far", backend, proxy, replaces=True, races=True))
        self.clock = _clock_of(root)
        self.daemon = Daemon(self)

    async def open(self) -> None:
        """Start the backends and what stands before them."""
        for peer in self.peers:
            await peer.backend.start()
            await peer.proxy.listen()

    async def aclose(self) -> None:
        """End everything, also when it is cancelled."""
        self.close()
        with anyio.CancelScope(shield=True):
            for peer in self.peers:
                await peer.backend.aclose()
                await peer.proxy.aclose()

    @property
    def far(self) -> Peer:
        """The backend that is mostly dead."""
        return self.peers[1]

    def turn_clock(self, seconds: int) -> None:
        """Set the daemon's clock off by so much; its monotonic clock goes on as it was."""
        with (self.root / "clock").open("r+b", buffering=0) as file:  # mapped by the daemon: at once
            file.write(struct.pack("q", seconds))

    def _make_slurm(self) -> Simulation:
        state, real = self.root / "slurm", self.root / "slurm-bin"
        install(real, state, self.release)
        for command in COMMANDS:
            (self.root / "calls" / command).touch()
            script = self.root / "bin" / command
            script.write_text(_COUNTING.format(calls=self.root / "calls", command=command, real=real))
            script.chmod(0o755)
        hook = (sys.executable, "-IS", notify.__file__, "--socket", f"unix:{self.root}/run/hook.sock")
        return Simulation(
            state,
            cluster=CLUSTER,
            shape=self.release,
            seed=self.seed,
            mean_s=6.0,
            requeue_delay_s=3,
            min_job_age_s=30,
            prolog=hook,
            epilog=hook,
        )

    def close(self) -> None:
        """End every process and let go of the disk."""
        self.daemon.kill()
        for peer in self.peers:
            peer.backend.kill()
        self.slurm.close()
        self.disk.close()

    def calls(self, command: str = "") -> int:
        """Count the calls of a command so far, or of all."""
        return sum((self.root / "calls" / one).stat().st_size for one in ([command] if command else COMMANDS))

    def words(self) -> list[str]:
        """Return the command lines of all calls so far."""
        return (self.root / "calls" / "words").read_text().splitlines()

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Note that Slurm cannot be looked at during the block."""
        began = time.time()
        try:
            yield
        finally:
            self.blind.append((began, time.time()))

    async def live(self, rate: float) -> None:
        """Let jobs come and go in real time, calling hooks or losing them. Runs until cancelled."""
        due = time.time()
        async with anyio.create_task_group() as group:
            while True:
                now = time.time()
                while rate and due <= now:
                    due += self.dice.expovariate(rate)
                    if self.slurm.waiting() < 30:
                        self.slurm.submit_random(now)
                for call in self.slurm.tick(now):
                    group.start_soon(self._hook, call)
                await anyio.sleep(0.1)

    async def _hook(self, call: HookCall) -> None:
        status = 0
        if self.dice.random() < self.hints_lost:
            self.met["hint lost"] += 1
        else:
            done = await anyio.run_process(call.argv, env=call.env, check=False, stdin=subprocess.DEVNULL)
            status = done.returncode
            self.met["hint sent"] += 1
            self.met["hook failed"] += bool(status)
        self.slurm.hook_done(call, time.time(), status)


def cluster_json() -> dict[str, Any]:
    """Describe the simulated nodes, numbered in two ways."""
    shape: dict[str, Any] = {"sockets": 2, "cores_per_socket": 8, "threads_per_core": 2}
    plain = make_sub_cluster("cpu", "n1,n2,n3,n4", **shape, numbering="interleaved")
    gpu = make_sub_cluster("gpu", "n5,n6,n7,n8", **shape, gpus_per_node=4)
    gpu["topology"]["accelerators"].reverse()  # ids in an order that nobody would guess
    return join_cluster(CLUSTER, plain, gpu)


class Disk:
    """
    A small disk: a tmpfs if it can be had.

    Attributes:
        small: Whether it is one, and so can be filled.
        full: Whether it is just now; ``freed_at`` is when it last ceased to be (monotonic seconds).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self.freed_at = float("-inf")
        path.mkdir(mode=0o700)
        argv = ("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", str(path))
        self.small = subprocess.run(argv, check=False, capture_output=True).returncode == 0
        (path / "state").mkdir(mode=0o700)

    def fill(self) -> None:
        """Leave no room."""
        self.full = True
        with (self.path / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536) or file.write(b"\0")

    def free(self) -> None:
        """Return the room back."""
        if self.full:
            self.freed_at = time.monotonic()
        self.full = False
        (self.path / "filler").unlink(missing_ok=True)

    def was_full(self) -> bool:
        """Return whether it is full, or was when what ends now began."""
        return self.full or time.monotonic() < self.freed_at + 3.0

    def close(self) -> None:
        """Unmount it."""
        if self.small:
            subprocess.run(("umount", "-l", str(self.path)), check=False)


class Process:
    """
    A process of ours, started again at will.

    Attributes:
        pid: Of the last one started.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] = MappingProxyType({})) -> None:
        self._argv = argv
        self._env = env
        self._running: subprocess.Popen[bytes] | None = None

    def launch(self, log: int) -> None:
        """Start it, with both outputs to a descriptor."""
        self._running = subprocess.Popen(
            self._argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **self._env},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return self._running.poll() if self._running else 0

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self._running and self._running.poll() is None:
            self._running.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        self.signal(signal.SIGKILL)
        if self._running:
            self._running.wait()


class BackendProcess(Process):
    """The embedded backend, and its control API."""

    def __init__(self, root: Path, cluster: dict[str, Any], suffix: str = "") -> None:
        self.port = free_ports().slurmctld
        state, clusters, token = root / f"backend{suffix}", root / "cluster.json", root / f"token{suffix}"
        state.mkdir(mode=0o700)
        clusters.write_text(json.dumps(cluster))
        self.token = Tokens.open(state).issue("slurmsyncd", ["api"], None)
        token.touch(0o600)
        token.write_text(self.token)
        self.log = root / f"backend{suffix}.log"
        module = ("-m", "tests.tools.oracle.peer", str(state), str(clusters), str(self.port), str(COMMIT_S))
        super().__init__((sys.executable, *module))
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=20.0
        )

    async def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.launch(log.fileno())
        with anyio.fail_after(30):
            while True:
                try:
                    await self.ask("GET", "/-/knobs")
                except httpx.TransportError:
                    await anyio.sleep(0.1)
                else:
                    return

    async def turn(self, **knobs: Any) -> None:
        """Turn knobs."""
        await self.ask("PATCH", "/-/knobs", knobs)

    async def rows(self) -> list[dict[str, Any]]:
        """Return the jobs of both tables."""
        tables = await self.ask("GET", "/-/rows")
        return [*tables["main"], *tables["cache"]]

    async def ask(self, method: str, path: str, content: Any = None) -> Any:
        """Use the control API."""
        answer = await self._client.request(method, path, json=content)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def last_words(self) -> str:
        """Return how it is and what it logged last: its directory does not outlive the test."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join((f"{self.log.name}: exit status {self.status}", *lines[-40:]))

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()


def _clock_of(root: Path) -> dict[str, str]:
    """Return the environment of a process whose clock can be turned; none where nothing can be compiled."""
    library, source = root / "clock.so", Path(__file__).with_name("clock.c")
    (root / "clock").write_bytes(struct.pack("q", 0))
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    subprocess.run((compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"), check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(root / "clock")}


def _size(pid: int) -> tuple[int, int]:
    """Return resident KiB and open descriptors of a process."""
    proc = Path(f"/proc/{pid}")
    pages = int((proc / "statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024, sum(1 for _ in (proc / "fd").iterdir())


def _waited_s(pid: int) -> float:
    """Return for how long a process has been waiting for a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def until(met: Callable[[], bool], at_most_s: float) -> bool:
    """Wait until something is so, and say whether it came to be."""
    with anyio.move_on_after(at_most_s):
        while not met():  # noqa: ASYNC110 - other processes ring no event
            await anyio.sleep(0.02)
    return met()


async def _lines(file: int) -> AsyncIterator[bytes]:
    """Read a pipe line by line, until its writers are gone."""
    reader = asyncio.StreamReader(limit=2**22)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(file, "rb"))
    try:
        async for line in reader:
            yield line
    finally:
        transport.close()


class Daemon(Process):
    """
    `slurmsyncd run`, restarted whenever it ends, as systemd does.

    Attributes:
        lines: The last of its log.
        statuses: Of the last lives that ended.
        exits: Exit status → how often it ended so by itself, without a signal of ours.
        refused: Runs that it says a backend refused: sink → (job id, start) → reason.
        sizes: Of the process that runs: (seconds since ready, resident KiB, open descriptors).
        no_room: How often it has complained of a full disk.
        keep: Whether to start it again.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.config = world.root / "config.toml"
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.events: Counter[str] = Counter()
        self.statuses: deque[int] = deque(maxlen=10)
        self.exits: Counter[int] = Counter()
        self.refused: dict[str, dict[tuple[int, int], str]] = {peer.name: {} for peer in world.peers}
        self.last_words: list[tuple[float, int, list[str]]] = []
        self.bad: list[str] = []
        self.sizes: list[tuple[float, int, int]] = []
        self.no_room = 0
        self.keep = True
        self.lives = 0
        self.ready = anyio.Event()
        self.asked_to_end = False
        argv = (sys.executable, "-m", "slurmsyncd", "run", "--config", str(self.config))
        super().__init__(argv, world.clock)

    def configure(self, level: str = "info", *, poll_s: float = POLL_S) -> None:
        """Write the configuration; the proxy has to listen already."""
        world = self._world
        places = {"disk": world.disk.path, "root": world.root, "port": world.proxy.port}
        text = _CONFIG.format(**places, level=level, poll=poll_s)
        for far in world.peers[1:]:
            text += _FAR.format(root=world.root, far_port=far.proxy.port)
        self.config.write_text(text)

    async def run(self) -> None:
        """Keep it running, read what it says, and know when nobody looks at Slurm. Runs until `keep` is off."""
        while self.keep:
            began = time.time()
            status = await self._live(began)
            self.statuses.append(status)
            if status == NO_ROOM and self._world.disk.was_full() and not self.ready.is_set():
                self._world.met["daemon could not start on the full disk"] += 1
            elif not self.asked_to_end:
                self.exits[status] += 1
                self.last_words.append((time.time(), status, list(self.lines)[-8:]))
                self._world.met["daemon ended by itself"] += 1
            self.ready = anyio.Event()
            await anyio.sleep(self._world.dice.uniform(0.1, 0.5))

    async def _live(self, began: float) -> int:
        """Return its exit status."""
        self.lives += 1
        self.asked_to_end = False
        self.sizes = []
        read, write = os.pipe()
        self.launch(write)
        os.close(write)
        async with anyio.create_task_group() as group:
            group.start_soon(self._measure)
            async for line in _lines(read):
                self._take(line.decode("utf-8", "backslashreplace").rstrip("\n"), began)
            group.cancel_scope.cancel()
        ended = time.time()
        await until(lambda: self.status is not None, 10.0)
        if not self.ready.is_set():
            self._world.blind.append((began, time.time()))
        self._world.blind.append((ended - 0.1, time.time() + 0.6))
        assert self.status is not None
        return self.status

    def _take(self, line: str, began: float) -> None:
        self.lines.append(line)
        self.no_room += "no room" in line or "disk_full" in line
        try:
            event = json.loads(line)
        except ValueError:
            event = {}
            if not line.startswith("slurmsyncd: "):
                self.bad.append(line)
        if any(peer.backend.token in line for peer in self._world.peers):
            self.bad.append("the token is in the log")
        self.events[event.get("event", "")] += 1
        if event.get("event") == "ready":
            self._world.blind.append((began, time.time()))
            self.ready.set()
        if event.get("event") in ("dead_letter", "repeat_left_out"):
            self.refused[event["sink"]][event["job"], event["start_at"]] = event["reason"]

    async def _measure(self) -> None:
        await self.ready.wait()
        began = time.monotonic()
        waited = 0.0
        while True:
            at = time.time()
            await anyio.sleep(0.5)
            with suppress(OSError):
                self.sizes.append((time.monotonic() - began, *_size(self.pid)))
                waited, before = _waited_s(self.pid), waited
                if waited - before > STARVED * (time.time() - at):
                    self._world.blind.append((at, time.time()))
