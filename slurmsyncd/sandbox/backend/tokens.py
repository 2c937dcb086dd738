"""The backend's own tokens: JWT signed with Ed25519. Needs PyJWT and cryptography (extra ``backend``)."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmsyncd.errors import SlurmsyncdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_REMEMBERED = 64


class TokensUnavailable(SlurmsyncdError):
    """Tokens cannot be made here; the message says what to install or to change."""


class BadToken(Exception):
    """A token is not good; 401."""


@dataclass(frozen=True, slots=True)
class User:
    """Who calls."""

    name: str
    roles: tuple[str, ...]


class Tokens:
    """Signs and checks tokens with one key pair."""

    def __init__(self, private_pem: bytes) -> None:
        self._jwt, serialization, _ = _libraries()
        self._private = serialization.load_pem_private_key(private_pem, password=None)
        self._public = self._private.public_key()
        self._verified: dict[str, dict[str, Any]] = {}

    @classmethod
    def open(cls, state: Path | None) -> Tokens:
        """
        Take the key pair of a state directory, made on first use (mode 0600); None: a new one.

        Raises:
            TokensUnavailable: A library is missing, or the key cannot be read or written.
        """
        if state is None:
            return cls(_new_key())
        path = state / "jwt-key.pem"
        try:
            return cls(_read_or_make(path))
        except (OSError, ValueError) as err:
            raise TokensUnavailable(f"{path}: {err}; make it readable, or remove it for a new key") from err

    def issue(
        self, user: str = "slurmsyncd", roles: Sequence[str] = ("api",), lifetime_s: float | None = None
    ) -> str:
        """Sign a token; without a lifetime it never expires."""
        now = int(time.time())
        claims: dict[str, Any] = {"sub": user, "roles": list(roles), "iat": now}
        if lifetime_s is not None:
            claims["exp"] = int(now + lifetime_s)
        return self.sign(claims)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Sign any claims, sensible or not."""
        return str(self._jwt.encode(dict(claims), self._private, algorithm="EdDSA"))

    def check(self, token: str, now: float) -> User:
        """
        Return who a token stands for at ``now`` (epoch seconds).

        Raises:
            BadToken: Malformed, of another algorithm or key, expired, not valid yet, or without a user.
        """
        claims = self._verified.get(token) or self._verify(token)
        if now > claims.get("exp", now) or now < claims.get("nbf", now):
            raise BadToken("token is expired or not valid yet")
        return User(claims["sub"], tuple(claims["roles"]))

    def _verify(self, token: str) -> dict[str, Any]:
        # Signatures cost more than a whole start; a daemon sends the same token every time.
        try:
            claims = self._jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except self._jwt.PyJWTError as err:
            raise BadToken(f"token is not valid: {err}") from err
        checked = _checked(claims)
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[token] = checked
        return checked


def _checked(claims: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise BadToken("token has no sub")
    for name in ("exp", "nbf"):
        if not isinstance(claims.get(name, 0), int | float):
            raise BadToken(f"token has a bad {name}")
    roles = claims.get("roles")
    named = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
    return {**claims, "roles": named}


def _libraries() -> tuple[Any, Any, Any]:
    """Import what signs, only where it is needed: it costs 10 MB and is an optional extra."""
    try:
        import jwt  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError as err:
        raise TokensUnavailable(
            f"the embedded backend signs tokens and {err.name} is missing: pip install 'pyjwt[crypto]'"
        ) from err
    return jwt, serialization, ed25519


def _new_key() -> bytes:
    _, serialization, ed25519 = _libraries()
    key = ed25519.Ed25519PrivateKey.generate()
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def _read_or_make(path: Path) -> bytes:
    with contextlib.suppress(FileExistsError):
        write_private(path, _new_key())
    return path.read_bytes()


def write_private(path: Path, content: bytes) -> None:
    """
    Write a new file that only we can read.

    Raises:
        FileExistsError: There is one; nothing is overwritten.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
