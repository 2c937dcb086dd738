"""Whether slurmctld's hooks announce the starts and ends that polls see. The clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.model import RunStarted, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.model import Event, Notification

#: A hint's context → the setting of slurm.conf that names the hook.
HOOKS: Final = {"prolog": "PrologSlurmctld", "epilog": "EpilogSlurmctld"}
#: Runs without a hint, one after the other, that make a hook silent: of fewer the hints may have been lost.
SILENT_RUNS: Final = 3
#: Seconds after a hint in which others may be lost in the same burst, or clocks differ.
_MARGIN_S: Final = 30.0


@dataclass(slots=True)
class HookRecord:
    """
    What is known of one hook of one cluster.

    Attributes:
        name: Its setting in slurm.conf.
        since: When its last hint came, or this began (epoch seconds).
        heard: Whether a hint came since this began.
        expected: Whether slurmctld is set to run it and its hints should come here.
        unannounced: Starts (or ends) that polls saw and that lie after the last hint.
    """

    name: str
    since: float
    heard: bool = False
    expected: bool = False
    unannounced: int = 0

    @property
    def suspect(self) -> bool:
        """Whether it is silent if hints of it are expected."""
        return self.unannounced >= SILENT_RUNS

    @property
    def silent(self) -> bool:
        """Whether hints of it are expected and do not come."""
        return self.expected and self.suspect


class NotificationMonitor:
    """
    The hooks of one cluster.

    A run counts by Slurm's time of its start or end, not by when it was seen: what began and ended before
    the daemon did, or while hints came, says nothing of the hooks, however late accounting has it.

    Args:
        now: Epoch seconds.
    """

    def __init__(self, now: float) -> None:
        self._hooks = {context: HookRecord(name, now) for context, name in HOOKS.items()}

    @property
    def hooks(self) -> tuple[HookRecord, ...]:
        """All hooks."""
        return tuple(self._hooks.values())

    def hear(self, hint: Notification, now: float) -> None:
        """Take a hint that came in."""
        if (hook := self._hooks.get(hint.context)) is not None:
            hook.since, hook.heard, hook.unannounced = now, True, 0

    def note(self, events: Iterable[Event]) -> None:
        """Count of the events recorded those that polls led to and that a hook should have announced."""
        for event in events:
            key, end_at = event.job.key, event.job.end_at
            context, at = ("prolog", key.start_at) if isinstance(event, RunStarted) else ("epilog", end_at)
            hook = self._hooks[context]
            margin_s = _MARGIN_S if hook.heard else 0.0
            if event.trigger is Trigger.POLL and at is not None and at > hook.since + margin_s:
                hook.unannounced += 1
