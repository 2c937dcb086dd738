"""Failures on demand (cases H1 to H12 of the contract); all off by default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class InjectedFaults:
    """
    What goes wrong from now on. Counts are used up, one for each time it happens.

    Attributes:
        hang_up_starts: H1: so many starts take effect, then the connection closes without an answer.
        hang_up_stops: H2: the same for stops.
        archive_delay_s: H3: the archiver's time per job; with a full queue stops and starts block.
        race_stops: H4: so many stops of cached jobs meet the commit tick (race R1).
        unauthorized: H5: every token is refused.
        refuse_job_ids: H6: starts of these ids answer 400.
        nats_mode: H8: start and stop are not mounted.
        nats_late: So many messages from NATS are taken up late, so that others overtake them.
        nats_lost: So many messages of jobs from NATS never reach it.
        bad_gateways: H9: so many requests answer 502 with HTML, without effect.
        locked: H10: so many starts and stops answer 500 ``database is locked``, without effect.
        delay_s: H12: every answer below /api takes so long.
        write_timeout_s: H12: an answer that took longer is lost although it took effect.
        unreadable_job_ids: Lists with a finished run of these ids answer 500: no archive.
        allowed_ips: Peers that may use the API; empty: all.

    H7 is ``POST /-/wipe``, H11 is ``PUT /-/clusters``.
    """

    hang_up_starts: int = 0
    hang_up_stops: int = 0
    archive_delay_s: float = 0.0
    race_stops: int = 0
    unauthorized: bool = False
    refuse_job_ids: list[int] = field(default_factory=list)
    nats_mode: bool = False
    nats_late: int = 0
    nats_lost: int = 0
    bad_gateways: int = 0
    locked: int = 0
    delay_s: float = 0.0
    write_timeout_s: float = 20.0
    unreadable_job_ids: list[int] = field(default_factory=list)
    allowed_ips: list[str] = field(default_factory=list)

    def take(self, name: str) -> bool:
        """Use up one of a count; False if there is none left."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return bool(left > 0)

    def update(self, values: dict[str, Any]) -> None:
        """
        Turn several knobs.

        Raises:
            ValueError: A name is not a knob, or a value not of its type.
        """
        for name, value in values.items():
            if name not in _NAMES:
                raise ValueError(f"{name!r} is no knob; there are {', '.join(sorted(_NAMES))}")
            wanted = type(getattr(self, name))
            if wanted is float and type(value) is int:
                value = float(value)  # noqa: PLW2901  # JSON writes 5.0 as 5
            if type(value) is not wanted:
                raise ValueError(f"{name} = {value!r}: {wanted.__name__} expected")
        for name, value in values.items():
            setattr(self, name, value)


_NAMES = frozenset(knob.name for knob in dataclasses.fields(InjectedFaults))
