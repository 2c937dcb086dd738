"""The request for what sinks are sent of a job's runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from slurmsyncd.control.store_requests import ControlRequest
from slurmsyncd.model import RunKey  # noqa: TC001 - decoding needs the type
from slurmsyncd.sinks.preview import BackendInfo, Preview, preview

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmsyncd.config import Config
    from slurmsyncd.store.queries import RunHistory
    from slurmsyncd.store.sqlite_store import SqliteStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPreviews:
    """What each sink is sent of one run."""

    key: RunKey
    sinks: tuple[Preview, ...]


@dataclass(frozen=True, slots=True)
class GetPreviews(ControlRequest[tuple[RunPreviews, ...]]):
    """Ask what sinks are sent of a job's runs: only the daemon knows what their backends are like."""

    response_type: ClassVar[Any] = tuple[RunPreviews, ...]

    job_id: int

    def run(self, store: SqliteStore) -> tuple[RunPreviews, ...]:  # noqa: ARG002 - it does not know
        """Tell nothing."""
        return ()


def previews(
    stories: Iterable[RunHistory], config: Config, facts: Mapping[str, BackendInfo]
) -> tuple[RunPreviews, ...]:
    """
    Make what each sink is sent of each run; a run whose record is damaged has none.

    Args:
        stories: The runs.
        config: Names the sinks.
        facts: Sink → what is known of its backend; a sink may be missing.
    """
    return tuple(
        RunPreviews(
            key=story.key,
            sinks=tuple(
                preview(story.start, story.stop, sink, config.clusters, facts.get(name, BackendInfo()))
                for name, sink in config.sinks.items()
            ),
        )
        for story in stories
        if story.start is not None
    )


REQUESTS: tuple[type[ControlRequest[Any]], ...] = (GetPreviews,)
