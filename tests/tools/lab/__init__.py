"""
A real Slurm for the tests: munged, MariaDB, slurmdbd, slurmctld and four slurmd on one host, without systemd.

It has its own directory, ports, database and configuration, so a Slurm that is already on the machine is
not touched. Jobs run as users that every Debian has, so no user is made. A keeper process holds all daemons
and takes everything away when its parent is gone, however that ended.
"""

from tests.tools.lab.configuration import NODES
from tests.tools.lab.lab import USERS, Lab
from tests.tools.lab.releases import BOOKWORM, FORKY, TRIXIE, Release
from tests.tools.lab.waiting import LabError, until

__all__ = ["BOOKWORM", "FORKY", "NODES", "TRIXIE", "USERS", "Lab", "LabError", "Release", "until"]
