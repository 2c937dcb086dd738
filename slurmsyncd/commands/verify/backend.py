"""Ask a backend whether runs are there: a question for each second in which some began, a few a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import anyio

from slurmsyncd.delivery import Outcome, OutcomeKind, RemoteState
from slurmsyncd.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from slurmsyncd.model import RunKey
    from slurmsyncd.ports import Inventory

#: The backend has others to serve, the daemon's deliveries among them.
QUESTIONS_PER_S = 20.0
#: How often one question is asked, and the first wait between.
ATTEMPTS, WAIT_S = 4, 1.0
#: Questions in a row that fail on the backend's side; one more, and it is the backend that does not answer.
FAILED_IN_A_ROW = 5


class Unreadable(NamedTuple):
    """
    The second of a run's start cannot be listed: cc-backend fails over a missing file of its archive.

    Attributes:
        why: The backend's answer.
    """

    why: str


class BackendQuery:
    """
    One backend.

    Args:
        asking: Called before each question.

    Attributes:
        grace_s: For so long what it acknowledged may be missing there.
        questions: How many it was asked.
    """

    def __init__(
        self,
        inventory: Inventory,
        grace_s: float,
        *,
        asking: Callable[[], None] = lambda: None,
        questions_per_s: float = QUESTIONS_PER_S,
    ) -> None:
        self.grace_s = grace_s
        self.questions = 0
        self._inventory = inventory
        self._asking = asking
        self._pause_s = 1.0 / questions_per_s
        self._next_at = 0.0
        self._failed = 0  # questions in a row

    async def there(self, keys: Iterable[RunKey]) -> Mapping[RunKey, RemoteState | Unreadable]:
        """
        Return of each run whether it is there, or why the backend cannot list it.

        Raises:
            SourceUnavailable: It does not answer.
        """
        found: dict[RunKey, RemoteState | Unreadable] = {}
        began: dict[tuple[str, int], list[RunKey]] = {}
        for key in keys:
            began.setdefault((key.cluster, key.start_at), []).append(key)
        for (cluster, start_at), those in began.items():
            shown = await self._ask(cluster, start_at)
            if isinstance(shown, Unreadable):
                found.update(dict.fromkeys(those, shown))
            else:
                found.update((key, shown.get(key.job_id, RemoteState.ABSENT)) for key in those)
        return found

    async def _ask(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Unreadable:
        said = reason = ""
        for attempt in range(ATTEMPTS):
            await self._wait_for_turn()
            answer = await self._inventory.find_runs(cluster, start_at)
            if not isinstance(answer, Outcome):
                self._failed = 0
                return answer
            reason, said = answer.reason, f"{answer.reason} {answer.detail}".strip()
            if answer.action_required or answer.result not in (
                OutcomeKind.FAILED,
                OutcomeKind.SINK_UNAVAILABLE,
            ):
                break
            await anyio.sleep(WAIT_S * 2.0**attempt)
        else:
            self._failed += 1
            if reason == "http_500" and self._failed <= FAILED_IN_A_ROW:
                return Unreadable(said)
        raise SourceUnavailable(f"sink {self._inventory.name} does not say what it has: {said}")

    async def _wait_for_turn(self) -> None:
        self.questions += 1
        self._asking()
        await anyio.sleep(max(0.0, self._next_at - time.monotonic()))
        self._next_at = time.monotonic() + self._pause_s
