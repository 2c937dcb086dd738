"""
One bit of a store flips while nobody looks; then the daemon starts. What was owed must still be told.

world.py   two small clusters, a backend, and the daemon's loops between them on a clock that is turned by hand
left.py    the state directory that a daemon leaves behind, with runs in every state
places.py  where a bit may flip, so that small structures are hit as often as large ones
life.py    the lives after a flip, and the account
"""
