"""Dead letters as an operator handles them; asked of a daemon and of the store alike."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.control.client import connect
from slurmsyncd.control.store_requests import GetTotals
from slurmsyncd.delivery import DeadLetter
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.model import EventKind, Job, JobState, OutboxEntry
from slurmsyncd.sandbox.demo.environment import stop_daemon
from slurmsyncd.sandbox.slurm.faults import clear_faults, set_fault
from slurmsyncd.store.queries import DeliverySelection
from tests.system.daemon.test_audit import site, until
from tests.unit.commands.status.test_status import shown, typed
from tests.unit.store.builders import T0, key, opened, plan, settle, started, starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slurmsyncd.config import Config
    from tests.unit.commands.conftest import Command


def states(config: Config) -> dict[str, int]:
    """Count the deliveries by state."""
    with connect(config) as desk:
        return desk.ask(GetTotals()).sinks["rest"].states


def test_they_are_listed_by_reason_with_what_to_do(asked: Config, command: Command) -> None:
    """Count, age, an example with what the backend said, the meaning, and the remedy."""
    done = command(asked, "deadletters", "list")
    assert done.status == 0
    assert done.shown.startswith("1 dead letter\n")
    row = next(line for line in done.shown.splitlines() if "http_400" in line)
    assert row.split()[:4] == ["rest", "start", "http_400", "1"]
    assert "job 3 of alpha: unknown field" in row
    assert "\n  do: " in done.shown
    assert "no_subcluster" in command(asked, "deadletters", "list", "--state", "parked").shown
    assert command(asked, "deadletters", "list", "--state", "dropped").shown == "no dropped deliveries\n"


def test_scripts_get_json(asked: Config, command: Command) -> None:
    """The groups, each with an example in full."""
    (each,) = json.loads(command(asked, "deadletters", "list", "--json").shown)["groups"]
    assert each["group"]["reason"] == each["example"]["reason"] == "http_400"
    assert each["group"]["count"] == 1
    (letter,) = json.loads(command(asked, "deadletters", "show", "3", "--json").shown)["letters"]
    assert letter["key"]["job_id"] == 3


def test_one_is_shown_by_its_number_or_its_job(asked: Config, command: Command) -> None:
    """With the run, the reason, and each attempt."""
    done = command(asked, "deadletters", "show", "3")
    assert done.status == 0
    assert "dead letter 3: the start of job 3 of alpha" in done.shown
    assert "it said: unknown field" in done.shown
    assert done.shown.count("http_400") == 2
    assert command(asked, "deadletters", "show", "99").status == 1


@pytest.mark.parametrize(
    ("selectors", "count"),
    [
        (("3",), 1),
        (("2", "3"), 2),
        (("--all",), 2),
        (("--job", "2"), 1),
        (("--reason", "http_400"), 1),
        (("--state", "parked"), 1),
        (("--sink", "rest"), 2),
        (("--older-than", "2d"), 2),
        (("--older-than", "2d", "--reason", "no_subcluster"), 1),
        (("--older-than", "5200w"), 0),
        (("1",), 0),  # it waits, and is no dead letter
    ],
)
def test_what_is_selected_is_retried(
    asked: Config, command: Command, selectors: tuple[str, ...], count: int
) -> None:
    """All that is given has to hold; how many there were is said, and is the exit status."""
    done = command(asked, "deadletters", "retry", *selectors)
    assert done.shown.startswith(f"{count} deliver")
    assert done.status == (0 if count else 1)
    assert states(asked)["ready"] == 1 + count


def test_dropping_needs_a_word(asked: Config, command: Command) -> None:
    """Where nobody can be asked, --yes is the word; what was dropped stays dropped."""
    with pytest.raises(SlurmsyncdError, match="--yes"):
        command(asked, "deadletters", "drop", "--all")
    assert "dropped" not in states(asked)
    assert command(asked, "deadletters", "drop", "--all", "--yes").shown == "gave up 2 deliveries\n"
    assert states(asked) == {"ready": 1, "dropped": 2}
    assert command(asked, "deadletters", "drop", "--all", "--yes").status == 1
    assert command(asked, "deadletters", "retry", "--all").status == 1


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_nothing_is_chosen_by_default(
    asked: Config, command: Command, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    """Who does not say which, is told how to."""
    with pytest.raises(SystemExit) as ended:
        command(asked, "deadletters", action)
    assert ended.value.code == 2
    assert "--all" in capsys.readouterr().err


@pytest.mark.parametrize("age", ["2", "d", "-1d", "2 d", "1y", "1e9d"])
def test_an_age_that_is_none_is_refused(
    asked: Config, command: Command, capsys: pytest.CaptureFixture[str], age: str
) -> None:
    """With examples of what is one."""
    with pytest.raises(SystemExit) as ended:
        command(asked, "deadletters", "list", f"--older-than={age}")
    assert ended.value.code == 2
    assert "12h" in capsys.readouterr().err


def test_a_sink_that_is_none_is_refused(asked: Config, command: Command) -> None:
    """With the name that was meant: an empty list would look as if all were well."""
    with pytest.raises(SlurmsyncdError, match="did you mean rest"):
        command(asked, "deadletters", "list", "--sink", "rst")


def test_what_the_backend_said_does_nothing_to_the_terminal(config: Config, command: Command) -> None:
    """Escape sequences, line ends and direction marks in reason and detail are shown as such."""
    store = opened(config.daemon.state_dir)
    store.record(plan(started(key(1), name="\x1b]0;x\x07")), T0)
    settle(store, starts(store, T0 + 1), DeadLetter("odd\x1b[31m", "said\x1b[2J\r\u202ewhat"), T0 + 1)
    store.close()
    for argv in (("list",), ("show", "1")):
        shown = command(config, "deadletters", *argv).shown
        assert r"said\x1b[2J\r\u202ewhat" in shown
        assert not set(shown) & set("\x1b\r\u202e")


@pytest.fixture
def settings(filled: Config, tmp_path: Path) -> Path:
    """A configuration file for a command that runs as a process."""
    file = tmp_path / "config.toml"
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("x")
    daemon = filled.daemon
    file.write_text(
        f'[daemon]\nstate_dir = "{daemon.state_dir}"\nlastrun_file = "{daemon.lastrun_file}"\n'
        f'pid_file = "{daemon.pid_file}"\n[sinks.rest]\nurl = "http://127.0.0.1:1"\ntoken_file = "{token}"\n'
    )
    return file


@pytest.fixture
def ask(settings: Path) -> Iterator[Callable[[bytes], tuple[int, bytes]]]:
    """Run ``deadletters drop --all`` on a terminal, and answer its question."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "slurmsyncd", "deadletters", "drop", "--all", "--config", str(settings)]
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)

    def answer(text: bytes) -> tuple[int, bytes]:
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(master, 4096)
        os.write(master, text)
        return process.wait(60), seen

    yield answer
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(master)


