"""Every way to log in, and TLS with a CA and a client's certificate, on the real server."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import anyio
import nkeys  # type: ignore[import-untyped]
import pytest
from anyio.abc import SocketAttribute, SocketStream
from structlog.testing import capture_logs

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import ConfigError
from tests.system.nats.server import NatsServer, running
from tests.unit.sinks.nats import nkey
from tests.unit.sinks.nats.certificates import Authority
from tests.unit.sinks.nats.parts import sink, sink_on, until
from tests.unit.sinks.parts import entry, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

CANARY = "s3cr3t-canary"


def secret(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def folder(nats_package: None, tmp_path: Path) -> Path:
    made = tmp_path / "nats"
    made.mkdir()
    return made


async def told(server: NatsServer, **settings: Any) -> Outcome:
    """Return what comes of telling one start."""
    async with sink(server.url, **settings) as one:
        return await one.deliver(entry())


@contextlib.asynccontextmanager
async def peer(behave: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Return the port of somebody who is no NATS server."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, behave)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


def is_refused(outcome: Outcome) -> bool:
    """Return whether the sink is paused, loudly, with the secret kept."""
    assert CANARY not in repr(outcome)
    return (outcome.result, outcome.action_required) == (OutcomeKind.SINK_UNAVAILABLE, True)


async def test_user_and_password(folder: Path, tmp_path: Path) -> None:
    """The right password is let in, a wrong one and none are an alarm."""
    right, wrong = secret(tmp_path / "right", CANARY), secret(tmp_path / "wrong", CANARY + "x")
    with running(folder, f'authorization {{ user: "sync", password: "{CANARY}" }}\n') as server:
        assert (await told(server, user="sync", password_file=right)).result is OutcomeKind.ACCEPTED
        for settings in ({"user": "sync", "password_file": wrong}, {}):
            outcome = await told(server, **settings)
            assert is_refused(outcome)
            assert outcome.reason == "credentials"


async def test_token(folder: Path, tmp_path: Path) -> None:
    """The same with a token."""
    right, wrong = secret(tmp_path / "right", CANARY), secret(tmp_path / "wrong", "other")
    with running(folder, f'authorization {{ token: "{CANARY}" }}\n') as server:
        assert (await told(server, nats_token_file=right)).result is OutcomeKind.ACCEPTED
        assert is_refused(await told(server, nats_token_file=wrong))


async def test_nkey_seed(folder: Path, tmp_path: Path) -> None:
    """A seed signs what the server asks; another's does not help, and the seed never leaves us."""
    ours, other = (nkey.new_key(nkeys.PREFIX_BYTE_USER) for _ in range(2))
    right, wrong = secret(tmp_path / "right", nkey.seed(ours)), secret(tmp_path / "wrong", nkey.seed(other))
    with running(folder, f"authorization {{ users: [ {{ nkey: {nkey.public(ours)} }} ] }}\n") as server:
        assert (await told(server, nkey_seed_file=right)).result is OutcomeKind.ACCEPTED
        assert is_refused(await told(server, nkey_seed_file=wrong))


@pytest.fixture
def jwt_server(folder: Path, tmp_path: Path) -> Iterator[tuple[NatsServer, str]]:
    """Return a server with an operator and an account, and the creds file of a user of theirs."""
    operator, account, user = (
        nkey.new_key(prefix)
        for prefix in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    )
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    site = nkey.jwt(nkey.public(operator), operator, "site", {"type": "operator"})
    limits = {**unlimited, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    hpc = nkey.jwt(nkey.public(account), operator, "hpc", {"type": "account", "limits": limits})
    sync = nkey.jwt(nkey.public(user), account, "sync", {"type": "user", "pub": {}, "sub": {}, **unlimited})
    settings = f"operator: {site}\nresolver: MEMORY\nresolver_preload: {{ {nkey.public(account)}: {hpc} }}\n"
    with running(folder, settings) as server:
        yield server, secret(tmp_path / "nats.creds", nkey.creds(sync, user))


async def test_creds_file(jwt_server: tuple[NatsServer, str], tmp_path: Path) -> None:
    """JWT and seed of one file are let in; with another's seed they are not."""
    server, creds = jwt_server
    assert (await told(server, creds_file=creds)).result is OutcomeKind.ACCEPTED
    with open(creds, encoding="ascii") as file:  # noqa: PTH123, ASYNC230
        text = file.read()
    other = nkey.creds(text.split("\n")[1], nkey.new_key(nkeys.PREFIX_BYTE_USER))
    assert is_refused(await told(server, creds_file=secret(tmp_path / "other", other)))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("creds_file", "-----BEGIN NATS USER JWT-----\n"),
        ("creds_file", "no creds"),
        ("nkey_seed_file", "SUnot-a-seed"),
        ("nats_token_file", "two words"),
        ("nats_token_file", ""),
    ],
)
async def test_a_file_that_holds_something_else_is_named(
    server: NatsServer, tmp_path: Path, key: str, text: str
) -> None:
    """An alarm with the setting, and no endless search in the file; put right, it goes on."""
    async with sink(server.url, **{key: secret(tmp_path / "secret", text)}) as one:
        outcome = await one.deliver(entry())
        assert is_refused(outcome)
        assert key in outcome.detail
        (tmp_path / "secret").unlink()
        assert "cannot be read" in (await one.deliver(entry())).detail


