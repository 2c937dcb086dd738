"""
The planner: derives questions and events from an observation and the known runs. Pure.

The planner follows three rules:

- Only accounting ends a run. A run that is missing from the job list is queried in accounting, never ended.
- A start is reported with the allocation, which is perishable. It is reported without one only when Slurm no
  longer has the allocation.
- A job id may return after a requeue, and a start may move while nodes boot. The planner queries
  accounting for all runs of the id to distinguish the two, and never guesses.

known_runs.py    known runs, and which sightings belong to the same run
questions.py     the questions that follow from an observation
events.py        the events that follow from the answers
missing_runs.py  open runs that Slurm no longer knows
gaps.py          spans of accounting that cannot be read
audit.py         comparison of a backend's list with the store
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
