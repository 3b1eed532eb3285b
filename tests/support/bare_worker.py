"""A worker without pipeline, for tests of the supervisor: says who it is, hangs or fails when asked.

Every connection is one HTTP request; the answer is JSON with pid, lane, member and name. So is that to a
datagram of HTTP/3's port; one that begins as a packet for another member is handed over. Paths: `/hang`
blocks the loop for ever, `/slow` answers after a second. Settings names: `cannot-boot` exits as a worker
that cannot boot, `crashes` dies before it serves, `cannot-boot-1` is lane 1 failing alone, `lingers` drains
until it is told that its drain is over.
"""

import asyncio
import contextlib
import faulthandler
import json
import os
import signal
import socket
import time

from cluster.process import ControlStart
from worker.protocol.quic.handover import Handover
from worker.protocol.quic.link import Address
from worker.start import Exit, Http3Start, UdpListening, WorkerStart, tell_failure, tell_ready


def main(start: WorkerStart) -> int:
    """The worker; give it to the supervisor as `worker_main`."""
    faulthandler.enable()
    start.segment.join(start.member, time.monotonic_ns())
    name = start.settings.name
    if name == "crashes":
        return 7
    if name == "cannot-boot" or (name == "cannot-boot-1" and start.lane == 1):
        tell_failure(start.ready, f"worker {start.lane} could not boot: as the test wants it")
        return Exit.COULD_NOT_BOOT
    return asyncio.run(_live(start))


async def _live(start: WorkerStart) -> int:
    loop = asyncio.get_running_loop()
    stopping, hurried = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR2, hurried.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: os.write(1, b"reopened by %d\n" % os.getpid()))
    running: set[asyncio.Task[None]] = set()

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            task = loop.create_task(_answer(start, listening.accept()[0]))
            running.add(task)
            task.add_done_callback(running.discard)

    for one in start.listening:
        loop.add_reader(one.socket, accept, one.socket)
    desk = None if start.http3 is None else Desk(start, start.http3)
    pulse = loop.create_task(_beat(start))
    tell_ready(start.ready)
    await stopping.wait()
    for one in start.listening:
        loop.remove_reader(one.socket)
        one.socket.close()
    if desk is not None:
        desk.drain()
    while running:
        await asyncio.wait(running)
    if start.settings.name == "lingers":
        await hurried.wait()
    pulse.cancel()
    return Exit.DRAINED


class Desk:
    """Answers datagrams with who got them, and by which way."""

    def __init__(self, start: WorkerStart, http3: Http3Start) -> None:
        self.start = start
        self.loop = asyncio.get_running_loop()
        self.udp = {one.udp.number: one.udp for one in start.listening if one.udp is not None}
        self.handover = Handover(
            http3.inbox, http3.outboxes, lambda member: start.segment.member_info(member).joined
        )
        self.secret = http3.secret.hex()
        self.loop.add_reader(self.handover.fileno(), self.on_inbox)
        for udp in self.udp.values():
            self.loop.add_reader(udp.socket.fileno(), self.on_socket, udp)

    def on_socket(self, udp: UdpListening) -> None:
        with contextlib.suppress(BlockingIOError):
            data, peer = udp.socket.recvfrom(2048)
            if not self.handover.pass_on(udp.number, data[2], data, peer[:2]):
                self.answer(udp, peer[:2], "nobody's")

    def on_inbox(self) -> None:
        for number, _, peer in self.handover.receive():
            self.answer(self.udp[number], peer, "inbox")

    def answer(self, udp: UdpListening, peer: Address, way: str) -> None:
        who = {"pid": os.getpid(), "lane": self.start.lane, "member": self.start.member, "way": way}
        udp.socket.sendto(json.dumps({**who, "secret": self.secret}).encode(), peer)

    def drain(self) -> None:
        for udp in self.udp.values():
            if udp.readers[self.start.lane] != self.start.member:
                self.loop.remove_reader(udp.socket.fileno())


async def _beat(start: WorkerStart) -> None:
    while True:
        start.segment.beat(time.monotonic_ns())
        await asyncio.sleep(0.1)


async def _answer(start: WorkerStart, accepted: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=accepted)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path == b"/hang":
            while True:
                time.sleep(1)  # noqa: ASYNC251 - holding the loop is the point
        if path == b"/slow":
            await asyncio.sleep(1)
        who = {"pid": os.getpid(), "lane": start.lane, "member": start.member, "name": start.settings.name}
        body = json.dumps(who).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def control(start: ControlStart) -> int:
    """A control process that only waits; give it to the supervisor as `control_main`."""
    start.segment.join(start.member, time.monotonic_ns())
    tell_ready(start.ready)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while signal.sigtimedwait({signal.SIGTERM}, 0.1) is None:
        start.segment.beat(time.monotonic_ns())
    return Exit.DRAINED


def failing_control(start: ControlStart) -> int:
    """A control process that dies at once."""
    return 9
