"""Whether hooks that are silent should be heard at all: what slurmctld says, and how often it is asked."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import structlog

from slurmsyncd.config import HookConfig
from slurmsyncd.daemon.hookwatch import HookWatch
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Job, JobState, Notification, RunKey, RunStarted, Trigger
from slurmsyncd.pipeline.announced import NotificationMonitor
from slurmsyncd.slurm.settings import SlurmSettings
from tests.paths import ROOT

pytestmark = pytest.mark.anyio

OURS = str(ROOT / "hooks" / "slurmctld-hook")


class Controllers:
    """A slurmctld, or several, with these settings."""

    cluster = "alpha"

    def __init__(self, active: str = "", **values: str) -> None:
        self.values: dict[str, str] | None = values
        self.active = active
        self.asked = 0

    async def settings(self) -> SlurmSettings:
        self.asked += 1
        if self.values is None:
            raise SourceUnavailable("slurmctld does not answer")
        return SlurmSettings(self.values, None)

    async def active_controller(self) -> str:
        return self.active


def unannounced(runs: int = 3) -> NotificationMonitor:
    """Return the hooks of a cluster of which polls saw so many starts without a hint."""
    announced = NotificationMonitor(1000.0)
    announced.note(
        [RunStarted(Job(key=RunKey("alpha", 7, 2000), state=JobState.RUNNING), Trigger.POLL)] * runs
    )
    return announced


async def silent(controllers: Controllers, announced: NotificationMonitor, **hook: Any) -> list[str]:
    await HookWatch(controllers, announced, HookConfig(**hook)).look()  # type: ignore[arg-type]
    return [each.name for each in announced.hooks if each.silent]


async def test_a_hook_that_is_configured_and_not_heard_is_silent() -> None:
    """Both forms of the setting: one value, and 24.11's list of them."""
    assert await silent(Controllers(PrologSlurmctld=OURS), unannounced()) == ["PrologSlurmctld"]
    several = {"PrologSlurmctld[0]": "/etc/slurm/prolog", "PrologSlurmctld[1]": OURS}
    assert await silent(Controllers(**several), unannounced()) == ["PrologSlurmctld"]


async def test_sites_without_our_hooks_are_left_alone() -> None:
    """No hook, a hook of the site's own, and a daemon that takes no hints: nothing is wrong."""
    for values in ({"PrologSlurmctld": "(null)"}, {}, {"PrologSlurmctld": "/etc/slurm/prolog"}):
        assert await silent(Controllers(**values), unannounced()) == []
    assert await silent(Controllers(PrologSlurmctld=OURS), unannounced(), socket="") == []


async def test_a_hook_that_was_heard_once_is_ours_whatever_it_is_called() -> None:
    """A script that calls a script that calls ours cannot be told by its text."""
    announced = NotificationMonitor(1000.0)
    announced.hear(Notification("alpha", 7, "prolog"), 1500.0)
    announced.note([RunStarted(Job(key=RunKey("alpha", 7, 2000), state=JobState.RUNNING), Trigger.POLL)] * 3)
    assert await silent(Controllers(PrologSlurmctld="/etc/slurm/prolog"), announced) == ["PrologSlurmctld"]


async def test_beside_a_standby_controller_no_hook_runs() -> None:
    """With a daemon on each controller only that of the active one is told; by TCP one daemon is always told."""
    both = {"SlurmctldHost[0]": "ctl1", "SlurmctldHost[1]": "ctl2", "PrologSlurmctld": OURS}
    here = socket.gethostname()
    assert await silent(Controllers("elsewhere", **both), unannounced()) == []
    assert await silent(Controllers(here, **both), unannounced()) == ["PrologSlurmctld"]
    by_tcp = await silent(Controllers("elsewhere", **both), unannounced(), listen=("tcp:127.0.0.1:6820",))
    assert by_tcp == ["PrologSlurmctld"]


async def test_slurmctld_is_asked_rarely_and_only_if_hints_are_missing() -> None:
    """Nobody is asked while hooks are heard; after an answer it is believed, and no answer is none."""
    controllers, announced = Controllers(), unannounced(2)
    watch = HookWatch(controllers, announced, HookConfig())  # type: ignore[arg-type]
    await watch.look()
    assert controllers.asked == 0
    announced.note([RunStarted(Job(key=RunKey("alpha", 8, 2000), state=JobState.RUNNING), Trigger.POLL)])
    controllers.values = None
    await watch.look()
    controllers.values = {"PrologSlurmctld": "(null)"}
    for _ in range(5):
        await watch.look()
    assert controllers.asked == 2


async def test_the_log_has_one_line_for_each_change() -> None:
    """Silent, and heard again."""
    announced = unannounced()
    watch = HookWatch(Controllers(PrologSlurmctld=OURS), announced, HookConfig())  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as lines:
        await watch.look()
        await watch.look()
        announced.hear(Notification("alpha", 9, "prolog"), 3000.0)
        await watch.look()
        await watch.look()
    assert [(line["event"], line["hook"]) for line in lines] == [
        ("hook_silent", "PrologSlurmctld"),
        ("hook_heard_again", "PrologSlurmctld"),
    ]
