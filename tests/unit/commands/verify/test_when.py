"""Instants as people write them."""

from __future__ import annotations

import pytest

from slurmsyncd.console.times import EARLIEST, parse_time

NOW = 1_800_000_000.9


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("7d", 1_800_000_000 - 7 * 86400),
        ("90min", 1_800_000_000 - 5400),
        ("1700000000", 1_700_000_000),
        ("2026-01-31", 1_769_817_600),
        ("2026-01-31T12:00Z", 1_769_860_800),
        ("2026-01-31T12:00+02:00", 1_769_853_600),
        ("2000-01-01", EARLIEST),
    ],
)
def test_an_instant_is_a_span_a_date_or_seconds(text: str, at: int) -> None:
    """Each form gives epoch seconds; a date without a zone is UTC."""
    assert parse_time(text, NOW) == at


@pytest.mark.parametrize("text", ["99999999d", "999999999w", "0", "1999-12-31", "-5", "0001-01-01"])
def test_what_is_before_any_accounting_is_refused(text: str) -> None:
    """A span of 270,000 years once started 80,000 sacct; the message has the text and what is allowed."""
    with pytest.raises(ValueError, match=r"allowed: e\.g\. 7d"):
        parse_time(text, NOW)
