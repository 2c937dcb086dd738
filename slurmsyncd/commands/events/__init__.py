"""`slurmsyncd events`: events of a NATS stream."""
