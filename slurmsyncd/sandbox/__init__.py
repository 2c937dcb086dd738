"""The sandbox: simulated Slurm, embedded backend and demo, for use without Slurm and cc-backend."""
