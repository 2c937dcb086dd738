"""How one Slurm command is run."""
