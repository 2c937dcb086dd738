"""The demonstration: a simulated or the host's real Slurm, the real daemon, the embedded backend."""
