"""``slurmsyncd config``: check, show, write and import settings. The daemon does not load it."""
