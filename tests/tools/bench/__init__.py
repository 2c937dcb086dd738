"""
Benchmarks: what slurmsyncd costs, measured; never a gate. `make bench` runs them and writes docs/performance.md.

Rows and tables are declared in ``rows``; a module for each group of them measures; ``page`` writes them down.
"""
