"""
Proof of completeness: every run that Slurm's accounting shows is held against what is written down of it.

read.py     accounting in slices, one at a time, and what runs now
compare.py  a run and what is written down of it → its fate (pure)
backend.py  asks a backend whether a run is there
check.py    brings these together, and has what is missing written down
report.py   what was found: counts by day, and the runs that are missing
show.py     the report for people
document.py the report as JSON (pure)
when.py     instants as people write them (pure)
whole.py    all of it, as the command line asks
command.py  the command line
"""
