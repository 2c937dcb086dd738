"""``slurmsyncd man``: the manual pages, made of the parsers. Pure."""
