"""Talk to Slurm: run its commands."""
