"""``slurmsyncd check``: walks the whole path from Slurm to the backend, and says how each step stands."""
