"""The canary secret: each secret that we have is looked for everywhere after a life full of errors."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import sqlite3
import sys
import tempfile
import time
import zlib
from contextlib import asynccontextmanager, closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx
import nkeys  # type: ignore[import-untyped]
import pytest

from slurmsyncd import cli, notify
from slurmsyncd.config import read_config
from slurmsyncd.control.server import REQUESTS
from slurmsyncd.errors import ConfigError
from slurmsyncd.sandbox.slurm import COMMANDS, faults
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.system.security.echo import ECHOES, Echo, nats_echo
from tests.tools.lab.configuration import free_ports
from tests.tools.oracle.world import World, until
from tests.unit.sinks.nats import nkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

PATIENCE_S = 90.0
SECRET = "Canary/Secret+of.the_hook=0123456789"
PASSWORD = "Canary+Password/of_nats-987654321"
#: A shorter piece of a secret is no find.
PIECE = 12

# What each child has of us: its arguments, its environment, its parent's, and where its descriptors lead.
_NOSY = """#!/bin/sh
{{ echo "$0" "$@"; cat /proc/self/environ /proc/$PPID/environ /proc/$PPID/cmdline
ls -l /proc/self/fd; }} >>{dump} 2>&1
exec {real} "$@"
"""

_EXTRA = """
[slurm]
bin_dir = "{root}/bin"
command_timeout = 5
job_script = true

[clusters.sim]

[hook]
socket = "unix:{root}/run/hook.sock"
listen = ["tcp:127.0.0.1:{port}"]
secret_file = "{root}/hook.secret"

[sinks.events]
type = "nats"
servers = ["nats://127.0.0.1:{nats}"]
user = "sync"
password_file = "{root}/nats.password"

[sinks.other]
type = "nats"
servers = ["nats://127.0.0.1:{nats}"]
nats_token_file = "{root}/nats.token"

[sinks.seed]
type = "nats"
servers = ["nats://127.0.0.1:{nats}"]
nkey_seed_file = "{root}/nats.seed"

[sinks.creds]
type = "nats"
servers = ["nats://127.0.0.1:{nats}"]
creds_file = "{root}/nats.creds"

"""


class Scene:
    """A world whose secrets are known, and what was printed in it apart from the daemon's log."""

    def __init__(self, root: Path) -> None:
        self.world = World(root, seed=8, release="24.11")
        self.world.proxy = Echo(self.world.backend.port, self.world.dice)
        self.port = free_ports().slurmdbd
        self.nats_port = 0
        self.secret_file = root / "hook.secret"
        self.token_file = root / "token"
        self.token = self.world.backend.token
        self.dump = root / "children"
        self.printed: list[str] = []
        write_secret(self.secret_file, SECRET)
        user, account = nkey.new_key(nkeys.PREFIX_BYTE_USER), nkey.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
        other = nkey.new_key(nkeys.PREFIX_BYTE_USER)
        jwt = nkey.jwt(nkey.public(user), account, "canary", {})
        self.nats = {"password": PASSWORD, "token": PASSWORD[::-1], "seed": nkey.seed(other)}
        self.nats_files = [root / f"nats.{name}" for name in (*self.nats, "creds")]
        for path, text in zip(self.nats_files, (*self.nats.values(), nkey.creds(jwt, user)), strict=True):
            write_secret(path, text)
        for command in COMMANDS:
            script = root / "bin" / command
            script.write_text(_NOSY.format(dump=self.dump, real=root / "slurm-bin" / command))
        # The head of a token is that of all tokens; what follows is nobody else's.
        self.pieces = pieces(self.token.partition(".")[2]) | pieces(SECRET)
        for text in (*self.nats.values(), jwt.partition(".")[2], nkey.seed(user)):
            # What a NATS server says reaches us in small letters.
            self.pieces |= pieces(text) | pieces(text.lower())

    def configure(self) -> str:
        """Write the configuration; gives its text."""
        world = self.world
        world.hints_lost = 0.0
        world.daemon.configure(level="debug", poll_s=1.0)
        text = world.daemon.config.read_text().replace("backoff_max = 2.0", "backoff_max = 0.3")
        text = text.replace("nodestate_interval = 2", "nodestate_interval = 0.5")
        extra = _EXTRA.format(root=world.root, port=self.port, nats=self.nats_port)
        text = re.sub(r"\[slurm\].*(?=\[sinks\.cc\])", lambda _: extra, text, flags=re.DOTALL)
        world.daemon.config.write_text(text)
        return text

    def finds(self, data: bytes) -> list[bytes]:
        """Return the pieces of a secret in ``data``."""
        return [piece for piece in self.pieces if piece in data]


def pieces(secret: str) -> set[bytes]:
    """Return pieces that are long enough to be told from other text; whoever shows a few bytes more shows one."""
    data = secret.encode()
    return {data[at : at + PIECE] for at in range(0, len(data) - PIECE + 1, 4)}


