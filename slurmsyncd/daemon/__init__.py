"""
Composition root: builds the parts from a configuration, runs them in one task group, and stops them cleanly.

``serving`` owns the process (signals, PID file, reload), ``loops`` what runs of one configuration, ``intake``
the side of Slurm, ``outlet`` the side of the sinks.
"""

from slurmsyncd.daemon.process import run_daemon, run_once

__all__ = ["run_daemon", "run_once"]
