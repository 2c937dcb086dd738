"""What the tool nsc would make: NKeys, and the JWTs of an operator, an account and a user."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from typing import Any

import nkeys  # type: ignore[import-untyped]


def new_key(prefix: int) -> nkeys.KeyPair:
    """Make a key pair of a kind: nkeys.PREFIX_BYTE_USER and its like."""
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def public(pair: nkeys.KeyPair) -> str:
    return str(pair.public_key, "ascii")


def seed(pair: nkeys.KeyPair) -> str:
    return str(pair.seed, "ascii")


def jwt(subject: str, issuer: nkeys.KeyPair, name: str, nats: dict[str, Any]) -> str:
    """Sign claims in NATS's form of a JWT, version 2."""
    claims = {
        "iat": int(time.time()),
        "iss": public(issuer),
        "name": name,
        "sub": subject,
        "nats": {**nats, "version": 2},
    }
    digest = hashlib.sha256(json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    head = _encoded({"typ": "JWT", "alg": "ed25519-nkey"})
    signed = f"{head}.{_encoded(claims)}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def creds(token: str, pair: nkeys.KeyPair) -> str:
    """Return a creds file as nsc writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed(pair)}\n------END USER NKEY SEED------\n"
    )


def _encoded(claims: dict[str, Any]) -> str:
    return _base64(json.dumps(claims, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
