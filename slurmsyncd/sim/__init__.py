"""A simulated Slurm: its commands over one shared state."""
