"""What can go wrong, in decks: the cards of one deck come one after the other, decks at the same time."""

from __future__ import annotations

import resource
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.sandbox.slurm import faults
from tests.tools.oracle import proxy
from tests.tools.oracle.world import BACKOFF_MAX_S, CLUSTER, COMMAND_TIMEOUT_S, EXCHANGE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from random import Random

    from tests.tools.oracle.world import World

    Trouble = Callable[[World, Random], Awaitable[bool]]

#: systemd's patience with a stop.
STOP_S = 30.0
DISK_FULL = "disk full"
CLOCK_JUMPS = "clock jumps"
#: Seconds that the daemon's clock is off for a while: less and more than windows overlap, and by days.
JUMPS_S = (-3600, -60, 30, 60, 2 * 86400)
#: For how long a trouble waits for something to strike.
PATIENCE_S = 12.0


@dataclass(frozen=True, slots=True)
class Card:
    """One trouble; `happen` says whether it struck."""

    name: str
    happen: Trouble


# --- the daemon ---------------------------------------------------------------------------------------------


async def _kill(world: World, dice: Random) -> bool:
    """Kill it at any moment, before it is ready too."""
    world.daemon.asked_to_end = True
    world.daemon.kill()
    await _restarted(world)
    return True


async def _kill_twice(world: World, dice: Random) -> bool:
    """Kill it, and again while it starts."""
    lives = world.daemon.lives
    world.daemon.asked_to_end = True
    world.daemon.kill()
    await until(lambda: world.daemon.lives > lives, PATIENCE_S)
    await anyio.sleep(dice.uniform(0.0, 1.0))
    return await _kill(world, dice)


async def _terminate(world: World, dice: Random) -> bool:
    """Ask it to end: it does so in time, with status 0 and everything settled."""
    await _ready(world)
    lives = world.daemon.lives
    world.daemon.asked_to_end = True
    world.daemon.signal(signal.SIGTERM)
    if not await until(lambda: world.daemon.status is not None or world.daemon.lives > lives, STOP_S):
        world.daemon.bad.append(f"SIGTERM did not end it in {STOP_S} s")
        world.daemon.kill()
    elif world.daemon.lives == lives and world.daemon.status:
        world.daemon.bad.append(f"SIGTERM ended it with {world.daemon.status}")
    await _restarted(world)
    return True


async def _freeze(world: World, dice: Random) -> bool:
    """Stop it for a while, as a suspended host does."""
    await _ready(world)
    with world.unseen():
        world.daemon.signal(signal.SIGSTOP)
        await anyio.sleep(dice.uniform(0.5, 4.0))
        world.daemon.signal(signal.SIGCONT)
    return True


async def _reload(world: World, dice: Random) -> bool:
    """Have it read its configuration again."""
    await _ready(world)
    world.daemon.signal(signal.SIGHUP)
    await anyio.sleep(dice.uniform(0.1, 1.0))
    return True


async def _ready(world: World) -> None:
    with anyio.move_on_after(PATIENCE_S):
        await world.daemon.ready.wait()


async def _restarted(world: World) -> None:
    lives = world.daemon.lives
    if await until(lambda: world.daemon.lives > lives, PATIENCE_S):
        await _ready(world)


# --- between daemon and backend -----------------------------------------------------------------------------


def _wire(fault: str) -> Trouble:
    async def happen(world: World, dice: Random) -> bool:
        before = world.proxy.met[fault]
        world.proxy.fault = fault
        await _struck(lambda: world.proxy.met[fault] > before, dice.uniform(0.2, 1.5))
        world.proxy.fault = None
        return world.proxy.met[fault] > before

    return happen


async def _refuse(world: World, dice: Random) -> bool:
    """Nobody listens where the backend was."""
    await world.proxy.refuse()
    await anyio.sleep(dice.uniform(0.5, 2 * BACKOFF_MAX_S))
    await world.proxy.listen()
    return True


# --- the backend --------------------------------------------------------------------------------------------


async def _crash_backend(world: World, dice: Random) -> bool:
    world.backend.kill()
    await anyio.sleep(dice.uniform(0.0, 2.0))
    await world.backend.start()
    return True


async def _restart_backend(world: World, dice: Random) -> bool:
    world.backend.signal(signal.SIGTERM)
    await until(lambda: world.backend.status is not None, PATIENCE_S)
    return await _crash_backend(world, dice)


def _count(knob: str, most: int) -> Trouble:
    """A knob that is used up."""

    async def happen(world: World, dice: Random) -> bool:
        count = dice.randint(1, most)
        await world.backend.turn(**{knob: count})
        left, patience_s = count, dice.uniform(2.0, PATIENCE_S)
        while left and patience_s > 0:
            await anyio.sleep(0.2)
            patience_s -= 0.2
            left = (await world.backend.ask("GET", "/-/knobs"))[knob]
        await world.backend.turn(**{knob: 0})
        return bool(left < count)

    return happen


