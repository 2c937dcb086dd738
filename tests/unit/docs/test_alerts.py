"""The alert rules, the dashboard and the runbook speak of metrics that there are, and of each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from slurmsyncd.control.status import (
    AnnouncedStatus,
    AuditStatus,
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
from slurmsyncd.observe.metrics import metrics
from slurmsyncd.pipeline.latency import BOUNDS
from tests.paths import ROOT

DOCS = ROOT / "docs"
RULES = (DOCS / "alerts.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
RUNBOOK = (DOCS / "runbook.md").read_text()
#: Labels that Prometheus adds, and the metric that it makes of each scrape.
FOREIGN = {"instance", "job"}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _given() -> dict[str, set[str]]:
    """Return each name of a sample with its labels, of a status that has everything."""
    source = SourceStatus(
        cluster="alpha", last_look_at=1.0, unavailable=None, unavailable_since=None, partly=False,
        behind=False, looks=1, failures=0, hints=0, starts=1, stops=1, incomplete=0, never_started=0,
        set_aside=0, rechecks=0, commands={"squeue": CommandCost(calls=1, failures=0, seconds=0.1)},
        hooks=(AnnouncedStatus(hook="PrologSlurmctld", unannounced=0, heard_at=1.0, silent=False),),
    )  # fmt: skip
    sink = SinkStatus(
        name="cc", kind="rest", address="", trouble=None, detail="", trouble_since=None, alarm=False,
        disk_full=False, pause_s=0.0, last_answer_at=1.0, answers=1, results={"ok": 1}, told={"start": 1},
        in_hand={"start": 0}, workers={"start": 1},
        latency=(LatencyStatus(step="start", trigger="hook", counts=(0,) * (len(BOUNDS) + 1), sum_s=0.0),),
        audit=AuditStatus(audits=1, failures=0, last_at=1.0, findings={"stop_lost": 1}), token_expires_at=9.0,
    )  # fmt: skip
    live = LiveStatus(
        version="1", pid=1, started_at=1.0, ready=True, rss_bytes=1, cpu_s=1.0, poll_s=60.0,
        waiting_for_slurm=None, sources=(source,), sinks=(sink,), hook=HookStatus(received=1, accepted=1, refused={"uid": 1}),
        loop_lag=LagStatus(recent_s=0.0, max_s=0.0, stalls=0, stalling=False),
    )  # fmt: skip
    left = SinkTotals(reasons={"dead": {"http_400": 1}, "parked": {"no_subcluster": 1}})
    totals = Totals(sinks={"cc": left}, open_runs={"alpha": 1}, cursors={"alpha": 1}, incident=None)
    text = metrics(Status(now=2.0, totals=totals, live=live)).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _alerts() -> dict[str, str]:
    """Return each alert's block of lines; the file keeps to one line a key."""
    name, *blocks = re.split(r"^ +- alert: (\w+)\n", RULES, flags=re.MULTILINE)
    assert "groups:" in name
    return dict(zip(blocks[::2], blocks[1::2], strict=True))


def _expressions() -> list[str]:
    rules = re.findall(r"^ +expr: (.+)$", RULES, re.MULTILINE)
    assert len(rules) == len(_alerts())
    return rules + [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("expression", _expressions())
def test_rules_and_panels_ask_for_metrics_that_are_given(expression: str) -> None:
    """Each name, and each label beside it, is one that /metrics has."""
    given = _given()
    names = re.findall(r"\b(slurmsyncd_\w+)", expression)
    assert names
    assert set(names) <= set(given)
    for name, selector in re.findall(r"\b(slurmsyncd_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)=", selector)) <= given[name] | FOREIGN
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert set(re.split(", ", listed)) <= set.union(*(given[name] for name in names)) | FOREIGN


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legends_name_labels_that_are_there(panel: dict[str, Any]) -> None:
    """What a panel writes beside a line is a label of its metric, that aggregation has left."""
    for target in panel["targets"]:
        names = re.findall(r"\b(slurmsyncd_\w+)", target["expr"])
        labels = set.union(*(_given()[name] for name in names)) | FOREIGN
        if kept := re.search(r"\bby \(([^)]*)\)", target["expr"]):
            labels = set(kept[1].split(", "))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_panels_do_not_overlap() -> None:
    """Each place of the dashboard belongs to one panel."""
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize(("name", "rule"), _alerts().items())
def test_each_alert_has_its_section_in_the_runbook(name: str, rule: str) -> None:
    """It says how grave it is and what it is about, and names the section that says what to do."""
    assert re.search(r"^ +severity: (warning|critical)$", rule, re.MULTILINE)
    assert re.search(r'^ +summary: "(.+)"$', rule, re.MULTILINE)
    assert f'runbook: "docs/runbook.md#{name.lower()}"' in rule
    section = RUNBOOK.partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert len(section.split()) > 15


def test_the_runbook_has_no_section_without_its_alert() -> None:
    """A section whose alert is gone is gone, too."""
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == list(_alerts())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus")
@pytest.mark.parametrize("check", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_takes_the_rules(check: list[str], tmp_path: Path) -> None:
    """The rules are sound; each fires for what it is for, and none where all is well."""
    for path in (DOCS / "alerts.yml", Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(path, tmp_path)

    done = subprocess.run(["promtool", *check], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
