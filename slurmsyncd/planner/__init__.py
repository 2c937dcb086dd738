"""
What has to be asked and what has to be told, from what is seen and what is known. Pure.

Three rules carry the rest:

- Only accounting ends a run. A run that is missing from the listing is asked for, never closed.
- A run is announced with its allocation, which is perishable, or once it is clear that nobody has it
  any more.
- A job id may come back (requeue), and a start may move while nodes are being set up. Both are told
  apart by asking accounting for all runs of the id, never by guessing.

runs.py       known runs, and which sightings are of one run
asking.py     the questions that a look leads to
judging.py    the events that the answers lead to
vanishing.py  open runs that Slurm has forgotten
gaps.py       spans of accounting that cannot be read
"""

from slurmsyncd.planner.events import has_ended, merge_details, plan, unsettled
from slurmsyncd.planner.known_runs import MOVE_LIMIT_S, Known
from slurmsyncd.planner.missing_runs import vanished
from slurmsyncd.planner.questions import job_ids, narrowed, portions, questions, running

__all__ = [
    "MOVE_LIMIT_S",
    "Known",
    "has_ended",
    "job_ids",
    "merge_details",
    "narrowed",
    "plan",
    "portions",
    "questions",
    "running",
    "unsettled",
    "vanished",
]
