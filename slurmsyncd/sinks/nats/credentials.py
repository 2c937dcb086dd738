"""The credentials of a NATS sink, read for each connection, so that a changed file needs no restart."""

from __future__ import annotations

import json
import re
from collections import UserString
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secret_file import read_private, read_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.config import SinkConfig

log = structlog.get_logger(__name__)

# nats-py never comes back from a file without these marks.
_CREDS = re.compile(
    r"BEGIN NATS USER JWT-+\r?\n[\w.-]+\r?\n.*BEGIN USER NKEY SEED-+\r?\nSU[A-Z2-7]+\r?\n",
    re.ASCII | re.DOTALL,
)
_SEED = re.compile(r"SU[A-Z2-7]{56}", re.ASCII)


class Credentials:
    """
    The credentials with which a sink logs in.

    Args:
        config: Section of the sink.
    """

    def __init__(self, config: SinkConfig) -> None:
        self._config = config
        self._said: set[str] = set()

    def read(self) -> dict[str, Any]:
        """
        Return the login options of nats-py; empty if the configuration names no credentials.

        Raises:
            ConfigError: A file cannot be read, or does not contain valid credentials.
        """
        config = self._config
        if config.password_file:
            return {"user": config.user, "password": self._secret("password_file")}
        if config.nats_token_file:
            return {"token": self._secret("nats_token_file")}
        if config.nkey_seed_file:
            return {"nkeys_seed_str": self._seed()}
        if config.creds_file:
            return {"user_credentials": UserString(self._creds())}
        return {}

    def _secret(self, key: str) -> str:
        found = read_secret(getattr(self._config, key), key=self._where(key))
        self._warn(found.warning)
        return found.value

    def _seed(self) -> str:
        where = self._where("nkey_seed_file")
        _want_nkeys(where)
        seed = self._secret("nkey_seed_file")
        if not _SEED.fullmatch(seed):
            raise ConfigError([f"{where}: the file holds no seed of a user (SU…)"])
        return seed

    def _creds(self) -> str:
        where = self._where("creds_file")
        _want_nkeys(where)
        content, path, warning = read_private(self._config.creds_file, key=where)
        self._warn(warning)
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError:
            text = ""
        if not _CREDS.search(text):
            raise ConfigError([f"{where} = {path}: holds no JWT with its seed; have nsc write it"])
        return text

    def _where(self, key: str) -> str:
        return f"sinks.{self._config.name}.{key}"

    def _warn(self, detail: str) -> None:
        """Log each warning once, and not for each connection."""
        if detail and detail not in self._said:
            self._said.add(detail)
            log.warning("secret_file", sink=self._config.name, detail=detail)


def redact(text: str, secrets: Mapping[str, Any]) -> str:
    """Remove the secrets of ``Credentials.read`` from a server's error text, which may repeat them."""
    told = [str(value) for key, value in secrets.items() if key != "user"]
    lines = {line for each in told for line in each.splitlines() if line}
    forms = lines | {json.dumps(line)[1:-1] for line in lines}
    # nats-py converts error texts of a server to lower case.
    for form in sorted(forms | {form.lower() for form in forms}, key=len, reverse=True):
        text = text.replace(form, "[secret]")
    return text


def _want_nkeys(key: str) -> None:
    if find_spec("nkeys") is None:
        raise ConfigError([f"{key}: the package nkeys is missing; pip install nkeys"])
