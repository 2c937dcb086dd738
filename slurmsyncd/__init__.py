"""
Slurm accounting, pushed to where it is needed.

    triggers ── "look now" ──▶ source ── Observation ──▶ planner ── Plan ──▶ store ── Entry ──▶ sinks
    hook socket, timer         Slurm commands            pure               SQLite             REST

A trigger is a hint and carries no facts. The source looks. The planner compares what is seen with
what is known. The store makes it durable. Each sink drains its own queue.
"""

__version__ = "0.1.0"
