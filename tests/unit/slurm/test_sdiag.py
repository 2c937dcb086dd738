"""What sdiag prints of the messages for slurmdbd."""

from __future__ import annotations

import pytest

from slurmsyncd.slurm.sdiag import counted_messages

HEAD = """*******************************************************
sdiag output at Tue Dec 01 02:40:12 2026 (1796092812)
Server thread count:  1
Agent queue size:     4
"""


@pytest.mark.parametrize(
    ("text", "queued"),
    [
        (HEAD + "DBD Agent queue size: 0\n\nJobs submitted: 28\n", 0),
        (HEAD + "DBD Agent queue size: 1216\n", 1216),
        (HEAD, None),
        (HEAD + "DBD Agent queue size: -1\n", None),
        (HEAD + "DBD Agent queue size: many\n", None),
        (HEAD + "DBD Agent queue size: 0\nDBD Agent queue size: 7\n", None),
        (HEAD + "DBD Agent queue size: 99999999999\n", None),
        (HEAD + "DBD Agent queue size: 0", 0),
        ("", None),
    ],
)
def test_only_one_plain_number_is_a_count(text: str, queued: int | None) -> None:
    """Anything else says nothing: an empty queue ends the re-reads of an outage, so it must not be guessed."""
    assert counted_messages(text) == queued