def write_secret(path: Path, text: str) -> None:
    """Put a secret in its file, as an operator should: a new file, with its mode before its content."""
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """Have a world in which the daemon runs at debug level behind an ``Echo``."""
    with tempfile.TemporaryDirectory(prefix="canary.") as root:
        here = Scene(Path(root))
        world = here.world
        try:
            await world.backend.start()
            await world.proxy.listen()
            async with nats_echo() as here.nats_port, anyio.create_task_group() as group:
                here.configure()
                group.start_soon(world.live, 0.0)
                group.start_soon(world.daemon.run)
                await world.daemon.ready.wait()
                yield here
                world.daemon.keep = False
                group.cancel_scope.cancel()
        finally:
            world.close()
            with anyio.CancelScope(shield=True):
                await world.backend.aclose()
                await world.proxy.aclose()


def submit(world: World) -> int:
    asked = request(gpus=1, gpu_type="a100", duration_s=0.5)
    (job_id,) = world.slurm.submit(Submission((asked,)), time.time())
    return job_id


async def said(here: Scene, event: str, before: int = 0) -> None:
    """Wait until the daemon has said something more often than before."""
    heard = await until(lambda: here.world.daemon.events[event] > before, PATIENCE_S)
    assert heard, f"{event}\n" + "\n".join(list(here.world.daemon.lines)[-20:])


async def delivered(here: Scene) -> None:
    """Wait until a new job is at the backend: all is well again."""
    job_id = submit(here.world)
    with anyio.fail_after(PATIENCE_S):
        while job_id not in {row["job_id"] for row in await here.world.backend.rows()}:  # noqa: ASYNC110 - rings no event
            await anyio.sleep(0.1)


async def rude_answers(here: Scene) -> None:
    """Have requests answered with themselves, and then not at all."""
    proxy = here.world.proxy
    for name in (*ECHOES, "401", "garbage", "lost_answer"):
        proxy.fault = name
        submit(here.world)
        assert await until(lambda: proxy.met[name] > 1, PATIENCE_S), name  # noqa: B023 - awaited at once
    proxy.fault = None
    await proxy.refuse()
    before = here.world.daemon.events["sink_unavailable"]
    submit(here.world)
    await said(here, "sink_unavailable", before)
    await proxy.listen()
    await delivered(here)


async def wrong_tokens(here: Scene) -> None:
    """Put what is no good into the token's file, each time followed by what is."""
    flipped = here.token[:-3] + here.token[-3:].swapcase()
    for text in (f"Bearer {here.token}\0", flipped):
        events = dict(here.world.daemon.events)
        write_secret(here.token_file, text)
        submit(here.world)
        await said(here, "sink_unavailable", events["sink_unavailable"])
        write_secret(here.token_file, here.token)
        await delivered(here)


async def wrong_hints(here: Scene) -> None:
    """Ring over TCP: rightly, with a wrong secret, and with words that are none."""
    wrong = here.world.root / "wrong.secret"
    write_secret(wrong, SECRET.swapcase())
    for file in (here.secret_file, wrong):
        argv = (sys.executable, "-IS", notify.__file__, "--verbose", "--socket", f"tcp:127.0.0.1:{here.port}")
        done = await anyio.run_process([*argv, "--secret-file", str(file)], check=False)
        here.printed.append((done.stdout + done.stderr).decode())
    wrong.unlink()
    for words in (SECRET, f"slurmsyncd/1 context={SECRET}", f"slurmsyncd/9 secret={SECRET}", f"\0{SECRET}"):
        with socket.create_connection(("127.0.0.1", here.port)) as client:
            client.sendall(words.encode() + b"\n")
    await said(here, "hint_refused")


def misplacements(here: Scene, good: str) -> Iterator[str]:
    """Return configurations that have a secret where none belongs."""
    token_file, secret_file = f'token_file = "{here.token_file}"', f'secret_file = "{here.secret_file}"'
    url = re.search(r'url = ".*"', good)
    assert url is not None
    for here_it_is in (here.token, SECRET):
        yield good.replace(token_file, f'token_file = "{here_it_is}"')
        yield good.replace(token_file, f'token = "{here_it_is}"')
        yield good.replace(token_file, f"token_file = {here_it_is}")
        yield good.replace(secret_file, f'secret = "{here_it_is}"')
        yield good.replace(secret_file, f'secret_file = "{here_it_is}"')
        yield good.replace(url[0], f'url = "https://user:{here_it_is}@backend.example.org"')
        yield good.replace(url[0], f'url = "https://backend.example.org/?token={here_it_is}"')
        yield good.replace(url[0], f'url = "{here_it_is}"')
    for key in ("password_file", "nats_token_file", "nkey_seed_file", "creds_file"):
        yield re.sub(f'{key} = ".*"', f'{key} = "{PASSWORD}"', good)
        yield good.replace(token_file, f'{token_file}\n{key} = "{PASSWORD}"')
    yield good.replace(f"nats://127.0.0.1:{here.nats_port}", f"nats://sync:{PASSWORD}@127.0.0.1:4222")


