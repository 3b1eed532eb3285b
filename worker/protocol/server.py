"""What the connections of one listener share: settings, clocks, the set of them, drain and sweep."""

import asyncio
import time
from asyncio import AbstractEventLoop, Future, Task
from collections import Counter
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from itertools import chain, islice
from random import randrange
from typing import Any, Protocol

from worker.addresses import Networks, bucket_key, read_address
from worker.context import Client, Context
from worker.errors import EdgeError
from worker.pipeline import Exchange
from worker.protocol import client_certificate
from worker.protocol.head import SecondReader, normal_authority
from worker.protocol.request_id import RequestIds
from worker.protocol.standing import AT_WORK, Standing
from worker.protocol.tally import NoTally, Tally
from worker.reasons import TurnedAway
from worker.settings import Limits, ListenerSettings, Network

SWEEP_SLICE = 1000  # connections looked at before the loop gets its turn
LOOKED_AT = 1024  # connections, for some that may be closed
CUT_SHARE = 16  # one of so many of them is closed at once, so that looking for them costs little
AUTHORITIES = 4096  # spellings of hosts remembered


class Entrance(Protocol):
    """What a protocol needs of `pipeline.Edge`."""

    def handle(self, ctx: Context, exchange: Exchange) -> Task[None] | None: ...

    def reject(self, ctx: Context, error: EdgeError, exchange: Exchange) -> None: ...


