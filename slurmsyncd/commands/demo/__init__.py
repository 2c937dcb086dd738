"""`slurmsyncd demo`: a simulated cluster, the real daemon and the embedded backend."""