async def wrong_configurations(here: Scene) -> None:
    """Reload each, and have each checked from the command line; the good one comes back in the end."""
    config = here.world.daemon.config
    good = config.read_text()
    for bad in misplacements(here, good):
        assert bad != good
        config.write_text(bad)
        before = here.world.daemon.events["reload_refused"]
        here.world.daemon.signal(signal.SIGHUP)
        await said(here, "reload_refused", before)
        with suppress(ConfigError):
            here.printed.append(repr(read_config(config, {})))
        for words in ("config check", "config show"):
            await command(here, *words.split())
    config.write_text(good)
    here.printed.append(repr(read_config(config, {})))


async def commands(here: Scene) -> None:
    """Have everything shown that an operator can be shown, by the commands and by the socket that they ask."""
    for words in (
        "config check",
        "config show",
        "check",
        "status",
        "job 1",
        "deadletters",
        "verify --since 1h",
    ):
        await command(here, *words.split())
    transport = httpx.AsyncHTTPTransport(uds=str(here.world.root / "run" / "control.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://daemon", timeout=PATIENCE_S) as client:
        answers = [await client.post(f"/v2/{name}", content=b"{}") for name in REQUESTS]
    assert any(answer.status_code == 200 for answer in answers)
    here.printed.extend(answer.text for answer in answers)


async def command(here: Scene, *words: str) -> None:
    """Run a command, whatever comes of it, and keep what it prints."""
    arguments, out = [*words, "--config", str(here.world.daemon.config)], io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), suppress(SystemExit):
        await anyio.to_thread.run_sync(cli.main, arguments)
    assert out.getvalue(), words
    here.printed.append(f"{words}: {out.getvalue()}")


async def end(here: Scene, number: int) -> None:
    """End the daemon with a signal and wait for its next life."""
    lives, here.world.daemon.asked_to_end = here.world.daemon.lives, True
    here.world.daemon.signal(number)
    assert await until(lambda: here.world.daemon.lives > lives, PATIENCE_S)
    await said(here, "ready", lives)


def of_the_process(pid: int) -> Iterator[tuple[str, bytes]]:
    """Return what other users can see of a process, and what a core or a child would inherit."""
    for name in ("cmdline", "environ", "status", "comm"):
        yield name, Path(f"/proc/{pid}/{name}").read_bytes()


def of_the_files(here: Scene) -> Iterator[tuple[str, bytes]]:
    """Return every file of the daemon's, its log and its store's bodies among them, but those of the secrets."""
    root = here.world.root
    theirs = (here.token_file, here.secret_file, *here.nats_files)
    for path in root.rglob("*"):
        if path.is_file() and path not in theirs and root / "backend" not in path.parents:
            yield str(path.relative_to(root)), path.read_bytes().strip(b"\0")
    with closing(sqlite3.connect(here.world.disk.path / "state" / "store.sqlite")) as con:
        for table in ("started", "stopped"):
            for (body,) in con.execute(f"SELECT body FROM {table}"):
                yield table, body if body[:1] == b"{" else zlib.decompress(body)


async def test_x8_i8_the_canary_is_nowhere_but_in_its_file_and_the_header() -> None:
    """
    X8, I8: not in a log at debug, a message, a file, a store, a process or a child, whatever went wrong.

    The backend shows it in its answers, refuses it, or is not there; its file is damaged; it is written into the
    wrong settings; Slurm fails; the daemon is stopped and killed.
    """
    async with scene() as here:
        daemon, state = here.world.daemon, here.world.root / "slurm"
        await rude_answers(here)
        await wrong_tokens(here)
        await wrong_hints(here)
        faults.set_fault(state, "ctld", "down:0")
        await said(here, "look_failed")
        faults.clear_fault(state, "ctld")
        await commands(here)
        seen = list(of_the_process(daemon.pid))
        await wrong_configurations(here)
        for number in (signal.SIGTERM, signal.SIGKILL):
            await end(here, number)
        await delivered(here)
        seen.extend(of_the_process(daemon.pid))
        daemon.keep = False
        daemon.signal(signal.SIGTERM)
        assert await until(lambda: daemon.status is not None, PATIENCE_S)

        children = here.dump.read_bytes()
        assert all(f"/bin/{command} ".encode() in children for command in ("squeue", "sacct", "scontrol"))
        for opened in (
            here.token_file,
            here.secret_file,
            *here.nats_files,
            here.world.disk.path / "state" / "store",
        ):
            assert os.fsencode(opened) not in children, "a child has a descriptor of ours"
        seen.extend(of_the_files(here))
        seen.extend(("printed", text.encode()) for text in here.printed)
        seen.extend(("log", line.encode()) for line in daemon.lines)
        assert here.finds(here.token_file.read_bytes()), "what is looked for can be found"
        assert all(here.finds(path.read_bytes()) for path in (here.secret_file, *here.nats_files))
        assert daemon.events["sink_unavailable"] > len(here.nats_files), "no NATS server said them"
        shown = {(where, data) for where, data in seen if here.finds(data)}
        assert not shown, "\n".join(f"{where}: {data[:1000]!r}" for where, data in shown)
