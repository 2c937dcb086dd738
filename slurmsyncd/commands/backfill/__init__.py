"""
``slurmsyncd backfill``: have old runs of accounting told, behind the live ones.

Its lane is a short queue: never more than some runs wait at once, and the daemon takes what is newest in turn
with what is oldest, so that live jobs keep their latency.
"""
