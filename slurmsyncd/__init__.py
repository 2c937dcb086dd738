"""
A daemon that reports every Slurm job to cc-backend and NATS.

    triggers ── poll now ──▶ source ── Observation ──▶ planner ── Plan ──▶ store ── OutboxEntry ──▶ sinks
    hooks, timer             Slurm commands            pure                SQLite                  REST, NATS

A trigger starts a query and carries no facts. The source queries Slurm. The planner compares the observation
with the known runs. The store records the plan in one transaction. Each sink has its own queue.
"""

__version__ = "0.1.0"
