"""What slurm.conf has to say for all of this to work, judged from ``scontrol show config``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.check.result import CheckLevel, CheckResult, compare_clocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.slurm.settings import SlurmSettings

AREA: Final = "slurm"
TESTED: Final = ((22, 5), (24, 11), (26, 5))
_VERSION: Final = re.compile(r"([0-9]{2})\.([0-9]{1,2})", re.ASCII)
_SEES_ALL: Final = frozenset({"operator", "administrator"})
#: Seconds; less is the network's and ours.
_CLOCKS_APART_S: Final = 5.0


def assess_release(text: str) -> CheckResult:
    """Return whether a release (``slurm 24.11.5``) is one that was tested."""
    found = _VERSION.search(text)
    shown = text.strip()[:60]
    if found is None:
        return _release(
            CheckLevel.WARN, f"no release in {shown!r}", "set slurm.bin_dir to Slurm's own commands"
        )
    release = (int(found[1]), int(found[2]))
    if release in TESTED:
        return _release(CheckLevel.OK, f"{shown}: tested")
    if release < TESTED[0]:
        return _release(
            CheckLevel.FAIL, f"{shown}: too old", "22.05 is the oldest release that is understood"
        )
    if release < TESTED[-1]:
        return _release(CheckLevel.NOTE, f"{shown}: best effort, between releases that are tested")
    return _release(
        CheckLevel.WARN,
        f"{shown}: unknown, younger than this program",
        "look at `slurmsyncd status` for records that were set aside, and report it",
    )


def _release(level: CheckLevel, said: str, remedy: str = "") -> CheckResult:
    return CheckResult(AREA, "release", level, said, remedy)


def assess_settings(
    settings: SlurmSettings, *, poll_s: float, gpus: bool, now: float
) -> Iterator[CheckResult]:
    """
    Judge what slurmctld is set to.

    Args:
        settings: Its settings.
        poll_s: daemon.poll_interval.
        gpus: Some node has GPUs.
        now: Our clock when it answered (epoch seconds).
    """
    yield _accounting(settings)
    yield _memory(settings, poll_s)
    if gpus:
        yield _tracked(settings)
    yield _clock(settings, now)


def _accounting(settings: SlurmSettings) -> CheckResult:
    kind = settings.get("AccountingStorageType")
    if kind == "accounting_storage/slurmdbd":
        return CheckResult(AREA, "accounting", CheckLevel.OK, f"accounting goes to slurmdbd ({kind})")
    return CheckResult(
        AREA,
        "accounting",
        CheckLevel.FAIL,
        f"AccountingStorageType = {kind or '(not set)'}: ends of jobs are not kept",
        "set AccountingStorageType=accounting_storage/slurmdbd in slurm.conf and run a slurmdbd",
    )


def _memory(settings: SlurmSettings, poll_s: float) -> CheckResult:
    age_s = settings.seconds("MinJobAge")
    if age_s is None:
        return CheckResult(AREA, "min_job_age", CheckLevel.NOTE, "slurmctld does not say its MinJobAge")
    said = f"slurmctld remembers a job {age_s} s after its end (MinJobAge); polls every {poll_s:g} s"
    if age_s == 0 or age_s >= poll_s + 10:
        return CheckResult(AREA, "min_job_age", CheckLevel.OK, said)
    return CheckResult(
        AREA,
        "min_job_age",
        CheckLevel.WARN,
        f"{said}: cores and GPUs of jobs that come and go between two polls are not seen",
        f"set MinJobAge to {int(poll_s) + 60} or more in slurm.conf, or lower daemon.poll_interval",
    )


def _tracked(settings: SlurmSettings) -> CheckResult:
    tres = settings.get("AccountingStorageTRES").split(",")
    if any(each == "gres/gpu" or each.startswith("gres/gpu:") for each in tres):
        return CheckResult(AREA, "gpu_tres", CheckLevel.OK, "accounting keeps GPUs (AccountingStorageTRES)")
    return CheckResult(
        AREA,
        "gpu_tres",
        CheckLevel.WARN,
        "there are GPUs, and AccountingStorageTRES lacks gres/gpu: a run that was not seen while it ran is "
        "sent without its GPUs",
        "add gres/gpu to AccountingStorageTRES in slurm.conf",
    )


def _clock(settings: SlurmSettings, now: float) -> CheckResult:
    if settings.server_time is None:
        return CheckResult(AREA, "clock", CheckLevel.NOTE, "slurmctld does not tell its time")
    return compare_clocks(AREA, "slurmctld", now - settings.server_time, _CLOCKS_APART_S)


def assess_permission(me: str, level: str, *, hidden: str, scripts: bool) -> CheckResult:
    """
    Judge whether a user sees all that the daemon asks for.

    Args:
        me: The user.
        level: What ``sacctmgr show user`` calls the admin level; empty if it knows no such user.
        hidden: The file that hides jobs from who is no operator (``PrivateData``); empty: none does.
        scripts: Batch scripts are asked for (``slurm.job_script``).
    """
    if level.lower() in _SEES_ALL:
        return CheckResult(AREA, "permission", CheckLevel.OK, f"{me} is {level} and sees everybody's jobs")
    remedy = ("" if level else f"sacctmgr -i add user {me} account=root; ") + (
        f"sacctmgr -i modify user {me} set adminlevel=operator"
    )
    if hidden:
        said = f"{me} is no operator, and PrivateData in {hidden} hides other users' jobs"
        return CheckResult(AREA, "permission", CheckLevel.FAIL, said, remedy)
    if scripts:
        said = f"{me} is no operator: other users' batch scripts (slurm.job_script) cannot be read"
        return CheckResult(AREA, "permission", CheckLevel.WARN, said, remedy)
    said = f"{me} sees everybody's jobs: no PrivateData hides them, so no operator is needed"
    return CheckResult(AREA, "permission", CheckLevel.OK, said)
