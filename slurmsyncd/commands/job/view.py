"""How the story of a job looks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slurmsyncd.commands.job.next_step import delivered_text, next_step_text
from slurmsyncd.console.delivery_history import show_history
from slurmsyncd.console.terminal import Colour, Styled
from slurmsyncd.model import EventKind, RunPhase
from slurmsyncd.text import counted, duration, moment, when

if TYPE_CHECKING:
    from slurmsyncd.commands.job.run import JobReport
    from slurmsyncd.config import Config
    from slurmsyncd.console.ask_slurm import Said
    from slurmsyncd.console.terminal import Terminal
    from slurmsyncd.model import Job, NodeAllocation
    from slurmsyncd.sinks.preview import Preview, PreviewRequest
    from slurmsyncd.store.queries import Delivery, RunHistory

#: Nodes that are listed one by one; and letters of a value within a body.
NODES, VALUE = 8, 200
_GUESSED = "note: the backend's topology is not known here; its hardware threads and GPUs may be other ones"


def show(tale: JobReport, config: Config, terminal: Terminal) -> None:
    """Tell it to people."""
    if not tale.runs:
        terminal.print_line(Styled(f"nothing is known of job {tale.job_id}", Colour.WARN))
        for line in tale.silence:
            terminal.print_line(f"- {line}", indent=2)
    made = {each.key: each.sinks for each in tale.previews}
    for number, story in enumerate(tale.runs, 1):
        if number > 1:
            terminal.print_line("")
        which = f", run {number} of {len(tale.runs)}" if len(tale.runs) > 1 else ""
        key = story.key
        begun = when(key.start_at, tale.now)
        head = f"job {key.job_id} of {key.cluster}{which}, begun {begun}: {_end(story)}"
        terminal.print_line(Styled(head, Colour.STRONG))
        _show_run(story, tale.now, terminal)
        _show_sinks(story, made.get(key, ()), tale, config, terminal)
    for said in tale.slurm or ():
        _show_slurm(said, tale.now, terminal)


def _show_run(story: RunHistory, now: float, terminal: Terminal) -> None:
    if story.start is None:
        terminal.print_line(
            Styled("the record of its start is damaged, or was given up", Colour.BAD), indent=2
        )
    else:
        _show_who(story.start, terminal)
    _show_seen(story, now, terminal)
    if story.start is not None:
        _show_captured(story, story.start, terminal)


def _show_sinks(
    story: RunHistory, made: tuple[Preview, ...], tale: JobReport, config: Config, terminal: Terminal
) -> None:
    sinks = {each.sink: each for each in made}
    for delivery in story.deliveries:
        _show_delivery(delivery, sinks.pop(delivery.sink, None), tale, config, terminal)
    for name in sinks:
        terminal.print_line(Styled(f"sink {name}", Colour.STRONG), indent=2)
        terminal.print_line(
            "was not there yet when this run was written down: it is not told of it", indent=4
        )


def _end(story: RunHistory) -> str:
    if story.phase is RunPhase.STARTED:
        return "it runs"
    if story.stop is None or story.stop.end_at is None:
        return "it has ended"
    lasted = duration(story.stop.end_at - story.key.start_at)
    return f"{story.stop.state.value}, after {lasted}"


def _show_who(job: Job, terminal: Terminal) -> None:
    parts = {
        "user": job.user,
        "account": job.account,
        "partition": job.partition,
        "QOS": job.qos,
        "name": job.name,
    }
    words = [f"{label} {value}" for label, value in parts.items() if value]
    if job.array_job_id is not None:
        task = "" if job.array_task_id is None else f"task {job.array_task_id} "
        words.append(f"{task}of array {job.array_job_id}")
    if job.het_job_id is not None:
        words.append(f"component {job.het_offset or 0} of heterogeneous job {job.het_job_id}")
    if job.restarts:
        words.append(counted(job.restarts, "restart"))
    terminal.print_line(", ".join(words), indent=2)


def _show_seen(story: RunHistory, now: float, terminal: Terminal) -> None:
    late = duration(story.started_seen_at - story.key.start_at)
    by = _how(story.started_by)
    terminal.print_line(
        f"seen      start {when(story.started_seen_at, now)}, {by}, {late} after it began", indent=2
    )
    if story.stopped_seen_at is not None:
        by = _how(story.stopped_by or "")
        ended_at = None if story.stop is None else story.stop.end_at
        after = "" if ended_at is None else f", {duration(story.stopped_seen_at - ended_at)} after it ended"
        terminal.print_line(f"          end {when(story.stopped_seen_at, now)}, {by}{after}", indent=2)


def _how(trigger: str) -> str:
    return {"hook": "by a hint of the hook", "poll": "by the poll"}.get(trigger, trigger)


def _show_captured(story: RunHistory, job: Job, terminal: Terminal) -> None:
    if job.allocation is None:
        terminal.print_line(Styled(f"captured  {_not_captured(story)}", Colour.WARN), indent=2)
        if job.nodes:
            terminal.print_line(
                f"          hosts: {', '.join(job.nodes[:NODES])}{_more(len(job.nodes))}", indent=2
            )
        return
    cores = sum(len(node.cores) for node in job.allocation)
    gpus = sum(gres.count for node in job.allocation for gres in node.gres if gres.name == "gpu")
    memory = sum(node.memory_mib or 0 for node in job.allocation)
    words = [counted(len(job.allocation), "host"), counted(cores, "core"), counted(gpus, "GPU")]
    terminal.print_line(f"captured  {', '.join(words)}, {memory:,} MiB of memory", indent=2)
    for node in job.allocation[:NODES]:
        terminal.print_line(f"          {node.host}: {_held(node)}", indent=2)
    if len(job.allocation) > NODES:
        terminal.print_line(f"          {_more(len(job.allocation))}", indent=2)


def _not_captured(story: RunHistory) -> str:
    gone = "the allocation (cores, GPUs) was not captured: "
    ended_at = None if story.stop is None else story.stop.end_at
    if ended_at is not None and story.started_seen_at >= ended_at:
        late = duration(story.started_seen_at - ended_at)
        return f"{gone}it was first seen {late} after it had ended, in accounting, which does not keep it"
    return f"{gone}slurmctld no longer knew it when it was asked"


def _more(number: int) -> str:
    return f" and {number - NODES:,} more (all with --json)" if number > NODES else ""


def _held(node: NodeAllocation) -> str:
    words = []
    if node.cores:
        words.append(
            "cores (socket:core) " + " ".join(f"{socket}:{core}" for socket, core in node.cores[:64])
        )
    for gres in node.gres:
        kind = f"{gres.name} {gres.type}" if gres.type else gres.name
        which = f" ({', '.join(map(str, gres.indexes))})" if gres.indexes else ""
        words.append(f"{gres.count} {kind}{which}")
    if node.memory_mib is not None:
        words.append(f"{node.memory_mib:,} MiB")
    return ", ".join(words) or "nothing in detail"


def _show_delivery(
    delivery: Delivery, made: Preview | None, tale: JobReport, config: Config, terminal: Terminal
) -> None:
    terminal.print_line(Styled(f"sink {delivery.sink}", Colour.STRONG), indent=2)
    if made is not None and made.left_out:
        terminal.print_line(f"not sent: {made.left_out}", indent=4)
    for line in delivered_text(delivery, tale.now):
        terminal.print_line(line, indent=4)
    sink = config.sinks.get(delivery.sink)
    others = [each for story in tale.runs for each in story.deliveries]
    text, fine = next_step_text(delivery, sink, tale.now, running=tale.running, others=others)
    terminal.print_line(Styled(f"next: {text}", None if fine else Colour.WARN), indent=4)
    show_history(delivery, tale.now, terminal, indent=4)
    if made is None:
        return
    for sending in made.steps:
        _show_sending(sending, terminal)
        if made.guessed and sending.step is EventKind.START and not sending.refusal:
            terminal.print_line(Styled(_GUESSED, Colour.WARN), indent=6)


def _show_sending(sending: PreviewRequest, terminal: Terminal) -> None:
    step = "start" if sending.step is EventKind.START else "stop"
    if sending.refusal:
        terminal.print_line(Styled(f"{step} cannot be made: {sending.refusal}", Colour.BAD), indent=4)
        return
    terminal.print_line(f"{step}, to {sending.where}:", indent=4)
    for line in _pretty(sending.body):
        terminal.print_line(Styled(line, Colour.DIM), indent=6)
    for note in sending.notes:
        terminal.print_line(f"note: {note}", indent=6)


def _pretty(body: str) -> list[str]:
    """Return a body in lines; long values are cut, which only --json has whole."""
    try:
        value = json.loads(body)
    except ValueError:
        return [line[: 4 * VALUE] for line in body.splitlines()]
    if not isinstance(value, dict):
        return [body[: 4 * VALUE]]
    return [f"{name}: {_short(inner)}" for name, inner in value.items()]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(inner)}" for name, inner in value.items()) + "}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE else f"{text[:VALUE]}… ({len(text):,} characters, all with --json)"


def _show_slurm(said: Said, now: float, terminal: Terminal) -> None:
    terminal.print_line("")
    terminal.print_line(Styled(f"what Slurm of {said.cluster} says now", Colour.STRONG))
    for trouble in said.trouble:
        terminal.print_line(Styled(trouble, Colour.BAD), indent=2)
    for who, jobs in (("slurmctld", said.controller), ("accounting", said.accounting)):
        if jobs is None:
            terminal.print_line(Styled(f"{who}: no answer", Colour.BAD), indent=2)
        elif not jobs:
            terminal.print_line(f"{who}: knows no run of it", indent=2)
        for job in jobs or ():
            terminal.print_line(f"{who}: {_said(job, now)}", indent=2)


def _said(job: Job, now: float) -> str:
    begun = f"begun {moment(job.key.start_at, now)}" if job.key.start_at > 0 else "not begun"
    ended = f", ended {moment(job.end_at, now)}" if job.end_at else ""
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    hosts = f", on {', '.join(job.nodes[:NODES])}{_more(len(job.nodes))}" if job.nodes else ""
    return f"{job.state.value}, {begun}{ended}{code}{hosts}"