async def _far_is_dead(world: World, dice: Random) -> bool:
    """The second backend cannot be reached for long, and then for a moment."""
    proxy, there = world.far.proxy, len(world.far.proxy.passed)
    await proxy.refuse()
    await anyio.sleep(dice.uniform(6.0, 15.0))
    away = len(proxy.passed) == there
    await proxy.listen()
    await anyio.sleep(dice.uniform(1.0, 3.0))
    return away


async def _stops_race(world: World, dice: Random) -> bool:
    """Stops of the second backend meet the very moment in which it commits their runs."""
    await world.far.backend.turn(race_stops=2)
    await anyio.sleep(dice.uniform(1.0, 4.0))
    left = (await world.far.backend.ask("GET", "/-/knobs"))["race_stops"]
    await world.far.backend.turn(race_stops=0)
    return bool(left < 2)


def _level(knob: str, low: float, high: float) -> Trouble:
    """A knob that stays turned for a while."""

    async def happen(world: World, dice: Random) -> bool:
        before, off = len(world.proxy.passed), (await world.backend.ask("GET", "/-/knobs"))[knob]
        await world.backend.turn(**{knob: dice.uniform(low, high)})
        await _struck(lambda: len(world.proxy.passed) > before, dice.uniform(1.0, 4.0))
        await world.backend.turn(**{knob: off})
        return len(world.proxy.passed) > before

    return happen


async def _unauthorized(world: World, dice: Random) -> bool:
    await world.backend.turn(unauthorized=True)
    await anyio.sleep(dice.uniform(0.5, 3.0))
    await world.backend.turn(unauthorized=False)
    return True


async def _unknown_node(world: World, dice: Random) -> bool:
    """An admin's mistake in cluster.json, mended later."""
    began = time.time()
    before = len(world.proxy.passed)
    part = {**world.cluster, "subClusters": world.cluster["subClusters"][:1]}
    await world.backend.ask("PUT", "/-/clusters", part)

    def refused() -> bool:
        return any(one.status == 400 for one in world.proxy.passed[before:])

    await _struck(refused, dice.uniform(0.5, 2.0))
    await world.backend.ask("PUT", "/-/clusters", world.cluster)
    world.unmapped.append((began, time.time()))
    return refused()


# --- Slurm --------------------------------------------------------------------------------------------------


def _slurm(name: str, *values: str, command: str = "", longest_s: float = 3.0) -> Trouble:
    async def happen(world: World, dice: Random) -> bool:
        state = world.root / "slurm"
        before = world.calls(command)
        with world.unseen():
            faults.set_fault(state, name, dice.choice(values or ("",)), command)
            try:
                await _struck(lambda: world.calls(command) > before, dice.uniform(0.3, longest_s))
            finally:
                faults.clear_fault(state, name, command)
        return world.calls(command) > before

    return happen


def _poison(kind: str, command: str = "") -> Trouble:
    """One running job's record is unreadable for a while."""

    async def happen(world: World, dice: Random) -> bool:
        running = [run.job_id for run in world.slurm.ledger() if run.end_at is None]
        if not running:
            await anyio.sleep(1.0)
            return False
        return await _slurm("poison", f"{kind}:{dice.choice(running)}", command=command)(world, dice)

    return happen


async def _late(world: World, dice: Random) -> bool:
    """What happens meanwhile reaches slurmdbd seconds later."""
    state = world.root / "slurm"
    before = sum(1 for _ in world.slurm.ledger())
    with world.unseen():
        faults.set_fault(state, "late", str(dice.randint(1, 8)))
        await anyio.sleep(dice.uniform(1.0, 4.0))
        faults.clear_fault(state, "late")
    return sum(1 for _ in world.slurm.ledger()) > before


async def _node_fails(world: World, dice: Random) -> bool:
    node = dice.choice(world.slurm.nodes)["name"]
    world.slurm.take_down(node, time.time(), "power supply")
    await anyio.sleep(dice.uniform(0.5, 3.0))
    world.slurm.take_down(node, time.time(), "")
    return True


async def _operator_requeues(world: World, dice: Random) -> bool:
    running = [run.job_id for run in world.slurm.ledger() if run.end_at is None]
    if not running:
        return False
    world.slurm.requeue(dice.choice(running), time.time())
    return True


# --- the disk, the socket -----------------------------------------------------------------------------------


async def _disk_full(world: World, dice: Random) -> bool:
    before = world.daemon.no_room
    with world.unseen():
        world.disk.fill()
        await _struck(lambda: world.daemon.no_room > before, dice.uniform(0.5, 5.0))
        world.disk.free()
    return world.daemon.no_room > before


async def _file_limit(world: World, dice: Random) -> bool:
    """No file of the daemon's may grow, as with a quota that is used up."""
    await _ready(world)
    before = world.daemon.no_room
    pid, unlimited = world.daemon.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with world.unseen():
        try:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            await _struck(lambda: world.daemon.no_room > before, dice.uniform(0.5, 4.0))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        except ProcessLookupError:  # it was killed meanwhile
            return False
    return world.daemon.no_room > before


