"""`slurmsyncd status`: the state of the daemon."""
