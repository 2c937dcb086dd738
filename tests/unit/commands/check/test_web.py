"""The findings of `check` about the files that `[web]` names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.commands.check.web import EXPIRES_S, examine_web
from slurmsyncd.config import WebConfig
from tests.unit.sinks.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def found(*, now: float | None = None, **web: Any) -> dict[str, CheckResult]:
    """Return what is found, by name."""
    texts: dict[str, Any] = {key: str(value) for key, value in web.items()}
    section = WebConfig(**texts)
    return {each.name: each for each in examine_web(section, time.time() if now is None else now)}


def password(path: Path, text: str = "secret\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_files_there_is_nothing_to_check() -> None:
    """A section that names no file leads to no line."""
    assert found() == {}


def test_a_usable_certificate_and_password_are_named(tmp_path: Path) -> None:
    """The certificate's end is shown, and the user that clients log in as."""
    cert = make_certificate(tmp_path, "localhost")
    shown = found(now=0.0, cert_file=cert, user="eve", password_file=password(tmp_path / "password"))
    assert {name: each.level for name, each in shown.items()} == dict.fromkeys(
        ("certificate", "password"), CheckLevel.OK
    )
    assert "valid until" in shown["certificate"].said
    assert "'eve'" in shown["password"].said


def test_a_certificate_that_expires_soon_deserves_attention(tmp_path: Path) -> None:
    """The test's certificate is valid for another day."""
    cert = make_certificate(tmp_path, "localhost")
    assert found(cert_file=cert)["certificate"].level is CheckLevel.WARN
    assert found(now=time.time() - EXPIRES_S, cert_file=cert)["certificate"].level is CheckLevel.OK


def _expired(folder: Path) -> dict[str, Path]:
    return {"cert_file": make_certificate(folder, "localhost", expired=True)}


def _missing(folder: Path) -> dict[str, Path]:
    return {"cert_file": folder / "nothing.pem"}


def _missing_key(folder: Path) -> dict[str, Path]:
    return {"cert_file": make_certificate(folder, "localhost"), "key_file": folder / "nothing.pem"}


def _mismatching(folder: Path) -> dict[str, Path]:
    other = folder / "other"
    other.mkdir()
    return {"cert_file": make_certificate(folder, "a"), "key_file": make_certificate(other, "b")}


def _no_certificate(folder: Path) -> dict[str, Path]:
    return {"cert_file": password(folder / "text")}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_expired, "expired"),
        (_missing, "web.cert_file"),
        (_missing_key, "web.key_file"),
        (_mismatching, "KEY_VALUES_MISMATCH"),
        (_no_certificate, "cannot be used"),
    ],
)
def test_an_unusable_certificate_fails_with_a_remedy(
    tmp_path: Path, make: Callable[[Path], dict[str, Path]], said: str
) -> None:
    """Expired, unreadable, not a certificate, or the key of another one."""
    files: dict[str, Any] = {**make(tmp_path)}
    shown = found(**files)["certificate"]
    assert (shown.level, bool(shown.remedy)) == (CheckLevel.FAIL, True)
    assert said in shown.said


def test_a_key_that_every_user_can_read_is_named(tmp_path: Path) -> None:
    """Group and owner may read it: a certificate's group often does."""
    cert = make_certificate(tmp_path, "localhost")
    cert.chmod(0o640)
    assert "key" not in found(cert_file=cert)
    cert.chmod(0o644)
    assert (found(cert_file=cert)["key"].level, "644" in found(cert_file=cert)["key"].said) == (
        CheckLevel.WARN,
        True,
    )


@pytest.mark.parametrize(
    ("text", "mode", "level"),
    [("", 0o600, CheckLevel.FAIL), ("two words", 0o600, CheckLevel.FAIL), ("secret", 0o644, CheckLevel.WARN)],
)
def test_a_password_file_is_checked_as_the_daemon_reads_it(
    tmp_path: Path, text: str, mode: int, level: CheckLevel
) -> None:
    """Empty, more than a word, or readable by others; the password itself is never shown."""
    shown = found(password_file=password(tmp_path / "password", text, mode))["password"]
    assert shown.level is level
    assert shown.remedy
    assert "secret" not in shown.said.replace(str(tmp_path), "").replace("the secret", "")


def test_a_missing_password_file_fails(tmp_path: Path) -> None:
    """No client could log in."""
    assert found(password_file=tmp_path / "nothing")["password"].level is CheckLevel.FAIL