@pytest.mark.parametrize("key", ["nats_token_file", "creds_file"])
async def test_a_secret_that_others_can_read_is_warned_of_once(
    server: NatsServer, tmp_path: Path, key: str
) -> None:
    """With each connection it is read again, and said no more."""
    user, account = nkey.new_key(nkeys.PREFIX_BYTE_USER), nkey.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
    text = nkey.creds(nkey.jwt(nkey.public(user), account, "x", {}), user) if key == "creds_file" else CANARY
    path = tmp_path / "secret"
    secret(path, text)
    path.chmod(0o644)
    with capture_logs() as logs:
        async with sink(server.url, **{key: str(path)}) as one:
            for _ in range(2):
                await one.deliver(entry())
                await one.aclose()
    (warning,) = (line for line in logs if line["event"] == "secret_file")
    assert "chmod 600" in warning["detail"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(pair: Any, ca: Path, *, verify: bool) -> str:
    ours = f'cert_file: "{pair.cert}", key_file: "{pair.key}", ca_file: "{ca}"'
    return f"tls {{ {ours}, verify: {str(verify).lower()} }}\n"


async def test_tls_with_a_ca_and_a_clients_certificate(folder: Path, authority: Authority) -> None:
    """Who shows a certificate of the CA is let in; who shows none is not."""
    ours = authority.issue("sync")
    mine = {"ca_file": str(authority.cert), "cert_file": str(ours.cert), "key_file": str(ours.key)}
    with running(folder, tls(authority.issue("server"), authority.cert, verify=True)) as server:
        assert (await told(server, **mine)).result is OutcomeKind.ACCEPTED
        outcome = await told(server, ca_file=str(authority.cert))
        assert outcome.result is OutcomeKind.SINK_UNAVAILABLE


async def test_a_server_of_another_ca_hears_nothing(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    """Its certificate is refused, with an alarm that says so."""
    other = Authority(tmp_path, "other")
    with running(folder, tls(other.issue("server"), other.cert, verify=False)) as server:
        outcome = await told(server, ca_file=str(authority.cert))
    assert is_refused(outcome)
    assert (outcome.reason, "certificate" in outcome.detail) == ("tls", True)


async def test_a_certificate_for_another_host_is_refused(folder: Path, authority: Authority) -> None:
    """The right CA is not enough."""
    with running(folder, tls(authority.issue("server", "127.0.0.9"), authority.cert, verify=False)) as server:
        assert is_refused(await told(server, ca_file=str(authority.cert)))


async def test_where_tls_is_wanted_no_secret_goes_out_in_the_clear(tmp_path: Path) -> None:
    """A server that offers none, or who plays it, reads nothing from us."""
    heard: list[bytes] = []

    async def pretend(stream: SocketStream) -> None:
        async with stream:
            await stream.send(
                b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"headers":true}\r\n'
            )
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                heard.append(await stream.receive())

    token = secret(tmp_path / "token", CANARY)
    async with peer(pretend) as port, sink(f"tls://127.0.0.1:{port}", nats_token_file=token) as one:
        outcome = await one.deliver(entry())
    assert is_refused(outcome)
    assert outcome.reason == "tls"
    assert heard == []


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """That is a mistake of the configuration, and said when it is read."""
    with pytest.raises(ConfigError, match="cert_file or key_file"):
        sink_on("tls://127.0.0.1:1", cert_file="/nonexistent", key_file="/nonexistent")


@pytest.mark.parametrize("key", ["password_file", "nats_token_file", "creds_file"])
@pytest.mark.parametrize("when", ["CONNECT", "PUB"])
async def test_x8_a_server_that_says_what_it_was_told_has_no_secret_logged(
    tmp_path: Path, key: str, when: str
) -> None:
    """Refused at once or later: the reason is said, and the secret is not in it, in whatever letters."""
    user, account = nkey.new_key(nkeys.PREFIX_BYTE_USER), nkey.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
    claims = nkey.jwt(nkey.public(user), account, "x", {})
    text = nkey.creds(claims, user) if key == "creds_file" else f'{CANARY}/"'
    whole: list[bytes] = []

    async def echo(stream: SocketStream) -> None:
        ended = contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
        async with stream:
            with ended:
                await talk(stream)

    async def talk(stream: SocketStream) -> None:
        await stream.send(b'INFO {"server_id":"x","max_payload":1048576,"headers":true,"nonce":"abc"}\r\n')
        said = b""
        while f"{when} ".encode() not in said or not said.endswith(b"\r\n"):
            said += (heard := await stream.receive())
            if when == "PUB" and b"PUB " not in said:
                await stream.send(b"PONG\r\n" * heard.count(b"PING\r\n"))
        whole.append(said)
        line = said.splitlines()[0].replace(b"'", b"")
        await stream.send(b"-ERR 'Authorization Violation: " + line + b"'\r\n")
        await stream.receive()

    login: dict[str, Any] = {key: secret(tmp_path / "secret", text), "timeout": 1.0}
    login |= {"user": "sync"} if key == "password_file" else {}
    with capture_logs() as logs:
        async with peer(echo) as port, sink(f"nats://127.0.0.1:{port}", **login) as one:
            outcome = await one.deliver(entry())
    assert outcome.result is OutcomeKind.SINK_UNAVAILABLE
    hidden = claims if key == "creds_file" else CANARY
    assert hidden.encode() in whole[0]
    for piece in (hidden, hidden[len(hidden) // 2 :]):
        assert piece.lower() not in f"{outcome} {logs}".lower()


ODD = (
    b"INFO []\r\n",
    b'INFO {"max_payload":"x","version":7,"connect_urls":3}\r\nPONG\r\n',
    b'INFO {"max_payload":null}\r\nPONG\r\n',
)


async def test_a_peer_that_is_no_nats_server() -> None:
    """Silence, garbage and an endless line end in time, and are the sink's trouble."""
    for greeting in (b"HTTP/1.1 400\r\n\r\n", b"INFO nonsense\r\n", b"x" * 200_000, b"INFO {}\r\n", *ODD):

        async def greet(stream: SocketStream, greeting: bytes = greeting) -> None:
            async with stream:
                for line in greeting.splitlines(keepends=True):
                    await stream.send(line)
                    await anyio.sleep(0.05)  # one line a packet, as a server would

        async with peer(greet) as port, sink(f"nats://127.0.0.1:{port}") as one:
            assert (await one.deliver(entry())).result is OutcomeKind.SINK_UNAVAILABLE, greeting[:20]


async def test_n2_a_message_is_written_before_the_ping_that_confirms_it() -> None:
    """nats-py writes a ping at once, and what was published when its flusher comes to it: we wait for that."""
    heard: list[str] = []

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await talk(stream)

    async def talk(stream: SocketStream) -> None:
        await stream.send(
            b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"headers":true}\r\n'
        )
        while True:
            words = [line.split(b" ")[0].decode() for line in (await stream.receive()).split(b"\r\n")]
            heard.extend(word for word in words if word in ("HPUB", "PING"))
            await stream.send(b"PONG\r\n" * words.count("PING"))

    async with peer(answer) as port, sink(f"nats://127.0.0.1:{port}") as one:
        for n in range(50):
            assert (await one.deliver(entry(run=job(job_id=n + 1)))).result is OutcomeKind.ACCEPTED
    assert heard == ["PING", *["HPUB", "PING"] * 50]


async def test_one_server_of_several_is_enough(server: NatsServer) -> None:
    """The others may be away."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"nats://127.0.0.1:{closed.getsockname()[1]}"
        async with sink(away, server.url, away) as one:
            for _ in range(3):
                assert (await one.deliver(entry())).result is OutcomeKind.ACCEPTED
                server.kill()
                server.start()
                await until(lambda: not one._connector._link.alive)  # type: ignore[union-attr]
