"""What was never taken, in a file: a line of JSON each, on the disk before the stream is told to go on."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from slurmsyncd.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.relay.in_flight import Ack

#: Bytes of the file. What comes when it is full stays in the stream.
LIMIT = 64 * 2**20


class DeadLetterFile:
    """
    The file.

    Args:
        path: Made when it is first needed, for us alone.
        limit: Bytes.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit

    def write(self, dead: Ack) -> None:
        """
        Write one down; it is on the disk when this returns.

        Raises:
            StoreError: It is not.
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
