"""Write a capture as a directory: all of it or nothing."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd import __version__
from slurmsyncd.errors import SlurmsyncdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.commands.capture.capture import Capture, CapturedFile


def write(directory: Path, found: Capture, *, raw: bool) -> Path:
    """
    Write a capture to ``directory/RELEASE``.

    Returns:
        That directory; it was not there before.

    Raises:
        SlurmsyncdError: It is there, or cannot be written.
    """
    place = directory / found.release
    if place.exists():
        raise SlurmsyncdError(f"{place} is there already; move it away or give another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".capture-", dir=directory) as partial:
            inner = Path(partial) / found.release
            inner.mkdir()
            for name, text in _files(found, raw=raw):
                (inner / name).write_bytes(text.encode("utf-8", "surrogateescape"))
            inner.rename(place)
    except OSError as err:
        raise SlurmsyncdError(f"{place} cannot be written: {err.strerror}") from err
    return place


def _files(found: Capture, *, raw: bool) -> Iterator[tuple[str, str]]:
    for each in found.files:
        yield each.name, each.text
        if each.error:
            yield f"{each.name}.err", each.error + "\n"
    yield "index.tsv", "".join(_line(each, found.token) for each in found.files if each.command)
    yield "PROVENANCE.txt", _provenance(found, raw=raw)


def _line(each: CapturedFile, token: str) -> str:
    size = len(each.text.encode("utf-8", "surrogateescape"))
    command = each.command.replace(token, "TOKEN")
    return f"{each.name}\t{each.exit_code}\t{each.took_ms} ms\t{size} B\t{command}\n"


def _provenance(found: Capture, *, raw: bool) -> str:
    day = datetime.now(timezone.utc).date().isoformat()
    how = "NOT anonymised" if raw else "anonymised: names, paths and texts are invented"
    return (
        f"Recorded by `slurmsyncd fixtures capture` (slurmsyncd {__version__}) from Slurm {found.release} on "
        f"{day}, UTC; {how}. {found.jobs} jobs of the controller.\n\n"
        "`index.tsv`: file, exit code, duration, bytes, command. `*.err`: standard error, on one line. "
        "Columns of `*.sacct-*-token` and `*.squeue-listing` end with what is in `token.txt`; sacct's are "
        "named in `sacct-format.txt`. Times are epoch seconds.\n"
    )
