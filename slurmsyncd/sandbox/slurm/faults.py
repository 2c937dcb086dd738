"""Faults on demand: put in force and ended here, obeyed by the commands (and by the engine: ``late``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import COMMANDS
from slurmsyncd.sandbox.slurm.state import State

if TYPE_CHECKING:
    from pathlib import Path

#: Fault → what its value means.
KINDS = {
    "ctld": "down or frozen; with :SECONDS instead of the measured wait (down:0 fails at once)",
    "dbd": "down or frozen, likewise",
    "db": "down: slurmdbd is there, its database is not",
    "munge": "down, likewise",
    "slow": "seconds before the answer (5)",
    "empty": "exit 0 and nothing printed",
    "garbage": "bytes that mean nothing, exit 0",
    "truncated": "bytes after which the output ends, exit 0 (400)",
    "endless": "output without end",
    "grandchild": "seconds for which a child holds our pipes open (600)",
    "stderr": "text on stderr, while the answer is right and the status 0",
    "banner": "a line before the answer",
    "vanish": "JOBID: nobody knows of it",
    "double": "JOBID: it is there twice",
    "poison": "types:JOBID, utf8:JOBID or state:JOBID: that one record is unreadable",
    "mute": "data version for which --json=VERSION prints nothing, exit 0, though it is offered",
    "late": "seconds by which slurmdbd learns later of all that happens from now on",
}


def set_fault(state_dir: str | Path, name: str, value: str = "", command: str = "") -> None:
    """
    Put a fault in force, for one command or (empty) for all.

    Raises:
        ValueError: Unknown fault, command, or a value it does not take.
    """
    _check(name, value, command)
    state = State(state_dir)
    with state:
        state.set_fault(name, value, command)
    state.close()


def clear_fault(state_dir: str | Path, name: str, command: str = "") -> None:
    """End a fault; one that is not in force does not matter."""
    state = State(state_dir)
    with state:
        state.set_fault(name, None, command)
    state.close()


def clear_faults(state_dir: str | Path) -> None:
    """End every fault."""
    state = State(state_dir)
    with state:
        state.clear_faults()
    state.close()


def list_faults(state_dir: str | Path) -> list[tuple[str, str, str]]:
    """Return (name, command, value) of every fault in force."""
    state = State(state_dir)
    found = state.all_faults()
    state.close()
    return found


def _check(name: str, value: str, command: str) -> None:
    if name not in KINDS:
        raise ValueError(f"fault {name!r}: not one of {', '.join(KINDS)}")
    if command and command not in COMMANDS:
        raise ValueError(f"command {command!r}: not one of {', '.join(COMMANDS)}")
    word, _, rest = value.partition(":")
    allowed = {"ctld": ("down", "frozen"), "dbd": ("down", "frozen"), "db": ("down",), "munge": ("down",)}
    if word not in allowed.get(name, (word,)):
        raise ValueError(f"fault {name}: {word!r} is not one of {', '.join(allowed[name])}")
    if name == "poison" and not (word in ("types", "utf8", "state") and rest.isdecimal()):
        raise ValueError(f"fault poison: {value!r} is not KIND:JOBID")
