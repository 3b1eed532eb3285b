"""One worker process after the fork: its loop, its listeners, its heartbeat, its drain, its exit code.

The supervisor has made everything that must outlive a worker (sockets, TLS contexts, segment, doorbell)
before it forked; the loop is made here, because a loop does not survive a fork.
"""

import asyncio
import contextlib
import encodings.idna  # noqa: F401  (for getaddrinfo: the `user` may not be able to read Python's files)
import faulthandler
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import setproctitle
import uvloop

from shmcache.core import PAGE_BYTES
from worker.compose import Composed
from worker.http3 import Http3, alt_svc
from worker.observe.connections import ConnectionCounts
from worker.observe.metrics import LoopStalls
from worker.protocol import tls
from worker.protocol.accept import Acceptor
from worker.protocol.acme_tls import answer_challenges
from worker.protocol.versions import HttpServer
from worker.settings import Limits
from worker.start import Exit, WorkerStart, tell_failure, tell_ready

log = logging.getLogger("edgecluster.worker")

TICK_S = 0.25  # sweep of the timeouts, flush of the log, heartbeat
TICKS_PER_PROTOCOL_SWEEP = 4
SETTLE_S = 0.25  # from the last accept until its connection is made
HANDSHAKES_S = 1.0  # what a draining worker waits for handshakes of TLS and QUIC under way
LINGER_S = 1.0  # what a draining worker waits for one more request on an idle connection
# When to look for cycles: what a connection leaves is freed by its last reference, nearly always. Python's
# own (700, 10, 10) cost about a tenth of a handshake. In `scripts/bench --only handshake` resumed TLS 1.2
# went from 1.95-2.06 of nginx to 1.76, full TLS 1.3 from 1.67-1.74 to 1.60.
COLLECT = (50_000, 20, 100)
LENDABLE = 0.1  # of the cache, for the stored bodies that this worker's clients are being sent
CLOSE_S = 2.0  # what closing may take after the drain, before the loop ends regardless


def main(start: WorkerStart) -> int:
    """Serve until SIGTERM; the exit code. Called once, in the forked process."""
    setproctitle.setproctitle(f"edgecluster: worker {start.lane}")
    gc.set_threshold(*COLLECT)
    faulthandler.enable()  # SIGABRT, sent to a worker whose loop hangs, prints where it hangs
    if start.core is not None:
        with contextlib.suppress(OSError):  # the core went offline: any other will do
            os.sched_setaffinity(0, {start.core})
    start.segment.join(start.member, time.monotonic_ns())
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_live(start, loop))
    finally:
        with contextlib.suppress(Exception):
            loop.close()


async def _live(start: WorkerStart, loop: asyncio.AbstractEventLoop) -> int:
    worker = Worker(start, loop)
    try:
        await worker.open()
    except Exception as error:
        if not isinstance(error, OSError):  # a file or an address is the operator's, the rest is ours
            log.exception("worker %d could not boot", start.lane)
        tell_failure(start.ready, f"worker {start.lane} could not boot: {_words(error)}")
        return Exit.COULD_NOT_BOOT
    tell_ready(start.ready)
    await worker.stopping.wait()
    await worker.drain()
    return Exit.DRAINED


