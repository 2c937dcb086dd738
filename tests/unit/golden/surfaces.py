"""
What others see of slurmsyncd, made from the code: no rename may change it.

``python -m tests.unit.golden`` writes ``public.json`` anew, for a change that is meant. Elsewhere are held: NATS
events and their schema (tests of sinks.nats), names of log events (docs/events-log.md), the hook's datagram
(tests of hooks), requests to cc-backend (tests of sinks).
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from slurmsyncd.cli import _parser
from slurmsyncd.config.reference import rows
from slurmsyncd.model import Gres, Job, NodeAllocation, RunKey
from slurmsyncd.reasons import REASONS
from slurmsyncd.store.opening import open_store
from tests.paths import ROOT
from tests.unit.commands.test_json_docs import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = {"debug", "info", "warning", "error", "critical"}


def surfaces() -> dict[str, Any]:
    """Return each surface by its name, as JSON has it."""
    return {
        "options": dict(sorted(_options(_parser(), "slurmsyncd"))),
        "settings": [list(row[:4]) for row in rows()],
        "stored": _ddl(),
        "bodies": {kind.__name__: _fields(kind) for kind in (Job, RunKey, NodeAllocation, Gres)},
        "json": sorted(_fields(kind) for kind in SHOWN),
        "reasons": sorted(REASONS),
        "log": {event: sorted(keys) for event, keys in sorted(_logged().items())},
        "alerts": re.findall(r"alert: (\w+)", (ROOT / "docs/alerts.yml").read_text()),
        "installed": sorted(path.name for part in ("hooks", "systemd") for path in (ROOT / part).iterdir()),
    }


def _options(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, list[str]]]:
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, inner in action.choices.items():
                yield from _options(inner, f"{name} {command}")
        else:
            choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            options.append(f"{'/'.join(action.option_strings) or action.dest}{choices}")
    yield name, options


def _ddl() -> list[str]:
    with TemporaryDirectory() as root:
        open_store(Path(root) / "state", ("rest",), reserve_bytes=4096).store.close()
        with closing(sqlite3.connect(Path(root) / "state" / "store.sqlite")) as con:
            found = con.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
            ).fetchall()
            version = con.execute("PRAGMA user_version").fetchone()
    return [*(" ".join(sql.split()) for (sql,) in found), f"user_version {version[0]}"]


def _fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _logged() -> dict[str, set[str]]:
    """Return the keys of each event that is logged by its literal name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "slurmsyncd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                    args=[ast.Constant(value=str(event)), *_],
                    keywords=keywords,
                ) if level in LEVELS:
                    found.setdefault(event, set()).update(each.arg or "**" for each in keywords)
    return found
