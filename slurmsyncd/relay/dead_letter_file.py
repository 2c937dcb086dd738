"""The file of dead letters: one line of JSON each, on disk before the stream message is acknowledged."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from slurmsyncd.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.relay.in_flight import Ack

#: Maximum size of the file in bytes. When the file is full, further messages stay in the stream.
LIMIT = 64 * 2**20


class DeadLetterFile:
    """
    A file to which dead letters are appended.

    Args:
        path: Path of the file, created on first use with access for its owner only.
        limit: Maximum size in bytes.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit

    def write(self, dead: Ack) -> None:
        """
        Append one dead letter and wait until it is on disk.

        Raises:
            StoreError: The dead letter is not on disk. The caller must not acknowledge the message.
        """
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                self._append(file, _line(dead))
            finally:
                os.close(file)
        except OSError as err:
            raise StoreError(f"{self._path}: {err.strerror}; make room, or mend it") from err

    def _append(self, file: int, line: bytes) -> None:
        size = os.fstat(file).st_size
        if size + len(line) > self._limit:
            raise StoreError(f"{self._path} is full ({size} bytes): look at it, and move it away")
        if os.write(file, line) < len(line):
            os.ftruncate(file, size)
            raise StoreError(f"{self._path}: the disk is full; make room")
        os.fsync(file)


def _line(dead: Ack) -> bytes:
    message = dead.message
    letter = {
        "at": int(time.time()),
        "reason": dead.reason,
        "detail": dead.detail,
        "subject": message.subject,
        "seq": message.seq,
        "stored_at": message.stored_at,
        "body": message.body.decode("utf-8", "backslashreplace"),
    }
    return json.dumps(letter).encode() + b"\n"