def _affordable(limits: Limits) -> Limits:
    """No more connections than half of the file descriptors: the others are for origins and files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return replace(limits, connections=min(limits.connections, max(1, files // 2)))


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"cannot open {os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or repr(error)


class Worker:
    """The running worker: what was composed, who listens, what still runs in the background."""

    def __init__(self, start: WorkerStart, loop: asyncio.AbstractEventLoop) -> None:
        self.start = start
        self.loop = loop
        self.stopping = asyncio.Event()
        self.hurried = asyncio.Event()  # the drain is over, whatever still runs
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = ConnectionCounts(start.segment.statistics)
        self.protocols: list[HttpServer] = []
        self.servers: list[asyncio.AbstractServer] = []
        self.http3: Http3 | None = None
        self.note_stall = LoopStalls(start.segment.statistics)
        self.lendable_bytes = int(start.segment.occupancy()["pages_total"] * PAGE_BYTES * LENDABLE)
        self.next_tick_s = 0.0
        self.ticks = 0
        self.timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Compose the pipeline and accept on every listener. Raises when that cannot be."""
        start, loop = self.start, self.loop
        bound = tuple(listening.settings for listening in start.listening)  # with the ports that are ours
        settings = replace(start.settings, listeners=bound)
        self.composed = Composed(
            settings,
            start.segment,
            self.spawn,
            geo=start.geo,
            lists=start.lists,
            bans=start.bans,
            judges=start.judges,
            count_rule=start.count_rule,
        )
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        loop.add_signal_handler(signal.SIGUSR2, self.hurried.set)
        loop.add_signal_handler(signal.SIGUSR1, self.reopen_log)
        loop.add_reader(start.doorbell, self.on_doorbell)
        if start.http3 is not None:
            self.http3 = Http3(start, start.http3, loop)
        if start.settings.acme:
            for context in {one.context for one in start.listening if one.context is not None}:
                answer_challenges(context, self.composed.challenge_certificate)
        limits = _affordable(start.settings.limits)
        for listening in start.listening:
            protocol = HttpServer(
                self.composed.edge,
                limits,
                listening.settings,
                start.settings.name,
                trusted=start.settings.trusted_proxies,
                tally=self.counts,
                door=self.composed.door,
                http2=start.settings.http2
                if listening.settings.scheme == "https"
                else start.settings.http2_plain,
            )
            if self.http3 is not None and listening.udp is not None:
                protocol.alt_svc = alt_svc(listening.settings.port)
                self.http3.serve(listening.udp, protocol)
            self.protocols.append(protocol)
            protocol.siblings = self.protocols
            self.servers.append(await tls.serve(loop, listening.socket, listening.context, protocol))
        self.next_tick_s = loop.time()
        self.tick()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background, kept alive until it ends."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def on_doorbell(self) -> None:
        """Another process rang: a lease some request waits for has ended."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.start.doorbell, 8)
        self.composed.on_doorbell()

    def reopen_log(self) -> None:
        """After a log rotation."""
        try:
            self.composed.reopen_log()
        except OSError as error:
            log.error("the access log stays where it was: %s", _words(error))

    def tick(self) -> None:
        """The loop's own pulse; how late it comes is how long something held the loop."""
        now_s = self.loop.time()
        self.note_stall(int((now_s - self.next_tick_s) * 1e9))
        now_ns = time.monotonic_ns()
        self.start.segment.beat(now_ns)
        self.composed.sweep(now_ns)
        if self.ticks % TICKS_PER_PROTOCOL_SWEEP == 0:  # it looks at every connection
            for protocol in self.protocols:
                protocol.lends_too_much = self.start.segment.cache.pinned_bytes > self.lendable_bytes
                protocol.sweep(now_ns)
        if self.http3 is not None:
            self.http3.count()
            if self.stopping.is_set():
                self.http3.yield_sockets()
        self.ticks += 1
        self.composed.flush()
        self.next_tick_s = now_s + TICK_S
        self.timer = self.loop.call_at(self.next_tick_s, self.tick)

    async def drain(self) -> None:
        """Stop accepting, let what runs finish for up to `drain_timeout_s` or until SIGUSR2, cut the rest."""
        timeout_s = self.start.settings.drain_timeout_s
        await self._stop_accepting(timeout_s)
        await self._wait_empty(min(LINGER_S, timeout_s))
        for protocol in self.protocols:
            protocol.drain()
        await self._wait_empty(timeout_s)
        for protocol in self.protocols:
            protocol.abort()
        if self.http3 is not None:
            self.http3.close()
        for task in self.tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*self.tasks, return_exceptions=True)
                await self.composed.close()
        if self.timer is not None:
            self.timer.cancel()

    async def _stop_accepting(self, timeout_s: float) -> None:
        """Take no new connection, and let those already taken get as far as their first request."""
        if self.http3 is not None:
            self.http3.yield_sockets()
        for server in self.servers:
            server.close()
        await asyncio.sleep(min(SETTLE_S, timeout_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(HANDSHAKES_S, timeout_s)):
                for server in self.servers:
                    if isinstance(server, Acceptor):
                        await server.wait_closed()
                if self.http3 is not None:
                    await self.http3.wait_shaken()

    async def _wait_empty(self, timeout_s: float) -> None:
        """Until no connection and no background task is left, `timeout_s` at most.

        Every answer tells its client meanwhile that the connection ends behind it. That is why `drain`
        comes here before it closes the idle ones: a connection just accepted looks idle until its
        request is read, and closing it would drop that request.
        """
        for protocol in self.protocols:
            protocol.draining = True
        empty = asyncio.ensure_future(self._become_empty())
        hurried = asyncio.ensure_future(self.hurried.wait())
        await asyncio.wait((empty, hurried), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for waiter in (empty, hurried):
            waiter.cancel()
        await asyncio.gather(empty, hurried, return_exceptions=True)

    async def _become_empty(self) -> None:
        for protocol in self.protocols:
            await protocol.wait_empty()
        while self.tasks:
            await asyncio.wait(self.tasks)
