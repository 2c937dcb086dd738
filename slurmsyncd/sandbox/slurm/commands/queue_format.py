"""The letters of ``squeue -o``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation
    from slurmsyncd.sandbox.slurm.records import RunRow

SHORT_STATES = {
    "PD": "PENDING",
    "R": "RUNNING",
    "S": "SUSPENDED",
    "CG": "COMPLETING",
    "CF": "CONFIGURING",
    "CD": "COMPLETED",
    "CA": "CANCELLED",
    "F": "FAILED",
    "TO": "TIMEOUT",
    "NF": "NODE_FAIL",
    "PR": "PREEMPTED",
    "OOM": "OUT_OF_MEMORY",
    "BF": "BOOT_FAIL",
    "DL": "DEADLINE",
}


class Format:
    """A format; text between them is printed as it stands."""

    def __init__(self, answer: Invocation, form: str) -> None:
        self._answer = answer
        before, *parts = form.split("%")
        self._parts = [("", 0, False, before)] if before else []
        for part in parts:
            right = part.startswith(".")
            digits = part.removeprefix(".")
            size = digits[: len(digits) - len(digits.lstrip("0123456789"))]
            rest = digits[len(size) :]
            if rest[:1] not in _LETTERS:
                answer.complain(f"Invalid job format specification: {rest[:1]}")
                continue
            self._parts.append((rest[:1], int(size or 0), right, rest[1:]))

    def header(self) -> str:
        """Return the line of titles."""
        return self._line(dict(_LETTERS))

    def row(self, run: RunRow) -> str:
        """Return the line of a job."""
        values = _values(run, self._answer)
        return self._line({letter: values.get(letter, "N/A") for letter, *_ in self._parts if letter})

    def _line(self, values: dict[str, str]) -> str:
        texts = []
        for letter, size, right, after in self._parts:
            text = values[letter] if letter else ""
            if size:
                text = text[:size].rjust(size) if right else text[:size].ljust(size)
            texts.append(text + after)
        return "".join(texts)


_LETTERS = {
    "A": "JOBID",
    "i": "JOBID",
    "F": "ARRAY_JOB_ID",
    "K": "ARRAY_TASK_ID",
    "T": "STATE",
    "t": "ST",
    "r": "REASON",
    "R": "NODELIST(REASON)",
    "S": "START_TIME",
    "e": "END_TIME",
    "V": "SUBMIT_TIME",
    "l": "TIME_LIMIT",
    "L": "TIME_LEFT",
    "M": "TIME",
    "u": "USER",
    "U": "UID",
    "g": "GROUP",
    "G": "GROUP",
    "a": "ACCOUNT",
    "P": "PARTITION",
    "q": "QOS",
    "w": "WCKEY",
    "v": "RESERVATION",
    "j": "NAME",
    "k": "COMMENT",
    "D": "NODES",
    "C": "CPUS",
    "N": "NODELIST",
    "B": "EXEC_HOST",
    "b": "TRES_PER_NODE",
    "m": "MIN_MEMORY",
    "f": "FEATURES",
    "W": "LICENSES",
    "h": "OVER_SUBSCRIBE",
    "Z": "WORK_DIR",
    "o": "COMMAND",
    "p": "PRIORITY",
    "Q": "PRIORITY",
}


def _values(run: RunRow, answer: Invocation) -> dict[str, str]:
    asked = run["request"]
    start, end = views.shown_times(run)
    state = views.shown_state(run)
    took = views.elapsed_s(run, answer.now)
    names = words.nodes(views.shown_nodes(run))
    slash = "/" if answer.shape.modern else ":"
    kind = ":" + asked["gpu_type"] if asked["gpu_type"] else ""
    waits = run["state"] == "PENDING"
    return {
        "A": str(run["job_id"]),
        "i": words.shown_id(run),
        "F": str(run["array_job_id"] or run["job_id"]),
        "K": words.task_text(run) or _task(run),
        "T": state,
        "t": next((short for short, long in SHORT_STATES.items() if long == state), state),
        "r": run["reason"],
        "R": f"({run['reason']})" if waits else names,
        "S": answer.instant(start) if start else "N/A",
        "e": answer.instant(end) if end else "N/A",
        "V": answer.instant(run["submit_at"]),
        "l": words.short_span(views.limit_s(run)),
        "L": words.short_span(views.limit_s(run) - took),
        "M": words.short_span(took),
        "u": asked["user"],
        "U": str(asked["uid"]),
        "g": asked["user"],
        "G": str(asked["uid"]),
        "a": asked["account"],
        "P": asked["partition"],
        "q": asked["qos"],
        "w": asked["wckey"] or "*",
        "v": asked["reservation"] or "(null)",
        "j": asked["name"],
        "k": asked["comment"] or "(null)",
        "D": str(asked["nodes"]),
        "C": str(views.cpu_count(run)),
        "N": names,
        "B": run["alloc"][0]["node"] if run["alloc"] else "n/a",
        "b": f"gres{slash}gpu{kind}:{asked['gpus']}" if asked["gpus"] else "N/A",
        "m": "1000M",
        "f": asked["features"] or "(null)",
        "W": asked["licenses"] or "(null)",
        "h": _oversubscribe(asked["exclusive"], answer.shape.release),
        "Z": asked["work_dir"],
        "o": asked["work_dir"] + "/job.sh" if asked["batch"] else "",
        "p": "0.00000000023283",
        "Q": "1",
    }


def _task(run: RunRow) -> str:
    return "N/A" if run["array_task_id"] is None else str(run["array_task_id"])


def _oversubscribe(exclusive: str, release: str) -> str:
    if release == "26.05":
        return "NO"
    return {"node": "NO", "user": "USER"}.get(exclusive, "OK")
