"""Real processes are asked: a real Slurm, a simulated one, and rude ones."""
