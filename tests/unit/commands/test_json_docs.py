"""docs/json.md names every key that the commands print."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from slurmsyncd.commands.job.run import JobReport
from slurmsyncd.console.ask_slurm import Said
from slurmsyncd.control.health import Problem
from slurmsyncd.control.previews import RunPreviews
from slurmsyncd.control.status import (
    CommandCost,
    HookStatus,
    LagStatus,
    LatencyStatus,
    LiveStatus,
    SinkStatus,
    SourceStatus,
    Status,
)
from slurmsyncd.control.store_requests import SinkTotals, Totals
from slurmsyncd.pipeline.minute_counters import Minute
from slurmsyncd.sinks.preview import Preview, PreviewRequest
from slurmsyncd.store.queries import Delivery, DeliveryGroup, RunHistory
from tests.paths import ROOT

DOCS = ROOT / "docs" / "json.md"
SHOWN = [
    *(
        Status,
        Totals,
        SinkTotals,
        LiveStatus,
        SourceStatus,
        CommandCost,
        SinkStatus,
        LatencyStatus,
        HookStatus,
    ),
    *(
        LagStatus,
        Minute,
        Problem,
        JobReport,
        RunHistory,
        Delivery,
        RunPreviews,
        Preview,
        PreviewRequest,
        Said,
        DeliveryGroup,
    ),
]


@pytest.mark.parametrize("kind", SHOWN)
def test_every_key_is_documented(kind: Any) -> None:
    """Whoever adds one says what it means."""
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", DOCS.read_text()))))
    assert {field.name for field in dataclasses.fields(kind)} <= named
