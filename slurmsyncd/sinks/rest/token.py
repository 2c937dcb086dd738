"""The token of a REST sink, read from its file and again after each change of the file."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from slurmsyncd.foreign import decode_json
from slurmsyncd.host.secret_file import read_secret

if TYPE_CHECKING:
    from slurmsyncd.host.secret_file import Secret


class TokenFile:
    """
    A token in a file, or in a systemd credential.

    Args:
        name: Path of the file, or name of the credential.
        key: Setting that contains ``name``, for messages.
    """

    def __init__(self, name: str, key: str) -> None:
        self._name = name
        self._key = key
        self._secret: Secret | None = None
        self._seen: tuple[int, ...] | None = None

    def read(self) -> Secret:
        """
        Return the token. The file is read only if it changed since the last read.

        Raises:
            ConfigError: The file cannot be read or does not contain a usable token.
        """
        if self._secret is not None:
            seen = self._look(self._secret)
            if seen is not None and seen == self._seen:
                return self._secret
        secret = read_secret(self._name, key=self._key)
        self._seen = self._look(secret)
        self._secret = secret
        return secret

    def forget(self) -> None:
        """Discard the token that the backend rejected, so that the next call reads the file again."""
        self._secret = None

    def _look(self, secret: Secret) -> tuple[int, ...] | None:
        try:
            found = secret.path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino, found.st_size)


class _Claims(msgspec.Struct):
    exp: float | None = None


_CLAIMS: Final = msgspec.json.Decoder(_Claims)


@lru_cache(maxsize=8)
def token_expires_at(token: str) -> float | None:
    """Return the expiry of a JWT in seconds since the epoch; None if it has none. Nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return decode_json(claims, _CLAIMS).exp
    except ValueError:
        return None
