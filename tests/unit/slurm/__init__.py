"""What Slurm prints is read right, and nothing that it prints can do harm."""
