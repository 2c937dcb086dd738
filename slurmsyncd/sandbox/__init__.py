"""What shows and tests slurmsyncd without Slurm or cc-backend: simulated Slurm, embedded backend and demo."""
