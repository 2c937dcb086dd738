"""Secrets from files and systemd credentials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secret_file import read_secret

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-0123456789abcdef"


def secret_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> str:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_x9_reads_one_word_without_the_newline(tmp_path: Path) -> None:
    """White space around the secret does not belong to it; a link to the file is as good as the file."""
    path = secret_file(tmp_path, f" {CANARY}\r\n".encode())
    (tmp_path / "link").symlink_to(path)
    assert read_secret(str(tmp_path / "link"), key="k").value == CANARY


def test_x9_reads_a_systemd_credential_by_name(tmp_path: Path) -> None:
    """A name without a slash is looked up where systemd put the credentials."""
    secret_file(tmp_path, CANARY.encode(), 0o440)
    found = read_secret("token", key="k", environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (found.value, found.warning) == (CANARY, "")
    with pytest.raises(ConfigError, match="LoadCredential=token:"):
        read_secret("token", key="k", environ={})


def test_x8_no_repr_shows_it(tmp_path: Path) -> None:
    """Printing the secret's value object shows where it is from, not what it is."""
    assert CANARY not in repr(read_secret(secret_file(tmp_path, CANARY.encode()), key="k"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602])
def test_x9_warns_of_a_file_that_others_can_read(mode: int, tmp_path: Path) -> None:
    """An exposed file is used, with a warning that says what to do."""
    found = read_secret(secret_file(tmp_path, CANARY.encode(), mode), key="k")
    assert found.value == CANARY
    assert f"mode {mode:o}" in found.warning
    assert found.warning.endswith("chmod 600 it")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to give a file to somebody else")
def test_x9_warns_of_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can read and change it; root reads the file of a daemon that runs as another user."""
    path = secret_file(tmp_path, CANARY.encode())
    os.chown(path, 65534, -1)
    assert read_secret(path, key="k").warning == ""
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert "belongs to uid 65534" in read_secret(path, key="k").warning


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (f"{CANARY}\n{CANARY}\n".encode(), "not one word"),
        (b"\xff" + CANARY.encode(), "not one word"),
        (CANARY.encode() + b"\x00", "not one word"),
        (CANARY.encode() * 10_000, "not one word"),
        (CANARY[:9].encode(), "too short; at least 16"),
    ],
)
def test_x8_x9_refuses_what_is_no_secret_without_showing_it(
    content: bytes, wrong: str, tmp_path: Path
) -> None:
    """The message names the setting and the file, and nothing of what is in it."""
    path = secret_file(tmp_path, content)
    with pytest.raises(ConfigError, match=wrong) as caught:
        read_secret(path, key="hook.secret_file", minimum=16)
    assert str(caught.value).startswith(f"hook.secret_file = {path}: ")
    assert CANARY[:9] not in str(caught.value)


@pytest.mark.parametrize("name", [CANARY, f"{CANARY[:8]}/{CANARY[8:]}"])
@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": "/nonexistent"}], ids=["none", "some"])
def test_x8_a_secret_in_the_place_of_its_file_is_not_shown(name: str, environ: dict[str, str]) -> None:
    """Who writes the secret where its file's name belongs is told which setting it is, and nothing more."""
    with pytest.raises(ConfigError) as caught:
        read_secret(name, key="hook.secret_file", environ=environ)
    assert str(caught.value).startswith("hook.secret_file: ")
    assert not any(part in str(caught.value) for part in (CANARY[:8], CANARY[8:]))


def test_x9_refuses_what_is_no_file(tmp_path: Path) -> None:
    """A missing file, a directory or a pipe is named at once, with nothing waited for."""
    os.mkfifo(tmp_path / "pipe")
    for name, wrong in [("gone", "create it"), (".", "is no file"), ("pipe", "is no file")]:
        with pytest.raises(ConfigError, match=wrong):
            read_secret(f"{tmp_path}/{name}", key="k")
