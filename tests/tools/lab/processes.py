"""Processes of the lab, started and signalled through its keeper."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tools.lab.waiting import LabError, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GONE_S = 60.0


class Keeper:
    """Our end of the keeper: ask it; close to have everything killed and removed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd="/",
        )
        self.pid = self._process.pid

    def ask(self, what: str, *args: Any) -> Any:
        """
        Have the keeper do something.

        Raises:
            LabError: It could not, or is gone.
        """
        pipe, answers = self._process.stdin, self._process.stdout
        if pipe is None or answers is None or self._process.poll() is not None:
            raise LabError("the lab's keeper is gone")
        pipe.write(json.dumps({"do": what, "args": args}) + "\n")
        pipe.flush()
        answer = json.loads(answers.readline() or '{"error": "the lab\'s keeper ended"}')
        if "error" in answer:
            raise LabError(answer["error"])
        return answer["result"]

    def call(self, *argv: str) -> None:
        """
        Have a command run where the daemons run, and wait for its end.

        Raises:
            LabError: It failed.
        """
        pid = self.ask("spawn", argv, dict(os.environ), os.devnull)
        until(
            lambda: self.ask("ended", pid) is not None, f"end of {' '.join(argv)}", timeout_s=30, every_s=0.01
        )
        if status := self.ask("ended", pid):
            raise LabError(f"{' '.join(argv)}: exit {status}")

    def close(self) -> None:
        """Have everything taken away, and wait until it is."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(GONE_S)
        if self._process.stdout:
            self._process.stdout.close()


class Daemon:
    """
    One daemon of the lab.

    Attributes:
        name: What it is called in messages and log files.
        pid: Process id, None before its first start.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        keeper: Keeper,
        output: Path,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self._argv = tuple(argv)
        self._keeper = keeper
        self._output = output
        self._ready = ready
        self._env = dict(os.environ if env is None else env)

    @property
    def running(self) -> bool:
        """Whether its process lives (frozen or not)."""
        return self.pid is not None and self._keeper.ask("ended", self.pid) is None

    def launch(self) -> None:
        """Start it and do not wait until it is ready."""
        if self.running:
            raise LabError(f"{self.name} is running already")
        self.pid = self._keeper.ask("spawn", self._argv, self._env, str(self._output))

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until it answers; one that ends instead is reported with its last words."""
        until(lambda: not self.running or self._ready(), f"answer of {self.name}", timeout_s=timeout_s)
        if not self.running:
            raise LabError(f"{self.name} ended at its start: {self.last_words()}")

    def start(self, timeout_s: float = 60) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_ready(timeout_s)

    def stop(self, timeout_s: float = 60) -> None:
        """End it in its own time (SIGTERM) and wait for that."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL, timeout_s=10)

    def freeze(self) -> None:
        """Stop it where it is: it keeps its connections and answers nothing."""
        self._keeper.ask("signal", self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._keeper.ask("signal", self.pid, signal.SIGCONT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do without it for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Have it die of SIGKILL and be away for a while."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it hang for a while."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()
            self.wait_ready()

    def last_words(self, lines: int = 5) -> str:
        """What it printed last."""
        if not self._output.exists():
            return "(nothing)"
        return " / ".join(self._output.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, number: int, timeout_s: float) -> None:
        if self.running:
            self._keeper.ask("signal", self.pid, number)
        until(lambda: not self.running, f"end of {self.name}", timeout_s=timeout_s)
