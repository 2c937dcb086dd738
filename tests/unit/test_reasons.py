"""Every reason that a delivery can stand for has its meaning and a remedy."""

from __future__ import annotations

import re

from slurmsyncd.reasons import meaning
from slurmsyncd.store.outbox import DAMAGED
from tests.paths import ROOT
from tests.tools.packages import NAMES_REASONS, is_within, module_of

SOURCES = [path for path in (ROOT / "slurmsyncd").rglob("*.py") if is_within(module_of(path), NAMES_REASONS)]
NAMED = re.compile(
    r'OutcomeKind\.(?:REJECTED|REJECTED_UNTIL_FIXED|FAILED|TOO_EARLY|START_MISSING), "([a-z_]+)"'
    r'|result=OutcomeKind\.(?:REJECTED|REJECTED_UNTIL_FIXED|FAILED|TOO_EARLY), reason="([a-z_]+)"'
    r'|NotRepresentable\("([a-z_]+)"'
)
#: Of questions that concern no run.
ELSEWHERE = {"no_edit", "no_nodestate", "no_removal", "no_topology", "not_archived"}


def test_no_reason_is_left_unexplained() -> None:
    """Whatever the sinks say of a run is in the table, with what to do."""
    found = {name for path in SOURCES for names in NAMED.findall(path.read_text()) for name in names if name}
    assert len(found) > 15
    unexplained = {name for name in found - ELSEWHERE if not all(meaning(name))}
    assert unexplained == set()


def test_statuses_have_a_meaning_by_their_kind() -> None:
    """4xx is a refusal, 5xx a failure; what has no meaning is not made up."""
    assert "refuses" in meaning("http_418")[0]
    assert "failed" in meaning("http_599")[0]
    assert meaning(DAMAGED) != ("", "")
    assert meaning("unheard_of") == ("", "")
