"""Questions in batches: the ids that make one fail are found, and a source that is away is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sources.batches import ask_in_batches

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slurmsyncd.sources.batches import BatchAnswers

pytestmark = pytest.mark.anyio


class Answering:
    """A source that fails for some ids; each question is noted."""

    def __init__(self, *bad: int, well: bool = True, questions: int = 10_000) -> None:
        self.asked: list[Sequence[int]] = []
        self._bad = set(bad)
        self._well = well
        self._questions = questions

    async def ask(self, batch: Sequence[int]) -> Sequence[int]:
        self.asked.append(batch)
        if self._bad.intersection(batch):
            raise SourceUnavailable("no")
        return batch

    async def is_well(self) -> bool:
        return self._well

    def has_time(self) -> bool:
        return len(self.asked) < self._questions

    async def about(self, ids: Collection[int], size: int = 100) -> BatchAnswers[Sequence[int]]:
        return await ask_in_batches(ids, size, self.ask, is_well=self.is_well, has_time=self.has_time)


def answered(asked: BatchAnswers[Sequence[int]]) -> list[int]:
    return sorted(job_id for batch in asked.answers for job_id in batch)


async def test_without_failures_each_batch_is_asked_once() -> None:
    """Ids come in order, as many together as may be."""
    source = Answering()
    asked = await source.about([5, 3, 1, 4, 2], 2)
    assert source.asked == [[1, 2], [3, 4], [5]]
    assert (answered(asked), asked.left, asked.trouble) == ([1, 2, 3, 4, 5], set(), {})


@given(bad=st.sets(st.integers(1, 500), max_size=3), size=st.integers(1, 500))
async def test_s14_up_to_three_bad_ids_are_found_wherever_they_are(bad: set[int], size: int) -> None:
    """All others are answered, once each."""
    asked = await Answering(*bad).about(range(1, 501), size)
    assert answered(asked) == [job_id for job_id in range(1, 501) if job_id not in bad]
    assert asked.left == asked.alone == bad


async def test_a_bad_batch_keeps_no_other_waiting() -> None:
    """Its halves are asked for behind the others."""
    source = Answering(1)
    await source.about(range(1, 9), 4)
    assert source.asked[:3] == [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2]]


@pytest.mark.parametrize("source", [Answering(1, 9, well=False), Answering(1, 9, questions=1)])
async def test_s1_what_is_away_or_takes_too_long_is_asked_once(source: Answering) -> None:
    """The rest is left for another time."""
    asked = await source.about(range(1, 17), 8)
    assert len(source.asked) == 1
    assert (asked.left, asked.alone) == (set(range(1, 17)), set())


async def test_s8_a_source_that_fails_for_every_id_is_not_asked_for_each_of_them() -> None:
    """A spoilt answer to each question is a source that is away, even if it answers another one."""
    source = Answering(*range(1, 501))
    asked = await source.about(range(1, 501))
    assert len(source.asked) == 8
    assert asked.left == set(range(1, 501))
