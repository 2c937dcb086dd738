"""
The relay: moves events from a JetStream stream to a REST backend. All relays of a stream share one consumer.

A relay has no store, because the stream is the queue. A relay acknowledges a message only when the backend
has accepted its event, or when the event is in the file of dead letters. A relay may therefore be killed at
any moment or lost with its disk. Another relay receives its messages in flight, and an event that the backend
had already accepted counts as "already known". With a store of its own, delivery would depend on that disk.

The start and the stop of a run may reach different relays, so the memory of a relay cannot order them. The
backend orders them: a stop is sent when the backend lists its run as committed (``ordered_sink``). The
daemon's stop hold waits for the same condition. If the run stays missing, the relay sends the start from the
stop event, which repeats everything of the start except the script.

decode.py            parses a message into an outbox entry
in_flight.py         the messages that the relay holds: outbox of the delivery, and their acknowledgements
ordered_sink.py      sends a stop after its start, no matter which relay sent the start
dead_letter_file.py  stores permanently rejected events in a file
consumer.py          pulls messages, extends their deadlines and acknowledges them over one connection
relay.py             runs the parts together
"""
