"""How far a backfill has come, so that it can be interrupted and gone on with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from slurmsyncd.foreign import MalformedJson, decode_json

if TYPE_CHECKING:
    from pathlib import Path

_POSITIONS: Final = msgspec.json.Decoder(dict[str, int])


class ResumeFile:
    """
    A small file beside the store: cluster → accounting is told of up to there (epoch seconds).

    One that cannot be read or written costs time alone: what is told already is not told again.
    """

    def __init__(self, directory: Path, since: int, until: int) -> None:
        self._path = directory / f"backfill-{since}-{until}.json"
        self._since = since
        self._at = self._read()

    def load(self, cluster: str) -> int:
        """Return where to go on with a cluster."""
        return max(self._since, self._at.get(cluster, self._since))

    def save(self, cluster: str, at: int) -> None:
        """Note how far it came."""
        self._at[cluster] = at
        draft = self._path.with_suffix(".new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(draft, flags, 0o600)
            with os.fdopen(file, "wb") as stream:
                stream.write(msgspec.json.encode(self._at))
            draft.rename(self._path)
        except OSError:
            return

    def delete(self) -> None:
        """All of it is told: begin anew next time."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, int]:
        try:
            return decode_json(self._path.read_bytes(), _POSITIONS)
        except (OSError, MalformedJson):
            return {}
