"""
From a stream of our events to a REST backend, by any number of relays that share one consumer.

A relay keeps nothing: the stream is the queue, and a message is acknowledged only when the backend has its
step (or the dead letters have it). So a relay may be lost with its disk, or killed at any moment: what it had
in hand comes to another one, and what the backend had taken by then is "already there". To write messages
into a store of the relay's own, and acknowledge them then, would make that disk part of the promise.

Which relay gets which message is chance, and so start and stop of a run meet different relays. Therefore
nothing that a relay remembers orders them, but the backend itself: a stop is sent when the backend lists its
run as committed (``order``), which is at the same time what the daemon's stop hold waits for. A stop whose
run stays away brings the start along, since it repeats all that was known then but for the script.

decode.py    a message → the entry that the delivery wants
hand.py      the messages that we hold: the delivery's queue, and what the stream is told of each
order.py     a stop after its start, whoever took that there
letters.py   what was never taken, in a file
consumer.py  one connection: pulls, heartbeats, answers
work.py      all of it together
"""
