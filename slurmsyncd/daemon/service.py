"""Everything that runs of one configuration: intake, outlet, housekeeping, and the end of it all."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from slurmsyncd import __version__
from slurmsyncd.control.health import assess, summary_line
from slurmsyncd.control.previews import GetPreviews, RunPreviews, previews
from slurmsyncd.control.server import LIMITS, control_handler, web_sockets
from slurmsyncd.control.status import GetStatus, Status
from slurmsyncd.control.store_requests import GetRunHistories, GetTotals
from slurmsyncd.daemon import status_report as report
from slurmsyncd.daemon.collectors import Collectors
from slurmsyncd.daemon.deliveries import STOP_S, Deliveries
from slurmsyncd.errors import ConfigError, DiskFull, StoreError
from slurmsyncd.http_server.server import serve as web
from slurmsyncd.pipeline.loop_lag import LoopLag
from slurmsyncd.pipeline.minute_counters import MinuteCounters
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.store import open_store
from slurmsyncd.triggers.hook_sockets import build_filter
from slurmsyncd.triggers.listener import listen
from slurmsyncd.triggers.spool import SpoolReader, spool

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from slurmsyncd.config import Config
    from slurmsyncd.control.store_requests import ControlRequest
    from slurmsyncd.host.sd_notify import ServiceManager
    from slurmsyncd.store.queries import RunHistory

log = structlog.get_logger(__name__)

#: Between two rounds of housekeeping: pruning, and seeing that the files are still ours.
HOUSEKEEPING_S = 60.0
#: Runs that the status page shows.
LATEST = 20
#: Runs forgotten in one transaction.
PRUNED = 1000
#: Between two looks at the counters, for the rates of the last minutes.
COUNT_S = 10.0
#: Between two signs of life where systemd asks for none.
PING_S = 10.0
#: Between two lines for `systemctl status`: counting 100,000 waiting entries takes 50 ms.
STATUS_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSockets:
    """What the process listens on, through all reloads."""

    hints: Sequence[socket.socket]
    control: Sequence[socket.socket]


class StatusViews:
    """What metrics and page are made of."""

    def __init__(self, loops: Service) -> None:
        self._loops = loops

    async def status(self, minutes: int) -> Status:
        """Return how we are doing, with the last minutes."""
        return await self._loops.status(GetStatus(minutes))

    async def latest(self) -> tuple[RunHistory, ...]:
        """Return the runs that were written down last."""
        return await self._loops.in_thread(self._loops.store.latest_runs, LATEST)

    async def stories(self, job_id: int) -> tuple[RunHistory, ...]:
        """Return all that is known of a job's runs."""
        return await self._loops.in_thread(self._loops.store.run_histories, job_id)


