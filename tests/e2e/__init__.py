"""End to end: a real Slurm 22.05, the daemon as a process, and the embedded backend as a process."""
