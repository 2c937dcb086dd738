"""`slurmsyncd backend`: the embedded backend."""
