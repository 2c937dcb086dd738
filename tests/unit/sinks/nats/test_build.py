"""From the configuration to sinks: by type, and at nobody else's cost."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from slurmsyncd.config import load_config
from slurmsyncd.sinks.nats.sink import NatsSink
from slurmsyncd.sinks.registry import build_inventory, build_sink, stop_hold_s
from slurmsyncd.sinks.rest.sink import RestSink
from tests.unit.sinks.parts import FixedClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.ports import Inventory, Sink

REST = {"url": "https://cc.example.org", "token_file": "token"}
NATS = {"type": "nats", "servers": ["nats://127.0.0.1:1"]}


def built(section: Mapping[str, object]) -> tuple[Sink, Inventory | None, float]:
    config = load_config({"sinks": {"x": section}})
    sink = build_sink(config.sinks["x"], config.clusters, FixedClock())
    return sink, build_inventory(sink), stop_hold_s(config.sinks["x"])


def test_each_type_is_built_with_what_can_be_audited() -> None:
    """A REST sink lists what it holds; by NATS only the backend that reads cc can be asked, by its URL."""
    rest, listed, hold_s = built(REST)
    assert isinstance(rest, RestSink)
    assert (listed, hold_s) == (rest, 150.0)
    events, nobody, no_hold_s = built(NATS)
    assert isinstance(events, NatsSink)
    assert (nobody, no_hold_s) == (None, 0.0)
    _, nobody, hold_s = built({**NATS, "format": "cc"})
    assert (nobody, hold_s) == (None, 150.0)
    cc, backend, _ = built({**NATS, "format": "cc", **REST})
    assert isinstance(cc, NatsSink)
    assert isinstance(backend, RestSink)
    assert backend.name == cc.name == "x"


def test_who_has_no_nats_sink_does_not_pay_for_it() -> None:
    """The daemon with a REST sink imports nothing of nats-py."""
    program = (
        "import sys, slurmsyncd.daemon.service\n"
        "from slurmsyncd.clock import SystemClock\n"
        "from slurmsyncd.sinks.registry import build_sink\n"
        "from slurmsyncd.config import SinkConfig\n"
        "build_sink(SinkConfig(url='http://127.0.0.1', token_file='t'), {}, SystemClock())\n"
        "sys.exit(any(name.partition('.')[0] == 'nats' for name in sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
