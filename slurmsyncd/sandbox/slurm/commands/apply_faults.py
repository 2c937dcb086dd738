"""Faults on demand, as measured on the real commands or as bad as can be imagined."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from slurmsyncd.sandbox.slurm.commands.invocation import CommandError

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation

_MUNGE = (
    "{0}: error: If munged is up, restart with --num-threads=10\n"
    '{0}: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": '
    "No such file or directory (Did you start munged?)\n"
    "{0}: error: slurm_buffers_pack_msg: auth_g_create: {1} has authentication error"
)
_GARBAGE = b'\x00\xff\xfe{"jobs": [{]]\x1b[2J\n%s|%n|-1|\xc3\x28 Segmentation fault\n'
# Fault, its value, the seconds measured until the command gives up, what it says then.
_CTLD = (
    ("munge", "down", 2.0, "Protocol authentication error"),
    ("ctld", "down", 9.0, "Unable to contact slurm controller (connect failure)"),
    ("ctld", "frozen", 10.0, "Socket timed out on send/recv operation"),
)
_OPEN = "slurm_persist_conn_open: "
_INIT = "Something happened with the receiving/processing of the persistent connection init message"
_DBD = (
    ("munge", "down", 2.0, "Protocol authentication error", ""),
    ("dbd", "down", 0.0, "Connection refused", "_open_persist_conn: failed to open persistent connection"),
    ("dbd", "frozen", 45.0, "Resource temporarily unavailable", _OPEN + "No response to persist_init"),
    ("db", "down", 0.0, "Unable to connect to database", _OPEN + _INIT),
)


def misbehave(answer: Invocation) -> None:
    """
    Do what the faults in force say before, or instead of, the command's work.

    Raises:
        Refused: The daemon that the command talks to does not answer.
    """
    _beside(answer)
    _instead(answer.faults)
    if answer.command in ("sacct", "sacctmgr"):
        reach_slurmdbd(answer)


def _beside(answer: Invocation) -> None:
    """Faults with which the answer comes, late or spoilt."""
    faults = answer.faults
    if "stderr" in faults:
        answer.complain(f"{answer.command}: error: {faults['stderr'] or 'this is only a warning'}")
    if "slow" in faults:
        time.sleep(float(faults["slow"] or 5))
    if "grandchild" in faults:
        _leave_a_child(float(faults["grandchild"] or 600))
    if "truncated" in faults:
        answer.limit = int(faults["truncated"] or 400)
    if "banner" in faults:
        answer.write((faults["banner"] or "*** maintenance on Monday ***") + "\n")
    if "poison" in faults:
        kind, _, job_id = faults["poison"].partition(":")
        answer.poison = (kind, int(job_id))


def _instead(faults: dict[str, str]) -> None:
    """Faults that come instead of an answer, with exit 0."""
    if "garbage" in faults:
        sys.stdout.buffer.write(_GARBAGE)
    if "endless" in faults:
        _for_ever()
    if "garbage" in faults or "empty" in faults:
        raise CommandError("", 0)


def _leave_a_child(seconds: float) -> None:
    """Leave a process behind that holds our pipes open."""
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)


def _for_ever() -> NoReturn:
    while True:
        sys.stdout.buffer.write(b"y\n" * 32768)


def reach_slurmctld(answer: Invocation, caller: str, *, twice: bool = False) -> None:
    """
    Reach slurmctld, or fail as measured.

    Args:
        answer: The call.
        caller: How the message begins: ``slurm_load_jobs error``.
        twice: Asks again before it gives up, so takes twice as long.

    Raises:
        Refused: slurmctld is down or frozen, or munged is down.
    """
    for fault, value, seconds, why in _CTLD:
        if answer.faults.get(fault, "").partition(":")[0] == value:
            _wait(answer.faults[fault], seconds * (1 + (twice and fault == "ctld")))
            before = _MUNGE.format(answer.command, "REQUEST_JOB_INFO") + "\n" if fault == "munge" else ""
            raise CommandError(f"{before}{caller}: {why}")


def reach_slurmdbd(answer: Invocation) -> None:
    """
    Reach slurmdbd, or fail as measured.

    Raises:
        Refused: It, its database or munge is down, or it is frozen.
    """
    head = f"{answer.command}: error: "
    for fault, value, seconds, why, what in _DBD:
        if answer.faults.get(fault, "").partition(":")[0] == value:
            _wait(answer.faults[fault], seconds)
            first = head + what if what else _MUNGE.format(answer.command, "REQUEST_PERSIST_INIT")
            lines = [first, f"{head}Sending PersistInit msg: {why}"]
            if answer.command == "sacct":
                lines.append(f"{head}Problem talking to the database: {why}")
            elif answer.command != "sacctmgr":
                lines += [f"{head}DBD_GET_CLUSTERS failure: {why}", f"{head}Problem talking to database"]
            raise CommandError("\n".join(lines))


def _wait(value: str, seconds: float) -> None:
    """Wait as long as was measured, or as long as the fault says: ``down:0`` fails at once."""
    own = value.partition(":")[2]
    time.sleep(float(own) if own else seconds)