class Service:
    """
    Everything that runs, built from one configuration. Close it to build another.

    Attributes:
        refused: Why the configuration on disk is not the one in force; empty if it is, as far as is known.
    """

    def __init__(self, config: Config, manager: ServiceManager, rates: MinuteCounters | None = None) -> None:
        if not config.sinks:
            raise ConfigError(["sinks: none is configured; add [sinks.NAME] with url and token_file"])
        self._config = config
        self._manager = manager
        self._rates = rates or MinuteCounters()
        self._stopping = False
        self.refused = ""
        self.in_thread = StoreThread()
        daemon = config.daemon
        opened = open_store(daemon.state_dir, tuple(config.sinks))
        self.store = opened.store
        # What cannot be built must not keep the store: a reload goes on with what ran before.
        with ExitStack() as undo:
            undo.callback(self.store.close)
            self.outlet = Deliveries(config, self.store, self.in_thread)
            self.intake = Collectors(
                config, self.store, self.in_thread, recovered=bool(opened.recovered), ring=self.outlet.wake
            )
            self.lag = LoopLag()
            self._gate = build_filter(config.hook, self.intake.notify)
            self._web = undo.enter_context(web_sockets(config.web))
            undo.enter_context(spool(config.hook))
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Let go of the store, and of what we serve on."""
        self._undo.close()

    async def run(
        self,
        sockets: ListeningSockets,
        signals: AsyncIterator[signal.Signals],
        reread: Callable[[], Config],
    ) -> Config | None:
        """
        Run all loops until a signal ends them.

        Returns:
            The configuration to go on with, None to stop.
        """
        came: list[signal.Signals] = []
        async with anyio.create_task_group() as answering:
            # To the end: who asks a daemon that is stopping would else wait for one that never answers.
            answering.start_soon(self._answer, sockets.control, name="control")
            answering.start_soon(self._ping, name="watchdog")
            async with anyio.create_task_group() as sending:
                self.outlet.start(sending)
                async with anyio.create_task_group() as taking_in:
                    self._start_intake(taking_in, sockets)
                    sinks, managed = sorted(self._config.sinks), bool(self._manager)
                    log.info("ready", version=__version__, sinks=sinks, systemd=managed)
                    self._manager.ready()
                    following = await self._next_config(signals, reread)
                    taking_in.cancel_scope.cancel()
                if following is None:  # after this word systemd kills whatever is still there in the end
                    self._stopping = True
                    self._manager.stopping(STOP_S + 5.0, "finishing what is under way")
                await self.outlet.finish(sending, signals, came)
            answering.cancel_scope.cancel()
        await self.outlet.aclose()
        if following is None or any(signum is not signal.SIGHUP for signum in came):
            return None
        return (self._read_again(reread) if came else None) or following

    async def _next_config(
        self, signals: AsyncIterator[signal.Signals], reread: Callable[[], Config]
    ) -> Config | None:
        """Wait for the signal that ends the loops. Return the configuration to go on with, None to stop."""
        async for signum in signals:
            if signum is not signal.SIGHUP:
                log.info("stopping", signal=signum.name)
                return None
            if config := self._read_again(reread):
                return config
            self._manager.ready()
        return None

    def _read_again(self, reread: Callable[[], Config]) -> Config | None:
        """Read the configuration, and report a reload to systemd. Return None if it has mistakes."""
        self._manager.reloading()
        try:
            config = reread()
        except ConfigError as err:
            self.refused = refused(err)
            return None
        log.info("reloading")
        return config

    def _start_intake(self, group: TaskGroup, sockets: ListeningSockets) -> None:
        def start_reports(beside: TaskGroup) -> None:
            self.outlet.start_reports(beside, self.intake.sources, self.intake.has_polled)

        group.start_soon(listen, self._gate, sockets.hints, name="hints")
        if self._config.hook.spool:
            group.start_soon(SpoolReader(self._config.hook.spool, self._gate).poll_spool, name="hints-spool")
        if self._web:
            # Only where it is wanted; and before READY, so that an upgrade finds all of it in memory.
            from slurmsyncd.observe import access, routes  # noqa: PLC0415

            config = self._config.web
            tls = access.WebCertificate(config).context if config.cert_file else None
            login = access.WebCredentials(config) if config.password_file else None
            handler = routes.routes(StatusViews(self), page=config.page, login=login)
            group.start_soon(web, self._web, handler, routes.LIMITS, tls, name="web")
        group.start_soon(self.intake.run, start_reports, name="collect")
        group.start_soon(self.lag.run, name="lag")
        group.start_soon(self._keep_counting, name="rates")
        group.start_soon(self._housekeeping, name="housekeeping")
        if self._manager:
            group.start_soon(self._say_status, name="status")

    async def _answer(self, sockets: Sequence[socket.socket]) -> None:
        # Serving closes what it is given; the next round after a reload needs them again.
        live: dict[str, Callable[[Any], Awaitable[Any]]] = {
            GetStatus.__name__: self.status,
            GetPreviews.__name__: self._tell_previews,
        }
        handler = control_handler(self._in_store, live)
        await web([sock.dup() for sock in sockets], handler, LIMITS)

    async def status(self, request: GetStatus) -> Status:
        """Return how we are doing."""
        totals = await self.in_thread(GetTotals().run, self.store)
        self._count()
        now = time.time()
        live = report.live_status(
            self._config,
            self.intake,
            self.outlet,
            hints=self._gate.counts(),
            lag=self.lag,
            minutes=self._rates.last(request.minutes, now),
            stopping=self._stopping,
            reload_refused=self.refused,
        )
        return Status(now=now, totals=totals, live=live)

    async def _tell_previews(self, request: GetPreviews) -> tuple[RunPreviews, ...]:
        """Return what sinks are sent of a job, with what they were found to be."""
        stories = await self.in_thread(GetRunHistories(request.job_id).run, self.store)
        return previews(stories, self._config, self.outlet.known())

    def _count(self) -> None:
        self._rates.sample(report.counters(self.intake, self.outlet.deliveries), time.time())

    async def _keep_counting(self) -> None:
        while True:
            self._count()
            await anyio.sleep(COUNT_S)

    async def _in_store(self, request: ControlRequest[Any]) -> Any:
        """Carry out what an operator asked for; what it made due is delivered at once."""
        result = await self.in_thread(request.run, self.store)
        self.outlet.wake()
        return result

    async def _housekeeping(self) -> None:
        """See that the files are still ours, and forget what is settled and older than any look back."""
        keep_s = self._config.daemon.max_span + 86400.0
        while True:
            await anyio.sleep(HOUSEKEEPING_S)
            await self.in_thread(self.store.check_files)
            with suppress(DiskFull):  # said by those who take in; nothing is lost by forgetting later
                forgotten = PRUNED
                while forgotten == PRUNED:
                    forgotten = await self.in_thread(self.store.prune, time.time(), keep_s, PRUNED)

    async def _ping(self) -> None:
        """Ping the watchdog from the loop itself, so that a stall of the loop is noticed."""
        while True:
            self._manager.ping_watchdog()
            await anyio.sleep(self._manager.watchdog_s or PING_S)

    async def _say_status(self) -> None:
        """Have `systemctl status` show what `slurmsyncd status` says first."""
        while True:
            with suppress(StoreError):  # who has to write there says it
                self._manager.status(summary_line(assess(await self.status(GetStatus(0)))))
            await anyio.sleep(STATUS_S)


def refused(err: ConfigError) -> str:
    """Log that a configuration is not taken over. Return why, for status."""
    log.error("reload_refused", problems=err.problems)
    return "; ".join(err.problems)
