"""Several real worker processes on one segment, each with gate, fill and origin client on its own loop.

    with CacheWorkers(3, segment_bytes) as workers:   # forked before any thread or loop exists here
        workers.tell(0, Order(origin.port, ["/a"] * 50))
        answers = workers.answers(0)

An order is a list of paths that a worker asks for at once; answers come back in order.
"""

import asyncio
import os
import pickle
import signal
import struct
import traceback
from dataclasses import dataclass
from time import monotonic_ns, time
from types import TracebackType
from typing import Any, Self, cast

from shmcache.core import MEMBERS
from tests.support.cache_room import CLIENT, CODINGS, make_request, make_segment, read_body
from worker.cache.fill import Fill
from worker.cache.key import key_maker
from worker.cache.lookup import Lookup
from worker.cache.purge import Purge
from worker.context import Context
from worker.errors import EdgeError
from worker.message import Stream
from worker.origin.fetch import OriginFetch
from worker.settings import CacheSettings, OriginSettings

SWEEP_S = 0.1


@dataclass(slots=True)
class Order:
    """What a worker is to do: ask for all of `paths` at once, or purge a URL."""

    port: int
    paths: list[str]
    purge: str = ""
    half: int = 0  # tell (`halfway`) when every request has so many bytes of its body


@dataclass(slots=True)
class Answer:
    """What became of one request."""

    status: int
    outcome: str
    body: bytes  # as far as it came
    cut: bool = False  # the body broke off


@dataclass(slots=True)
class Child:
    """A worker as its parent sees it."""

    pid: int
    orders: int
    answers: int


class CacheWorkers:
    """Fork on entry; end, audit and release on exit."""

    def __init__(self, count: int, settings: CacheSettings | None = None) -> None:
        self.count = count
        self.settings = settings or CacheSettings()

    def __enter__(self) -> Self:
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(MEMBERS)]
        self.segment = make_segment(doorbells=self.bells)
        self.children = [self._fork(member) for member in range(self.count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in range(self.count):
            if self.children[member].pid:
                self.kill(member)
        for bell in self.bells:
            os.close(bell)
        faults = self.segment.audit()
        self.segment.close()
        if error is None:
            assert faults == []

    def tell(self, member: int, order: Order) -> None:
        _write(self.children[member].orders, order)

    def answers(self, member: int) -> list[Answer]:
        """What the oldest order not yet answered for came to."""
        return cast(list[Answer], _read(self.children[member].answers))

    def halfway(self, member: int) -> int:
        """How many requests have their half, once all of the order's have."""
        return cast(int, _read(self.children[member].answers))

    def purged(self, member: int) -> bool:
        """Whether the purge that was ordered found something."""
        return cast(bool, _read(self.children[member].answers))

    def kill(self, member: int) -> None:
        """kill -9, and what the supervisor does after it."""
        child = self.children[member]
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        os.close(child.orders)
        os.close(child.answers)
        child.pid = 0
        self.segment.reap(member)

    def _fork(self, member: int) -> Child:
        orders_out, orders_in = os.pipe()
        answers_out, answers_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(orders_in)
                os.close(answers_out)
                self.segment.join(member, monotonic_ns())
                asyncio.run(self._serve(member, orders_out, answers_in))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(orders_out)
        os.close(answers_in)
        return Child(pid, orders_in, answers_out)

    async def _serve(self, member: int, orders: int, answers: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            order = cast(Order, await loop.run_in_executor(None, _read, orders))
            if order.purge:
                _write(answers, Purge(self.segment.cache).url(order.purge).found)
                continue
            worker = _Worker(self, member, order.port)
            requests = [loop.create_task(worker.ask(path, order.half)) for path in order.paths]
            if order.half:
                while worker.halfway < len(requests):  # noqa: ASYNC110 (requests know nothing of events)
                    await asyncio.sleep(0.01)
                _write(answers, worker.halfway)
            _write(answers, await asyncio.gather(*requests))
            await worker.close()


class _Worker:
    """One worker's stages for one order."""

    def __init__(self, workers: CacheWorkers, member: int, port: int) -> None:
        segment, settings = workers.segment, workers.settings
        self.bell = workers.bells[member]
        self.loop = asyncio.get_running_loop()
        self.origin = OriginFetch(OriginSettings("http", "127.0.0.1", port, retries=0))
        self.lookup = Lookup(segment.cache, settings, CODINGS, key_maker(settings.key))
        self.fill = Fill(self.origin, segment.cache, segment.leases, settings, CODINGS, self.loop.create_task)
        self.loop.add_reader(self.bell, self.ring)
        self.sweeper = self.loop.create_task(self.sweep())
        self.halfway = 0  # requests that have half their body

    def ring(self) -> None:
        os.eventfd_read(self.bell)
        self.fill.on_doorbell()

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.fill.sweep(monotonic_ns())
            self.origin.sweep(monotonic_ns())

    async def ask(self, path: str, half: int = 0) -> Answer:
        ctx = Context(make_request(path), CLIENT, b"0" * 32, monotonic_ns(), time())
        try:
            response = self.lookup(ctx) or await self.fill(ctx)
        except EdgeError as error:
            return Answer(error.status, ctx.outcome.value, b"")
        first = b""
        try:
            while len(first) < half:
                first += await cast(Stream, response.body).read()
            self.halfway += 1
            return Answer(response.status, ctx.outcome.value, first + await read_body(response))
        except EdgeError:
            return Answer(response.status, ctx.outcome.value, b"", cut=True)

    async def close(self) -> None:
        self.sweeper.cancel()
        self.loop.remove_reader(self.bell)
        self.origin.close()
        await self.origin.wait_closed()


def _write(fd: int, what: object) -> None:
    data = pickle.dumps(what)
    data = struct.pack("<I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def _read(fd: int) -> Any:
    """Blocks until a whole message is there."""
    (size,) = struct.unpack("<I", _read_exactly(fd, 4))
    return pickle.loads(_read_exactly(fd, size))


def _read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            raise EOFError("the worker is gone")
        data += piece
    return data
