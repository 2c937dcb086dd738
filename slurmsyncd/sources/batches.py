"""Questions by job id, in batches: one that fails costs no other its answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from slurmsyncd.errors import SourceError, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

UNUSED_ID: Final = 0x03FE_FFFF
"""The last id that Slurm gives (MaxJobId), for a question that only shows whether there is an answer."""

_FAILURES: Final = 8
"""Failures beyond the answers after which it is not single ids that fail; three in 500 need seven."""


@dataclass(slots=True)
class BatchAnswers(Generic[T]):
    """
    What became of a question about many jobs.

    Attributes:
        answers: One for each batch that was answered.
        left: Ids that were not answered.
        alone: Those of them that fail by themselves, while the source answers for others.
        trouble: Why, each reason once.
        disk_full: An answer found no room on a disk of this host.
    """

    answers: list[T] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)
    trouble: dict[str, None] = field(default_factory=dict)
    disk_full: bool = False


async def ask_in_batches(
    ids: Iterable[int],
    size: int,
    ask: Callable[[Sequence[int]], Awaitable[T]],
    *,
    is_well: Callable[[], Awaitable[bool]],
    has_time: Callable[[], bool],
) -> BatchAnswers[T]:
    """
    Ask about jobs in batches. A batch that fails is halved until the ids that make it fail are alone.

    Args:
        ids: Job ids.
        size: Ids of a batch at most.
        ask: Asks about one batch; raises SourceError.
        is_well: Whether the source answers another question now. If not, all that is left waits.
        has_time: Whether there is time for another attempt after a failure.
    """
    asked: BatchAnswers[T] = BatchAnswers()
    waiting = deque(batches(ids, size))
    failures = 0
    while waiting:
        batch = waiting.popleft()
        try:
            asked.answers.append(await ask(batch))
        except SourceError as err:
            asked.trouble[str(err)] = None
            asked.disk_full = asked.disk_full or is_disk_full(err)
            failures += 1
            too_many = failures >= len(asked.answers) + _FAILURES
            if too_many or not has_time() or not await is_well():
                asked.left.update(batch, *waiting)
                break
            if len(batch) == 1:
                asked.left.update(batch)
                asked.alone.update(batch)
            else:  # behind the others, which may be answered at once
                middle = len(batch) // 2
                waiting.extend((batch[:middle], batch[middle:]))
    return asked


def batches(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    """Return ids in order, ``size`` at a time."""
    ordered = sorted(ids)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))


def joined(ids: Iterable[int]) -> str:
    """Return ids as Slurm's commands take them."""
    return ",".join(map(str, ids))
