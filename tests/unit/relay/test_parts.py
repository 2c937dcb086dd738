"""What the parts of a relay decide, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.commands.relay.command import choose
from slurmsyncd.config import Config, load_config
from slurmsyncd.delivery import DeadLetter, Delivered, Park, ResendStart, Retry
from slurmsyncd.errors import ConfigError, StoreError
from slurmsyncd.model import EventKind, OutboxEntry
from slurmsyncd.relay.dead_letter_file import DeadLetterFile
from slurmsyncd.relay.decode import StreamMessage, parse_message
from slurmsyncd.relay.in_flight import MOST, Ack, AckKind, Capacity, InFlight
from tests.unit.sinks.parts import START, entry, job

if TYPE_CHECKING:
    from pathlib import Path

SHORT = "$JS.ACK.JOBS.relay.3.17.20.1700000000500000000.4"
REPLIES = [
    SHORT,
    "$JS.ACK.hub.ACCOUNT.JOBS.relay.3.17.20.1700000000500000000.4",
    "$JS.ACK._.ACCOUNT.JOBS.relay.3.17.20.1700000000500000000.4.token",
]


def message(seq: int = 1, body: bytes = b"{}") -> StreamMessage:
    return StreamMessage(
        seq=seq, delivery_count=1, stored_at=0.0, reply="", subject="slurm.demo.job", body=body
    )


def held(
    step: EventKind = EventKind.START, *, ended: bool = False
) -> tuple[InFlight, list[Ack], OutboxEntry]:
    """Return a hand with one message in it."""
    answers: list[Ack] = []
    hand = InFlight(answers.append)
    taken = OutboxEntry(id=1, sink="cc", kind=step, start=job(), stop=job() if ended else None)
    hand.add(message(), taken)
    return hand, answers, taken


@pytest.mark.parametrize("reply", REPLIES)
def test_the_streams_word_on_a_message_is_read(reply: str) -> None:
    """In the form of old servers, and in that of newer ones with domain and account."""
    found = parse_message("slurm.demo.job", reply, b"x")
    assert found is not None
    assert (found.delivery_count, found.seq, found.stored_at, found.reply) == (3, 17, 1_700_000_000.5, reply)


@pytest.mark.parametrize("reply", ["", "_INBOX.a.1", "$JS.ACK.a.b", SHORT.replace("17", "x"), SHORT + ".1"])
def test_what_is_no_message_of_a_stream_is_none(reply: str) -> None:
    """The end of a pull, and whatever else somebody sends to our inbox."""
    assert parse_message("slurm.demo.job", reply, b"") is None


def test_a_verdict_settles_puts_off_or_keeps_a_message() -> None:
    """Far attempts go back to the stream with their delay; near ones, and a backend in trouble, wait here."""
    for verdict, wanted in (
        (Delivered(0.0, 0.0, ""), (AckKind.SETTLED, 0.0)),
        (Retry(60.0, "", ""), (AckKind.LATER, 60.0)),
        (Park(3600.0, "", ""), (AckKind.LATER, 3600.0)),
        (DeadLetter("why", ""), (AckKind.DEAD, 0.0)),
    ):
        hand, answers, taken = held()
        hand.settle([(taken, verdict)], 0.0)
        assert [(each.kind, each.delay_s) for each in answers] == [wanted]
        assert not len(hand)
        hand.settle([(taken, verdict)], 0.0)
        assert len(answers) == 1
    for kept in (Retry(2.0, "", ""), Retry(300.0, "", "", charged=False)):
        hand, answers, taken = held()
        hand.settle([(taken, kept)], 0.0)
        assert not answers
        assert not hand.due("cc", EventKind.START, 0.0, 10)
        assert hand.next_due_at("cc", EventKind.START, 0.0) == kept.at


@pytest.mark.parametrize("newest_first", [False, True])
def test_j1_of_one_job_id_the_earliest_start_that_is_held_goes_first(*, newest_first: bool) -> None:
    """Whatever the order in the stream; the others do not wait for it, and neither do stops."""
    hand = InFlight(lambda _: None)
    runs = [job(1, START + 500), job(1), job(2, START + 900), job(1)]
    for seq, run in enumerate(runs, 1):
        step = EventKind.STOP if seq == 4 else EventKind.START
        hand.add(message(seq), OutboxEntry(id=seq, sink="cc", kind=step, start=run, stop=run))

    def due(*in_flight: int) -> set[int]:
        found = hand.due("cc", EventKind.START, 0.0, 9, in_flight, newest_first=newest_first)
        return {each.id for each in found}

    assert due() == {2, 3}
    assert due(2) == {3}
    assert [each.id for each in hand.due("cc", EventKind.STOP, 0.0, 9)] == [4]
    hand.settle(
        [(OutboxEntry(id=2, sink="cc", kind=EventKind.START, start=runs[1]), DeadLetter("http_400", ""))], 0.0
    )
    assert due() == {1, 3}


def test_a_stop_without_its_start_becomes_that_start_and_then_a_stop_again() -> None:
    """It is settled only by the stop."""
    hand, answers, taken = held(EventKind.STOP, ended=True)
    hand.settle([(taken, ResendStart(0.0, ""))], 0.0)
    (start,) = hand.due("cc", EventKind.START, 0.0, 10)
    hand.settle([(start, Delivered(0.0, 1.0, ""))], 0.0)
    (stop,) = hand.due("cc", EventKind.STOP, 1.0, 10)
    assert not answers
    hand.settle([(stop, Delivered(1.0, 1.0, ""))], 1.0)
    assert [each.kind for each in answers] == [AckKind.SETTLED]


def test_what_is_held_is_bounded_in_number_and_bytes() -> None:
    """The rest stays in the stream; a message that comes twice is held once, and can be let go."""
    answers: list[Ack] = []
    hand = InFlight(answers.append)
    for seq in range(MOST):
        hand.add(message(seq), entry())
        hand.add(message(seq), entry())
    assert (len(hand), hand.room.messages) == (MOST, 0)
    hand.release(keep=1)
    assert (len(hand), len(answers), hand.room.messages) == (1, MOST - 1, MOST - 1)
    hand.add(message(MOST, b"x" * 2**26), entry())
    assert hand.room == Capacity(0, 0)


def test_a_full_file_of_dead_letters_takes_no_more(tmp_path: Path) -> None:
    """And says so; what was written before stays whole, for us alone to read."""
    letters = DeadLetterFile(tmp_path / "dead", limit=400)
    letters.write(Ack(message(), AckKind.DEAD, reason="why"))
    with pytest.raises(StoreError, match="is full"):
        letters.write(Ack(message(2, b"x" * 400), AckKind.DEAD, reason="why"))
    assert (tmp_path / "dead").read_text().count("\n") == 1
    assert (tmp_path / "dead").stat().st_mode & 0o777 == 0o600


def config(**sinks: dict[str, object]) -> Config:
    return load_config({"sinks": sinks})


def test_the_stream_and_the_backend_are_chosen_or_asked_for() -> None:
    """The only one of its kind needs no option; core NATS is no stream."""
    core: dict[str, object] = {"type": "nats", "servers": ["nats://localhost:4222"]}
    stream = {**core, "mode": "jetstream", "stream": "JOBS"}
    both = config(core=core, a=stream, b={**stream, "job_subject": "b.{cluster}.job"})
    assert choose(config(core=core, a=stream), None, "nats").name == "a"
    assert choose(both, "b", "nats").name == "b"
    for wanted in (None, "core", "none"):
        with pytest.raises(ConfigError, match="a, b; choose with --from"):
            choose(both, wanted, "nats")
    with pytest.raises(ConfigError, match="there are: none; choose with --to"):
        choose(both, None, "rest")
