"""How we show a NATS server who we are: read anew for each connection, so that a changed file is enough."""

from __future__ import annotations

import re
from collections import UserString
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secretfile import SIZE_LIMIT, read_secret

if TYPE_CHECKING:
    from slurmsyncd.config import SinkConfig

# nats-py never comes back from a file without these marks.
_CREDS = re.compile(
    r"BEGIN NATS USER JWT-+\r?\n[\w.-]+\r?\n.*BEGIN USER NKEY SEED-+\r?\nSU[A-Z2-7]+\r?\n",
    re.ASCII | re.DOTALL,
)
_SEED = re.compile(r"SU[A-Z2-7]{56}", re.ASCII)


def login(config: SinkConfig) -> dict[str, Any]:
    """
    Give what nats-py wants to log in with; empty where the configuration names nothing.

    Raises:
        ConfigError: A file cannot be used.
    """
    where = f"sinks.{config.name}"
    if config.password_file:
        password = read_secret(config.password_file, key=f"{where}.password_file").value
        return {"user": config.user, "password": password}
    if config.nats_token_file:
        return {"token": read_secret(config.nats_token_file, key=f"{where}.nats_token_file").value}
    if config.nkey_seed_file:
        _want_nkeys(f"{where}.nkey_seed_file")
        seed = read_secret(config.nkey_seed_file, key=f"{where}.nkey_seed_file").value
        if not _SEED.fullmatch(seed):
            raise ConfigError(
                [f"{where}.nkey_seed_file = {config.nkey_seed_file}: is no seed of a user (SU…)"]
            )
        return {"nkeys_seed_str": seed}
    if config.creds_file:
        _want_nkeys(f"{where}.creds_file")
        return {"user_credentials": UserString(_creds(config.creds_file, f"{where}.creds_file"))}
    return {}


def _want_nkeys(key: str) -> None:
    if find_spec("nkeys") is None:
        raise ConfigError([f"{key}: the package nkeys is wanted; pip install 'slurmsyncd[nkeys]'"])


def _creds(name: str, key: str) -> str:
    path = Path(name)
    try:
        with path.open("rb") as file:
            text = file.read(SIZE_LIMIT).decode("ascii")
    except OSError as err:
        raise ConfigError([f"{key} = {name}: cannot be read: {err.strerror}; create it, mode 600"]) from err
    except UnicodeDecodeError:
        text = ""
    if not _CREDS.search(text):
        raise ConfigError([f"{key} = {name}: holds no JWT with its seed; have nsc write it"])
    return text