class Connection(Protocol):
    """What a server needs of its connections."""

    @property
    def is_busy(self) -> bool:
        """A request is in hand."""
        ...

    def standing(self) -> Standing:
        """What it may be closed for when there are too many."""
        ...

    def sweep(self, now_ns: int) -> None:
        """End what has lasted too long."""
        ...

    def drain(self) -> None:
        """Close now if idle, else behind the current answer."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


class Door(Protocol):
    """Who may connect at all; `enter` and `leave` belong together."""

    def keeps_out(self, client: Client) -> TurnedAway | None: ...

    def enter(self, client: Client, now_ns: int) -> TurnedAway | None: ...

    def leave(self, client: Client) -> None: ...


class ConnectionServer:
    """The connections of one listener in one worker. Nothing in it asks a timer: the worker calls `sweep`
    about once a second, so timeouts are late by up to one sweep."""

    def __init__(
        self,
        edge: Entrance,
        limits: Limits,
        listener: ListenerSettings,
        name: str = "edgecluster",
        *,
        trusted: Sequence[Network] = (),
        tally: Tally | None = None,
        door: Door | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        self.edge = edge
        self.limits = limits
        self.max_line = limits.request_line_bytes
        self.max_header = limits.header_bytes
        self.max_fields = limits.header_count
        self.max_requests = limits.requests_per_connection
        self.listener = listener.url
        self.scheme = listener.scheme.encode()
        self.name = name
        self.trusted = Networks(trusted)
        self.loop = loop or asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.siblings: Sequence[ConnectionServer] = [self]  # all of a worker, which share the room there is
        self.tally = tally or NoTally()
        self.door = door
        self.alt_svc = b""  # a line for clients that might come by HTTP/3 instead
        self.is_proxied = listener.proxy_protocol
        self.draining = False
        self.lends_too_much = False  # stored bodies on their way to slow clients take too much of the cache
        self.ids = RequestIds()
        self.second_reader = SecondReader()
        self.own_authority = normal_authority(listener.url.partition("://")[2].encode(), self.scheme)
        self.authorities: dict[bytes | None, bytes] = {}  # normal form by spelling
        self._emptied: list[Future[None]] = []
        self.tick(time.monotonic_ns())

    def factory(self, client: Client | None = None, since_ns: int = 0) -> Any:
        """An asyncio protocol for a new connection; by its methods alone, for it has no base class.

        `client`: who is at its other end, where somebody knows already. `since_ns`: when it connected, for
        whose first request `Limits.header_timeout_s` counts from there; 0: now."""
        raise NotImplementedError

    @property
    def active(self) -> int:
        """Connections with a request in hand."""
        return sum(connection.is_busy for connection in self.connections)

    def authority(self, value: bytes) -> bytes:
        """`normal_authority`, remembered: a server is asked for few hosts, and may be asked for any."""
        known = self.authorities.get(value)
        if known is None:
            known = normal_authority(value, self.scheme)
            if len(self.authorities) >= AUTHORITIES:
                self.authorities.clear()
            self.authorities[value] = known
        return known

    def tick(self, now_ns: int) -> None:
        """Read the clocks: coarse time for timeouts, distance of wall and monotonic time, the Date line."""
        wall_s = time.time()
        self.now_ns = now_ns
        self.wall_offset_s = wall_s - now_ns * 1e-9
        self.date_line = b"Date: %b\r\n" % formatdate(wall_s, usegmt=True).encode()

    def sweep(self, now_ns: int) -> None:
        """Enforce every timeout; call it about once a second. `now_ns` is monotonic."""
        self.tick(now_ns)
        self._sweep_slice(iter(tuple(self.connections)), now_ns)

    def _sweep_slice(self, connections: Iterator[Connection], now_ns: int) -> None:
        for seen, connection in enumerate(connections, 1):
            connection.sweep(now_ns)
            if seen == SWEEP_SLICE:
                self.loop.call_soon(self._sweep_slice, connections, now_ns)
                return

    def drain(self) -> None:
        """Close idle connections now, the others behind the answer they are at."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Cut every connection: the drain took too long."""
        for connection in tuple(self.connections):
            connection.abort()

    def welcome(self, client: Client) -> bool:
        """Ask the door; if it lets this client in, `admit` or `part` must follow."""
        if self.door is None or client.has_entered:
            return True
        refusal = self.door.enter(client, time.monotonic_ns())
        if refusal is not None:
            self.tally.turned_away(refusal)
            return False
        client.has_entered = True
        return True

    def keeps_out(self, peer: tuple[str, int]) -> bool:
        """May nobody connect from that address, whatever it does? For those who have proved nothing yet."""
        refusal = None if self.door is None else self.door.keeps_out(self.client_at(peer))
        if refusal is not None:
            self.tally.turned_away(refusal)
        return refusal is not None

    def part(self, client: Client) -> None:
        """A client that was let in has no connection any more; nothing happens the second time."""
        if client.has_entered and self.door is not None:
            client.has_entered = False
            self.door.leave(client)

    def admit(self, connection: Connection, client: Client) -> bool:
        """Take a new connection of `client` in; False if it may not, or there are too many."""
        if not self.welcome(client):
            return False
        if self.crowd >= self.limits.connections and not self.make_room():
            self.part(client)
            self.tally.refused()
            return False
        self.connections.add(connection)
        self.tally.opened()
        return True

    def make_room(self) -> bool:
        """Close some that nobody misses, of those whose address has the most; False if there are none.

        Looks at a part of them, where an address that has many is found as surely as among all.
        """
        start = randrange(self.crowd or 1)
        part = list(islice(self._everybody(), start, start + LOOKED_AT))
        part += islice(self._everybody(), min(start, LOOKED_AT - len(part)))
        standings = [(connection, *connection.standing()) for connection in part]
        numbers = Counter(client.bucket_key for _, _, _, client in standings)
        expendable = [one for one in standings if one[1] != AT_WORK and not one[3].trusted]
        # One address has many or few by powers of two: among equals the idle go first, then the slow.
        expendable.sort(key=lambda one: (-numbers[one[3].bucket_key].bit_length(), one[1], one[2]))
        cut = expendable[: max(1, len(part) // CUT_SHARE)]
        for connection, _, _, _ in cut:
            self.tally.turned_away(TurnedAway.CROWDED)
            connection.abort()
        return bool(cut)

    @property
    def crowd(self) -> int:
        """Connections of all siblings."""
        total = 0
        for server in self.siblings:
            total += len(server.connections)
        return total

    def _everybody(self) -> Iterator[Connection]:
        return chain.from_iterable(server.connections for server in self.siblings)

    def hand_over(self, connection: Connection, successor: Connection) -> None:
        """A connection that was taken in speaks another version than was thought."""
        self.connections.discard(connection)
        self.connections.add(successor)

    def discard(self, connection: Connection, client: Client | None) -> None:
        """A connection of `client` is gone; nothing happens if it was never taken in."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        if client is not None:
            self.part(client)
        self.tally.closed()
        if not self.connections:
            for waiter in self._emptied:
                if not waiter.done():
                    waiter.set_result(None)
            self._emptied.clear()

    async def wait_empty(self) -> None:
        """Return once there is no connection."""
        while self.connections:
            waiter = self.loop.create_future()
            self._emptied.append(waiter)
            await waiter

    def client(self, transport: asyncio.BaseTransport, known: Client | None = None) -> Client | None:
        """Who is at the other end, `known` if that was asked before; None if it has left already."""
        peer = transport.get_extra_info("peername")
        if not peer:
            if known is not None:
                self.part(known)
            return None
        client = self.client_at(peer) if known is None else known
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            cipher = tls.cipher()
            client.tls_version = tls.version() or ""
            client.tls_cipher = cipher[0] if cipher else ""
            client_certificate.put_into(client, tls)
        client.alt_svc = self.alt_svc
        return client

    def client_at(self, peer: tuple[str, int], tls_version: str = "", tls_cipher: str = "") -> Client:
        """Who is at that address, which is numeric."""
        address = read_address(peer[0].partition("%")[0])
        client = Client(str(address), peer[1], bucket_key(address), self.listener, tls_version, tls_cipher)
        client.trusted = address in self.trusted
        return client
