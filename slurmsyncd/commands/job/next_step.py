"""What a delivery has come to, and what happens next with it, in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.delivery import OVERTAKEN, REPEAT
from slurmsyncd.model import EventKind
from slurmsyncd.reasons import meaning
from slurmsyncd.text import counted, when

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.config import SinkConfig
    from slurmsyncd.store.queries import Delivery


def delivered_text(delivery: Delivery, now: float) -> Iterator[str]:
    """Return what the sink has taken."""
    if delivery.reason == "ignored_hosts":
        yield "not sent: it ran only on ignored hosts (ignore_hosts)"
        return
    if delivery.acked_at is not None:
        yield f"start: taken {when(delivery.acked_at, now)}"
    if delivery.state == "done":
        yield f"stop: taken {when(delivery.waiting_since, now)}"


def next_step_text(
    delivery: Delivery,
    sink: SinkConfig | None,
    now: float,
    *,
    running: bool,
    others: Iterable[Delivery] = (),
) -> tuple[str, bool]:
    """
    Return what happens next, and whether that is as it should be.

    Args:
        delivery: One run at one sink.
        sink: Its section, None if that is gone.
        now: Epoch seconds.
        running: The daemon runs.
        others: Deliveries of other runs of the job id.
    """
    step = delivery.step.value
    if sink is None and delivery.state in ("ready", "parked", "idle"):
        return f"nothing: [sinks.{delivery.sink}] is not configured any more", False
    match delivery.state:
        case "done":
            return "nothing, it knows all of this run", True
        case "idle":
            return "its stop, once it has ended", True
        case "dropped" if delivery.reason in (REPEAT, OVERTAKEN):
            return f"nothing: {meaning(delivery.reason)[0]} (requeue)", True
        case "dropped":
            return f"nothing, its {step} was given up ({delivery.reason or 'by hand'})", False
        case "dead":
            means, do = meaning(delivery.reason)
            why = delivery.reason + (means and f", {means}")
            return (
                f"nothing by itself, its {step} was refused for good ({why}); do: {do or 'retry or drop it'}",
                False,
            )
        case "parked":
            means, do = meaning(delivery.reason)
            why = delivery.reason + (means and f", {means}")
            return (
                f"its {step} again {_due(delivery, now, running=running)} ({why}); do: {do or 'see its log'}",
                False,
            )
    if earlier := _waits_for(delivery, others):
        begun = when(earlier.key.start_at, now)
        return f"its {step}, after the start of the run that began {begun}: one job id goes in order", True
    return _ready(delivery, sink, now, running=running)


def _waits_for(delivery: Delivery, others: Iterable[Delivery]) -> Delivery | None:
    """Return an earlier run whose start is to be told first, as the store's queue has it."""
    key = delivery.key
    earlier = (
        each
        for each in others
        if (each.sink, each.key.cluster, each.step) == (delivery.sink, key.cluster, EventKind.START)
        and each.due_at is not None
        and each.key.start_at < key.start_at
    )
    return next(earlier, None) if delivery.step is EventKind.START else None


def _ready(delivery: Delivery, sink: SinkConfig | None, now: float, *, running: bool) -> tuple[str, bool]:
    due = _due(delivery, now, running=running)
    if delivery.failing_since is not None:
        failed = counted(delivery.attempts, "attempt")
        return (
            f"its {delivery.step.value} again {due}, after {failed} ({delivery.reason}: {delivery.detail})",
            False,
        )
    held = delivery.step is EventKind.STOP and delivery.due_at is not None and delivery.due_at > now
    if held and sink is not None:
        return f"its stop {due}: not before the backend has committed the start", True
    return f"its {delivery.step.value} {due}", True


def _due(delivery: Delivery, now: float, *, running: bool) -> str:
    if not running:
        return "once the daemon runs"
    if delivery.due_at is None or delivery.due_at <= now:
        return "at once, or as soon as the sink takes runs"
    return f"at {when(delivery.due_at, now)}"
