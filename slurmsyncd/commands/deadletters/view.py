"""How dead letters look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.console.delivery_history import show_history
from slurmsyncd.console.terminal import Colour, Styled
from slurmsyncd.reasons import meaning
from slurmsyncd.text import age, counted, moment, when

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurmsyncd.console.terminal import Terminal
    from slurmsyncd.store.queries import Delivery, DeliveryGroup

_STATES = {"dead": "dead letter", "parked": "parked delivery", "dropped": "dropped delivery"}
_PLURALS = {"dead": "dead letters", "parked": "parked deliveries", "dropped": "dropped deliveries"}


def show_groups(
    groups: Sequence[DeliveryGroup],
    examples: Mapping[int, Delivery],
    state: str,
    now: float,
    terminal: Terminal,
) -> None:
    """Show what stands alike for one reason, together."""
    if not groups:
        terminal.print_line(f"no {_PLURALS[state]}")
        return
    total = sum(group.count for group in groups)
    terminal.print_line(Styled(counted(total, _STATES[state], _PLURALS[state]), Colour.STRONG))
    rows = [
        (
            group.sink,
            group.step.value,
            Styled(group.reason or "no reason", Colour.WARN),
            group.count,
            age(group.oldest_at, now),
            age(group.newest_at, now),
            _example(examples.get(group.example)),
        )
        for group in groups
    ]
    terminal.table(rows, ("sink", "step", "reason", "runs", "oldest", "newest", "e.g."))
    for reason in dict.fromkeys(group.reason for group in groups):
        means, do = meaning(reason)
        if means:
            terminal.print_line("")
            terminal.print_line(f"{reason}: {means}")
            terminal.print_line(f"do: {do}", indent=2)


def _example(letter: Delivery | None) -> str:
    if letter is None:
        return ""
    said = f": {letter.detail}" if letter.detail else ""
    return f"{letter.id}, job {letter.key.job_id} of {letter.key.cluster}{said}"


def show_letters(letters: Sequence[Delivery], wanted: int, now: float, terminal: Terminal) -> None:
    """Show each with its history."""
    if not letters:
        terminal.print_line(f"{wanted} is neither a dead letter nor a job that has one")
    for number, letter in enumerate(letters):
        if number:
            terminal.print_line("")
        _show(letter, now, terminal)


def _show(letter: Delivery, now: float, terminal: Terminal) -> None:
    key = letter.key
    means, do = meaning(letter.reason)
    terminal.print_line(
        Styled(f"{_STATES.get(letter.state, letter.state)} {letter.id}", Colour.STRONG),
        f": the {letter.step.value} of job {key.job_id} of {key.cluster}, begun {moment(key.start_at, now)},"
        f" for sink {letter.sink}",
    )
    terminal.print_line(f"reason: {letter.reason}{means and f': {means}'}", indent=2)
    if letter.detail:
        terminal.print_line(f"it said: {letter.detail}", indent=2)
    if letter.due_at is not None:
        terminal.print_line(f"next attempt: {when(letter.due_at, now)}", indent=2)
    if do:
        terminal.print_line(f"do: {do}", indent=2)
    show_history(letter, now, terminal)
    terminal.print_line(f"all of it, with the body: slurmsyncd job {key.job_id}", indent=2)
