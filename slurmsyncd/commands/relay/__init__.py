"""`slurmsyncd relay`: from a JetStream stream to a REST backend."""
