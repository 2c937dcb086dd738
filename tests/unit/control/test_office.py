"""A command's requests, answered over the daemon's socket and out of the store: the same either way."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.control import store_requests as requests
from slurmsyncd.control.client import connect
from slurmsyncd.control.server import control_path, control_sockets
from slurmsyncd.errors import AlreadyRunning, ConfigError, SlurmsyncdError, StoreError
from slurmsyncd.store.queries import DeliverySelection
from tests.unit.control.conftest import serving
from tests.unit.store.builders import opened

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.config import Config

DEAD = DeliverySelection(state="dead")


def test_totals_count_what_is_not_told(asked: Config) -> None:
    """States and reasons of each sink, open runs and cursors."""
    with connect(asked) as desk:
        totals = desk.ask(requests.GetTotals())
    assert totals.sinks["rest"].states == {"ready": 1, "parked": 1, "dead": 1}
    assert totals.sinks["rest"].reasons["dead"] == {"http_400": 1}
    assert totals.open_runs == {"alpha": 3}
    assert list(totals.cursors) == ["alpha"]
    assert totals.incident is None


def test_letters_are_listed_retried_and_dropped(asked: Config) -> None:
    """A dead letter can be seen, tried again and given up."""
    with connect(asked) as desk:
        (letter,) = desk.ask(requests.ListDeliveries(DEAD))
        assert (letter.key.job_id, letter.reason, letter.detail) == (3, "http_400", "unknown field")
        assert desk.ask(requests.ListDeliveries(DeliverySelection(state="dead", reason="other"))) == ()
        (parked,) = desk.ask(requests.ListDeliveries(DeliverySelection(state="parked", sink="rest")))
        assert desk.ask(requests.RetryDeliveries((letter.id, parked.id))) == 2
        assert desk.ask(requests.GetTotals()).sinks["rest"].states == {"ready": 3}
        assert desk.ask(requests.DropDeliveries((letter.id,))) == 1
        assert desk.ask(requests.GetTotals()).sinks["rest"].states == {"ready": 2, "dropped": 1}
        assert desk.ask(requests.DropDeliveries((letter.id,))) == 0


def test_a_story_has_the_whole_run(asked: Config) -> None:
    """The allocation that was captured comes through whole, and how far each sink is."""
    with connect(asked) as desk:
        (story,) = desk.ask(requests.GetRunHistories(3))
        assert desk.ask(requests.GetRunHistories(99)) == ()
    assert story.start is not None
    assert story.start.allocation is not None
    assert story.start.allocation[0].gres[0].indexes == (0, 3)
    assert [delivery.state for delivery in story.deliveries] == ["dead"]


def test_who_answers_is_said(filled: Config) -> None:
    """A command knows whether it asked a daemon."""
    with connect(filled) as desk:
        assert not desk.running
    with serving(filled), connect(filled) as desk:
        assert desk.running


def test_the_socket_is_for_our_user_alone(config: Config) -> None:
    """X14: nobody else can connect, and it is gone afterwards."""
    with control_sockets(config.daemon):
        assert stat.S_IMODE(control_path(config.daemon).stat().st_mode) == 0o600
    assert not control_path(config.daemon).exists()


def test_k13_a_foreign_file_at_the_socket_is_left_alone(config: Config) -> None:
    """What is no socket of ours is refused with the setting named, and stays."""
    path = control_path(config.daemon)
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConfigError, match=r"daemon\.control_socket"), control_sockets(config.daemon):
        pass
    assert path.read_text() == "precious"


def test_a_socket_left_by_a_killed_daemon_is_no_daemon(filled: Config) -> None:
    """After kill -9 the socket file is there and nobody listens: the command works on the store."""
    path = control_path(filled.daemon)
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with connect(filled) as desk:
        assert not desk.running
        assert len(desk.ask(requests.ListDeliveries(DEAD))) == 1


def test_a_daemon_that_does_not_listen_is_named(filled: Config) -> None:
    """If somebody has the store and nobody listens, that is said with the setting."""
    store = opened(filled.daemon.state_dir)
    try:
        with pytest.raises(AlreadyRunning, match="control_socket"), connect(filled):
            pass
    finally:
        store.close()


def test_where_nothing_has_run_nothing_is_made(config: Config) -> None:
    """Asking is no reason to make a store."""
    with pytest.raises(StoreError, match="state_dir"), connect(config):
        pass
    assert not config.daemon.state_dir.exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/GetTotals", b"", 404),
        ("POST", "/v2/Nonsense", b"{}", 404),
        ("POST", "/Retry", b'{"ids": [1]}', 404),
        ("POST", "/v2/RetryDeliveries", b'{"ids": ["one"]}', 400),
        ("POST", "/v2/RetryDeliveries", b"{", 400),
        ("POST", "/v2/GetRunHistories", b"\xff\xfe", 400),
        ("POST", "/v2/GetRunHistories", b'{"job_id": 9999999999999999999}', 400),
        ("POST", "/v2/RetryDeliveries", b'{"ids": [9223372036854775808]}', 400),
        ("POST", "/v2/DropDeliveries", b'{"ids": [-9223372036854775809]}', 400),
        ("POST", "/v2/ListDeliveries", b'{"wanted": {"job_id": 1180591620717411303424}}', 400),
    ],
)
def test_what_is_no_request_is_refused(
    filled: Config, method: str, path: str, body: bytes, status: int
) -> None:
    """Unknown names, wrong types and garbage get an error that says so, and the next request is answered."""
    with serving(filled):
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.fspath(control_path(filled.daemon)))
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert (answer.status, b"error" in answer.read()) == (status, True)
        connection.close()
        with connect(filled) as desk:
            assert desk.ask(requests.GetTotals()).sinks["rest"].states["dead"] == 1


def test_an_older_daemon_is_named(filled: Config) -> None:
    """A request that the running daemon does not know says that it has to be restarted."""

    class Unheard(requests.GetTotals):
        pass

    with serving(filled), connect(filled) as desk, pytest.raises(SlurmsyncdError, match="restart it"):
        desk.ask(Unheard())


def test_an_answer_of_another_shape_is_named(filled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that this release does not understand ends in a line, and in no traceback."""
    with serving(filled), connect(filled) as desk:
        monkeypatch.setattr(requests.GetTotals, "response_type", int)
        with pytest.raises(SlurmsyncdError, match="restart it"):
            desk.ask(requests.GetTotals())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_told_to_use_sudo(config: Config, tmp_path: Path) -> None:
    """Whether a daemon runs or not, a user who may not look gets a line and no traceback."""
    opened(config.daemon.state_dir).close()
    code = (
        "import os, sys; from pathlib import Path; from slurmsyncd.config import Config, DaemonConfig;"
        "from slurmsyncd.control.client import connect; from slurmsyncd.errors import SlurmsyncdError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); root = Path(sys.argv[1])\n"
        "config = Config(daemon=DaemonConfig(state_dir=root / 'state', pid_file=root / 'run' / 'pid'))\n"
        "try:\n    connect(config).__enter__()\nexcept SlurmsyncdError as err:\n    print(err)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert not done.stderr
    assert "use sudo" in done.stdout
