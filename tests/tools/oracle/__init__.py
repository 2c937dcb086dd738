"""
The obligation oracle (T1): the real daemon between a simulated Slurm and the embedded backend, and everything breaks.

proxy.py     between daemon and backend: reads each request, and breaks the exchange
peer.py      the backend as a process
world.py     all the parts of one run, and what is known of them
troubles.py  what can go wrong, dealt from shuffled decks
storm.py     the course of one run: storm, healing, account
verdict.py   what was owed against what arrived; pure

`python -m tests.tools.oracle --seconds 600` runs it for longer, `--seed N` again.
"""