@pytest.mark.parametrize(
    ("text", "dropped"), [(b"\n", False), (b"n\n", False), (b"y\n", True), (b"\x04", False)]
)
def test_on_a_terminal_it_asks(
    ask: Callable[[bytes], tuple[int, bytes]], filled: Config, text: bytes, dropped: bool
) -> None:
    """It says how many, and takes only a clear yes."""
    status, seen = ask(text)
    assert b"give up 2 deliveries for good?" in seen
    assert status == (0 if dropped else 1)
    assert states(filled).get("dropped", 0) == 2 * dropped


@pytest.mark.anyio
async def test_d15_a_retry_reads_from_slurm_what_was_given_up(tmp_path: Path) -> None:
    """Whether a daemon runs or not, the run arrives whole; Slurm that does not answer is said, and costs nothing."""
    async with site(tmp_path) as at:
        (job,) = at.submit(duration_s=1.0)
        at.backend.knobs.refuse_job_ids = [job]
        daemon = at.stage.start_daemon()
        try:
            await shown(at, lambda seen: "(http_400" in seen.out, "job", str(job))
            await until(lambda: at.ended_at(job))
        finally:
            assert await stop_daemon(daemon) == 0
        with closing(opened(at.stage.root / "state", "demo")) as store:
            (entry,) = store.select(DeliverySelection(job_id=job))
            store.settle(
                [
                    (
                        OutboxEntry(
                            id=entry.id,
                            sink="demo",
                            kind=EventKind.START,
                            start=Job(key=entry.key, state=JobState.RUNNING),
                        ),
                        DeadLetter("http_400", ""),
                    )
                ],
                0.0,
            )
            store.prune(0.0, keep_s=0.0, keep=0)
        at.backend.knobs.refuse_job_ids = []
        set_fault(at.stage.root / "slurm", "dbd", "down:0")
        silent = await typed(at, "deadletters", "retry", "--job", str(job))
        assert "1 record cannot be read from Slurm again: " in silent.out
        assert silent.out.endswith("0 deliveries will be tried again, once the daemon runs\n")
        clear_faults(at.stage.root / "slurm")
        done = await typed(at, "deadletters", "retry", "--job", str(job))
        assert "1 record of 1 read from Slurm's accounting again" in done.out
        daemon = at.stage.start_daemon()
        try:
            await until(lambda: at.states(job) == [["completed"]])
        finally:
            assert await stop_daemon(daemon) == 0
