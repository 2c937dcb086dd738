"""Whether all is well: each thing that can be wrong is named, with what to do, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurmsyncd.control.health import BEHIND_S, NEWS_S, HealthLevel, assess, summary_line
from slurmsyncd.control.status import (
    AnnouncedStatus,
    AuditStatus,
    BlindStatus,
    HookStatus,
    LagStatus,
    LiveStatus,
    SinkStatus,
    SourceStatus,
    Status,
)
from slurmsyncd.control.store_requests import SinkTotals, Totals
from slurmsyncd.model import Gap

NOW = 1_700_000_000.0
DAY_S = 86400.0


def source(**changes: Any) -> SourceStatus:
    """Return a cluster that is well."""
    well: dict[str, Any] = {
        "cluster": "alpha",
        "last_look_at": NOW - 5,
        "unavailable": None,
        "unavailable_since": None,
        "partly": False,
        "behind": False,
        **dict.fromkeys(
            (
                "looks",
                "failures",
                "hints",
                "starts",
                "stops",
                "incomplete",
                "never_started",
                "set_aside",
                "rechecks",
            ),
            0,
        ),
    }
    return SourceStatus(**{**well, **changes})


@pytest.mark.parametrize(
    ("queued", "held_s", "is_problem"),
    [(None, None, False), (0, None, False), (4999, 800.0, False), (5000, 1.0, True), (1, 901.0, True)],
)
def test_s1_messages_that_slurmctld_holds_are_a_problem_when_many_or_held_for_long(
    queued: int | None, held_s: float | None, *, is_problem: bool
) -> None:
    """slurmctld drops messages when it holds too many, and reports that to no one else."""
    since = None if held_s is None else NOW - held_s
    problems = assess(status(sources=(source(queued_messages=queued, queued_since=since),))).problems
    assert [problem.subject for problem in problems] == ["cluster alpha"] * is_problem
    assert all("holds" in problem.text and "MaxDBDMsgs" in problem.remedy for problem in problems)


def hook(**changes: Any) -> AnnouncedStatus:
    """Return a hook of which nothing was heard yet."""
    well: dict[str, Any] = {"hook": "PrologSlurmctld", "unannounced": 0, "heard_at": None, "silent": False}
    return AnnouncedStatus(**{**well, **changes})


def sink(**changes: Any) -> SinkStatus:
    """Return a sink that is well."""
    well: dict[str, Any] = {
        "name": "cc",
        "kind": "rest",
        "address": "https://cc.example.org",
        "trouble": None,
        "detail": "",
        "trouble_since": None,
        "alarm": False,
        "disk_full": False,
        "pause_s": 0.0,
        "last_answer_at": NOW - 60,
        "answers": 7,
    }
    return SinkStatus(**{**well, **changes})


def audit(**changes: Any) -> AuditStatus:
    """Return what the audits of a sink that is well came to."""
    return AuditStatus(**{"audits": 3, "failures": 0, "last_at": NOW - 60, **changes})


def status(
    *,
    sources: tuple[SourceStatus, ...] = (source(),),
    sinks: tuple[SinkStatus, ...] = (sink(),),
    totals: dict[str, Any] | None = None,
    incident: tuple[float, str] | None = None,
    gaps: tuple[Gap, ...] = (),
    **live: Any,
) -> Status:
    """Return the status of a daemon that is well, but for the changes."""
    well: dict[str, Any] = {
        "version": "1",
        "pid": 1,
        "started_at": NOW - DAY_S,
        "ready": True,
        "rss_bytes": 1,
        "cpu_s": 1.0,
        "poll_s": 60.0,
        "waiting_for_slurm": None,
        "hook": HookStatus(received=0, accepted=0),
        "loop_lag": LagStatus(recent_s=0.0, max_s=0.0, stalls=0, stalling=False),
    }
    return Status(
        now=NOW,
        totals=Totals(
            sinks={"cc": SinkTotals(**(totals or {}))},
            open_runs={},
            cursors={"alpha": 1},
            incident=incident,
            gaps=gaps,
        ),
        live=LiveStatus(sources=sources, sinks=sinks, **{**well, **live}),
    )


def dead(at: float) -> dict[str, Any]:
    """Return the totals of a sink with dead letters, the last one of ``at``."""
    return {
        "states": {"dead": 2},
        "reasons": {"dead": {"http_400": 2}},
        "failing_since": {"dead": at},
        "oldest": {"dead": at},
    }


@pytest.mark.parametrize(
    "well",
    [
        status(),
        status(totals={"states": {"ready": 9, "idle": 9}, "oldest": {"ready": NOW - 60, "idle": 1.0}}),
        status(totals=dead(NOW - NEWS_S - 1)),
        status(totals={"states": {"dropped": 1}, "reasons": {"dropped": {"http_400": 1}}}),
        status(sources=(source(last_look_at=NOW - 170),)),
        status(sources=(source(hooks=(hook(unannounced=1000), hook(unannounced=2, heard_at=NOW - 5))),)),
        status(sources=(source(last_look_at=None, behind=True),)),
        status(started_at=NOW - 2, sources=(source(last_look_at=None),)),
        status(sinks=(sink(answers=0, last_answer_at=None),)),
        status(sinks=(sink(token_expires_at=NOW + 8 * DAY_S),)),
        status(sinks=(sink(audit=audit(findings={"stop_lost": 4})),)),
        status(sinks=(sink(audit=audit(trouble={"alpha": "credentials"}, trouble_since=NOW - 60)),)),
        status(sinks=(sink(audit=audit(reports={"unheard_of": 4}, reported_at=NOW - NEWS_S - 1)),)),
    ],
)
def test_what_is_as_it_should_be_is_no_problem(well: Status) -> None:
    """Runs under way, a stop that is held back, old dead letters, and a daemon that has just begun."""
    assert assess(well).problems == ()
    assert assess(well).level is HealthLevel.WELL


@pytest.mark.parametrize(
    ("wrong", "subject", "text", "remedy"),
    [
        (
            status(sinks=(sink(trouble="credentials", detail="refused; into /x", trouble_since=NOW - 61),)),
            "sink cc",
            "credentials refused since",
            "new token",
        ),
        (
            status(sinks=(sink(trouble="unreachable", trouble_since=NOW),)),
            "sink cc",
            "cannot be reached",
            "sinks.cc.url",
        ),
        (
            status(sinks=(sink(nodes_trouble="credentials", nodes_detail="refused; into /x"),)),
            "sink cc",
            "credentials refused (asked with node states): refused",
            "new token",
        ),
        (status(sinks=(sink(trouble="something_new"),)), "sink cc", "something_new", "nothing is lost"),
        (status(sinks=(sink(disk_full=True),)), "sink cc", "disk is full", "state_dir"),
        (status(sinks=(sink(token_expires_at=NOW + DAY_S),)), "sink cc", "token expires at", "token_file"),
        (status(sinks=(sink(token_expires_at=NOW - 1),)), "sink cc", "token expired at", "token_file"),
        (
            status(sinks=(sink(audit=audit(trouble={"alpha": "http_500 x"}, trouble_since=NOW - 2000)),)),
            "sink cc",
            "runs of alpha cannot be compared with Slurm's since",
            "repeated",
        ),
        (
            status(sinks=(sink(audit=audit(reports={"closed_wrongly": 2}, reported_at=NOW - 60)),)),
            "sink cc",
            "no request corrects them (closed_wrongly 2",
            "audit_finding",
        ),
        (
            status(sources=(source(unavailable="squeue failed", unavailable_since=NOW - 5),)),
            "cluster alpha",
            "does not answer since",
            "scontrol ping",
        ),
        (
            status(sources=(source(unavailable="sacct failed", unavailable_since=NOW - 5, partly=True),)),
            "cluster alpha",
            "answers only in part since",
            "sacct",
        ),
        (
            status(sources=(source(blind=BlindStatus(reason="x is no operator", remedy="sacctmgr x")),)),
            "cluster alpha",
            "hides jobs: x is no operator",
            "sacctmgr x",
        ),
        (status(sources=(), waiting_for_slurm="no scontrol"), "Slurm", "no scontrol", "scontrol ping"),
        (
            status(sources=(source(last_look_at=NOW - 1000),)),
            "cluster alpha",
            "not looked at for 16 min",
            "log",
        ),
        (
            status(sources=(source(hooks=(hook(unannounced=12, silent=True),)),)),
            "cluster alpha",
            "PrologSlurmctld is set and silent: polls saw 12 starts without its hint (it never came)",
            "restart slurmctld",
        ),
        (status(totals=dead(NOW - 60)), "sink cc", "2 dead letters", "deadletters list --sink cc"),
        (
            status(totals={"states": {"parked": 1}, "reasons": {"parked": {"no_subcluster": 1}}}),
            "sink cc",
            "1 run until somebody changes something there (no_subcluster)",
            "--state parked",
        ),
        (
            status(totals={"states": {"ready": 5}, "oldest": {"ready": NOW - BEHIND_S - 1}}),
            "sink cc",
            "behind by 30 min 1 s: 5 runs waiting",
            "passes",
        ),
        (
            status(incident=(NOW - 5, "the file was damaged")),
            "store",
            "the file was damaged",
            "--acknowledge",
        ),
        (
            status(sources=(source(unavailable="/state: no space", disk_full=True),)),
            "cluster alpha",
            "is not written down: /state",
            "make room in daemon.state_dir",
        ),
        (status(stopping=True), "daemon", "is stopping", "ask again"),
        (status(reload_refused="daemon.x = 1: is unknown"), "configuration", "x = 1", "config check"),
        (
            status(loop_lag=LagStatus(recent_s=3.2, max_s=3.2, stalls=1, stalling=True)),
            "daemon",
            "3.2 s",
            "CPU",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_named_with_its_remedy(
    wrong: Status, subject: str, text: str, remedy: str
) -> None:
    """One problem, one line, and what to do."""
    verdict = assess(wrong)
    (problem,) = verdict.problems
    assert verdict.level is HealthLevel.DEGRADED
    assert problem.subject == subject
    assert text in problem.text
    assert remedy in problem.remedy


def test_what_waits_for_a_sink_in_trouble_is_said_once() -> None:
    """That the sink is down says it all: not also that it is behind."""
    waiting = {"states": {"ready": 5}, "oldest": {"ready": NOW - DAY_S}}
    (problem,) = assess(status(sinks=(sink(trouble="unreachable"),), totals=waiting)).problems
    assert "cannot be reached" in problem.text


def test_without_a_daemon_the_store_is_judged_all_the_same() -> None:
    """It does not run, and there are dead letters besides."""
    stopped = replace(status(totals=dead(NOW - 60)), live=None)
    assert assess(stopped).level is HealthLevel.STOPPED
    assert [problem.subject for problem in assess(stopped).problems] == ["sink cc"]


def test_levels_are_the_exit_statuses() -> None:
    """As the help says."""
    assert [int(level) for level in HealthLevel] == [0, 1, 3]


def test_the_headline_names_the_gravest_and_counts_the_rest() -> None:
    """One line for systemd: nothing more is there to be said of a daemon that is well."""
    assert summary_line(assess(status())) == "all is well"
    down = status(sinks=(sink(trouble="unreachable"),), totals=dead(NOW - 60))
    said = summary_line(assess(down))
    assert said.startswith("sink cc: cannot be reached; do: start it")
    assert said.endswith("; and 1 more problem: slurmsyncd status")


@pytest.mark.parametrize(("behind_s", "words"), [(7200.0, "; accounting is read up to 2 h ago"), (60.0, "")])
def test_how_far_accounting_is_behind_is_said_with_what_does_not_answer(behind_s: float, words: str) -> None:
    """Also while the controller answers; a minute is not worth a word."""
    away = source(unavailable="sacct: timed out", partly=True, behind_s=behind_s)
    (problem,) = assess(status(sources=(away,))).problems
    assert problem.text == f"answers only in part: sacct: timed out{words}"


def test_s4_gaps_of_accounting_are_one_problem_of_a_cluster_with_its_remedy() -> None:
    """As long as they stand, also where no daemon runs."""
    first = Gap(cluster="alpha", since=int(NOW) - 600, until=int(NOW) - 540, reason="why", recorded_at=NOW)
    later = replace(first, since=first.until + 60, until=first.until + 120, reason="other")
    (problem,) = assess(status(gaps=(first, later))).problems
    assert (problem.subject, "2 min of its accounting" in problem.text, "why" in problem.text) == (
        "cluster alpha",
        True,
        True,
    )
    assert problem.remedy.startswith("`slurmsyncd verify --repair`")
    old = replace(first, since=int(NOW - 10 * DAY_S), until=int(NOW - 10 * DAY_S) + 60)
    (problem,) = assess(replace(status(gaps=(old,)), live=None)).problems
    assert problem.remedy.startswith(f"`slurmsyncd verify --repair --since {old.since}`")
