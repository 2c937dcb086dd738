"""Every kind of job on a real Slurm of each release, read by the daemon's own source, planner and store."""