async def _clock_jumps(world: World, dice: Random) -> bool:
    """The daemon's clock is wrong for a while; Slurm's and the backend's are right (Z1, Z2, Z4)."""
    await _ready(world)
    with world.unseen():
        world.turn_clock(dice.choice(JUMPS_S))
        before = world.calls()
        await _struck(lambda: world.calls() > before, dice.uniform(0.5, 4.0))
        world.turn_clock(0)
    return world.calls() > before


async def _flood(world: World, dice: Random) -> bool:
    """Hints without number, for jobs that are not, of clusters that are not, and no hints at all."""
    from socket import AF_UNIX, SOCK_DGRAM, socket  # noqa: PLC0415 - Datagrams are needed here alone

    sent = 0
    with socket(AF_UNIX, SOCK_DGRAM) as ringing:
        ringing.setblocking(False)
        for _ in range(2000):
            job = dice.randrange(10**6)
            hint = f"slurmsyncd/1 context=epilog cluster={dice.choice((CLUSTER, 'x'))} job={job} restarts=0\n"
            message = dice.choice((hint.encode(), dice.randbytes(50), b"", hint.encode()[:20]))
            try:
                ringing.sendto(message, f"{world.root}/run/hook.sock")
                sent += 1
            except OSError:
                await anyio.sleep(0.01)
    return sent > 0


_FROM_S = f"down:{COMMAND_TIMEOUT_S / 3:.1f}", "down:0"
_FROZEN = f"frozen:{COMMAND_TIMEOUT_S * 2:.1f}"


DECKS: Mapping[str, tuple[Card, ...]] = {
    "daemon": (
        Card("kill -9", _kill),
        Card("kill -9 twice", _kill_twice),
        Card("SIGTERM", _terminate),
        Card("SIGSTOP", _freeze),
        Card("SIGHUP", _reload),
    ),
    "wire": (*(Card(f"wire {name}", _wire(name)) for name in proxy.FAULTS), Card("wire refused", _refuse)),
    "backend": (
        Card("backend kill -9", _crash_backend),
        Card("backend restart", _restart_backend),
        Card("backend locked", _count("locked", 4)),
        Card("backend hangs up on starts", _count("hang_up_starts", 2)),
        Card("backend hangs up on stops", _count("hang_up_stops", 2)),
        Card("backend bad gateway", _count("bad_gateways", 4)),
        Card("backend slow archive", _level("archive_delay_s", 0.1, 0.7)),
        Card("backend slow", _level("delay_s", 0.2, 1.5 * EXCHANGE_S)),
        Card("backend unauthorized", _unauthorized),
        Card("backend unknown node", _unknown_node),
    ),
    "slurmctld": (
        Card("slurmctld down", _slurm("ctld", *_FROM_S)),
        Card("slurmctld frozen", _slurm("ctld", _FROZEN)),
        Card("empty squeue", _slurm("empty", command="squeue")),
        Card("garbage squeue", _slurm("garbage", command="squeue")),
        Card("truncated squeue", _slurm("truncated", "0", "1", "200", "1000", command="squeue")),
        Card("poison types", _poison("types")),
        Card("poison utf8", _poison("utf8")),
        Card("poison state", _poison("state", "squeue")),
    ),
    "slurmdbd": (
        Card("slurmdbd down", _slurm("dbd", *_FROM_S)),
        Card("slurmdbd frozen", _slurm("dbd", _FROZEN)),
        Card("database down", _slurm("db", *_FROM_S)),
        Card("empty sacct", _slurm("empty", command="sacct")),
        Card("garbage sacct", _slurm("garbage", command="sacct")),
        Card("truncated sacct", _slurm("truncated", "0", "1", "200", "1000", command="sacct")),
        Card("late rows", _late),
    ),
    "commands": (
        Card("munge down", _slurm("munge", *_FROM_S)),
        Card("slow", _slurm("slow", "0.5", "1.5")),
        Card("endless", _slurm("endless")),
        Card("grandchild", _slurm("grandchild", "10")),
        Card("stderr", _slurm("stderr", "a warning")),
        Card("banner", _slurm("banner")),
        Card("node fails", _node_fails),
        Card("operator requeues", _operator_requeues),
    ),
    "host": (
        Card(DISK_FULL, _disk_full),
        Card("file size limit", _file_limit),
        Card(CLOCK_JUMPS, _clock_jumps),
        Card("flood of hints", _flood),
    ),
    "far": (
        Card("second backend dead", _far_is_dead),
        Card("stops race with commits", _stops_race),
    ),
}


def decks(world: World) -> dict[str, list[Card]]:
    """Return what this world can be dealt: only a small disk of its own is filled."""
    without = set() if world.disk.small else {DISK_FULL}
    without |= set() if world.clock else {CLOCK_JUMPS}
    return {
        name: [card for card in cards if card.name not in without]
        for name, cards in DECKS.items()
        if name != "far" or world.peers[1:]
    }


async def _struck(met: Callable[[], bool], at_least_s: float) -> None:
    """Wait so long, and then until it has struck, but not for ever."""
    await anyio.sleep(at_least_s)
    await until(met, PATIENCE_S)
