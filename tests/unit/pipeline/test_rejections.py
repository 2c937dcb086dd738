"""Whether a rejection concerns one entry or the sink."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.delivery import Standing
from slurmsyncd.pipeline import rejections
from slurmsyncd.pipeline.rejections import RECALLED, SUSPECT_AFTER, Rejections

GOOD = 999


def rejected(found: Rejections, *ids: int, reason: str = "http_400", final: bool = True) -> list[Standing]:
    return [found.add(id_, reason, final=final) for id_ in ids]


def accepted(found: Rejections, id_: int = GOOD) -> tuple[int, ...]:
    """Have an attempt begin now and be accepted."""
    return found.accept(id_, found.number)


def test_one_entry_alone_is_neither_proven_nor_makes_the_sink_suspected() -> None:
    """However often it is rejected, nobody can tell whose fault that is."""
    assert rejected(Rejections(), *[7] * 100) == [Standing.UNPROVEN] * 100


def test_h7_an_entry_rejected_again_after_another_one_was_accepted_is_proven() -> None:
    """The acceptance recalls it, so that this is decided at once."""
    found = Rejections()
    rejected(found, 7)
    assert accepted(found) == (7,)
    assert accepted(found, GOOD + 1) == (), "it is recalled once"
    assert rejected(found, 7) == [Standing.PROVEN]


def test_an_acceptance_that_was_under_way_before_the_rejection_proves_nothing() -> None:
    """When a backend turns read-only, its last acceptance may arrive after the first rejection."""
    found = Rejections()
    began = found.number
    rejected(found, 7)
    assert found.accept(GOOD, began) == ()
    assert rejected(found, 7) == [Standing.UNPROVEN]


def test_an_entry_is_no_proof_of_itself() -> None:
    """One that is accepted at its second attempt is no longer rejected at all."""
    found = Rejections()
    rejected(found, 7, 8)
    assert accepted(found, 7) == (8,)
    assert rejected(found, 7) == [Standing.UNPROVEN]


def test_several_entries_rejected_in_succession_for_one_reason_make_the_sink_suspected() -> None:
    """Others before them that were rejected for other reasons do not count, nor does a repetition."""
    found = Rejections()
    rejected(found, 1, 2, 3, 4, reason="too_large")
    assert rejected(found, *range(1, SUSPECT_AFTER), SUSPECT_AFTER - 1) == [Standing.UNPROVEN] * SUSPECT_AFTER
    assert not found.suspicious
    assert rejected(found, SUSPECT_AFTER, 1) == [Standing.SUSPECTED] * 2
    assert found.suspicious


def test_an_acceptance_ends_the_suspicion_and_recalls_what_was_parked_before_it() -> None:
    """Parked entries would wait for an hour; what was rejected under suspicion is due soon anyway."""
    found = Rejections()
    rejected(found, *range(1, SUSPECT_AFTER + 3), final=False)
    assert accepted(found)[: SUSPECT_AFTER - 1] == tuple(range(1, SUSPECT_AFTER))
    assert not found.suspicious


def test_an_entry_that_is_parked_for_its_own_reason_is_not_recalled() -> None:
    """A node that is missing in cluster.json would otherwise be asked for with each accepted start."""
    found = Rejections()
    rejected(found, 1, 2, final=False)
    assert accepted(found) == ()


def test_a_late_acceptance_does_not_end_the_suspicion() -> None:
    """It was sent before the sink began to reject."""
    found = Rejections()
    began = found.number
    rejected(found, *range(SUSPECT_AFTER))
    assert found.accept(GOOD, began) == ()
    assert found.suspicious


def test_many_bad_entries_are_decided_a_few_with_each_acceptance() -> None:
    """So they do not make a sink that accepts others suspected again and again."""
    found = Rejections()
    rejected(found, *range(20))
    standings = []
    for _ in range(5):
        recalled = accepted(found)
        assert len(recalled) == RECALLED
        for id_ in recalled:
            standings += rejected(found, id_)
            found.forget(id_)
    assert standings == [Standing.PROVEN] * 20
    assert accepted(found) == ()


def test_what_is_remembered_is_bounded() -> None:
    """A forgotten entry is judged as if it were rejected for the first time."""
    found = Rejections()
    for id_ in range(rejections.REMEMBERED + 1):
        found.add(id_, f"reason {id_}", final=True)
    accepted(found)
    assert rejected(found, 0) == [Standing.UNPROVEN]
    assert rejected(found, 1) == [Standing.PROVEN]


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "reject", "accept"]), st.integers(0, 9), st.sampled_from("ab")),
    max_size=80,
)


@given(steps=STEPS)
def test_t3_nothing_is_proven_without_an_acceptance_in_between(steps: list[tuple[str, int, str]]) -> None:
    """In any history of overlapping attempts, that acceptance began after one rejection and came before the next."""
    found = Rejections()
    begun: dict[int, tuple[int, int]] = {}
    rejected_at: dict[int, int] = {}
    last_accepted_began = -1
    for at, (what, id_, reason) in enumerate(steps):
        if what == "begin":
            begun[id_] = (found.number, at)
        elif id_ not in begun:
            continue
        elif what == "accept":
            number, began_at = begun.pop(id_)
            last_accepted_began = max(last_accepted_began, began_at)
            rejected_at.pop(id_, None)
            assert set(found.accept(id_, number)) <= rejected_at.keys()
        else:
            del begun[id_]
            standing = found.add(id_, reason, final=True)
            assert standing is not Standing.PROVEN or rejected_at[id_] < last_accepted_began
            rejected_at[id_] = at
