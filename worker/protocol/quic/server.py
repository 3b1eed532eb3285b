"""The QUIC connections of one listener in one worker: each datagram to the connection it belongs to.

Owns the routes by connection ID, the one timer, and the order in which things are sent. Knows nothing of
HTTP/3 and nothing of cryptography. What belongs to the worker that another ID names is passed on.
"""

import logging
import time
from asyncio import Future, TimerHandle
from collections import deque
from collections.abc import Callable

from worker.protocol.quic import answers
from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.deadlines import Alarm, Deadlines
from worker.protocol.quic.engine import QuicConnection
from worker.protocol.quic.header import (
    LEAST_INITIAL_BYTES,
    VERSION_1,
    LongHeader,
    is_long,
    read_long,
)
from worker.protocol.quic.identity import CID_BYTES, BadToken, Identity
from worker.protocol.quic.link import Address, Application, Link
from worker.protocol.quic.port import Port
from worker.protocol.quic.tickets import Tickets
from worker.protocol.quic.transport import Room, make_configuration
from worker.protocol.server import ConnectionServer
from worker.protocol.tally import Tally

TURN_S = 0.001  # how long one turn of the loop may be held, give or take one datagram or one connection
CLOSE_S = 0.1  # what closing may take to send what there is
LEAST_DELAY_S = 0.001  # what the loop's timers can do
SEND_BATCH = 64  # datagrams given to the port at once
MOST_UNSENT = 4 * SEND_BATCH  # that wait for the port, and may be joined by an answer

log = logging.getLogger("edgecluster.protocol")


class Lingering:
    """What is left of a connection that has ended: packets of it are no strangers' (RFC 9000 10.2)."""

    __slots__ = ("_forget", "alarm", "cids", "close_packets", "received")

    def __init__(
        self,
        cids: tuple[bytes, ...],
        close_packets: list[tuple[bytes, Address]],
        forget: Callable[["Lingering"], None],
    ) -> None:
        self.cids = cids
        self.close_packets = close_packets  # [] when it was the client that closed
        self.received = 0
        self.alarm = Alarm(self)
        self._forget = forget

    def wake(self, now_s: float) -> None:
        self._forget(self)


class QuicServer:
    """Serves a port. Nothing is sent before the end of the turn in which it came up."""

    def __init__(
        self,
        server: ConnectionServer,
        make_application: Callable[[ConnectionServer, Link], Application],
        port: Port,
        identity: Identity,
        certificates: Certificates,
        tickets: Tickets,
        pass_on: Callable[[int, bytes, Address], bool],
        tally: Tally | None = None,
        *,
        bounds: Bounds | None = None,
        always_retry: bool = False,
    ) -> None:
        self._server = server
        self._loop = server.loop
        self._make_application = make_application
        self._port = port
        self._identity = identity
        self._pass_on = pass_on
        self._tally = tally or server.tally
        self._bounds = bounds or Bounds.of(server.limits)
        self._always_retry = always_retry
        self._room = Room(
            make_configuration(certificates, self._bounds),
            certificates,
            tickets,
            self._bounds,
            self._new_id,
            identity.reset_token,
        )
        self._routes: dict[bytes, QuicConnection | Lingering] = {}
        self._handshakes: set[QuicConnection] = set()
        self._settled: list[Future[None]] = []
        self._lingering: dict[Lingering, None] = {}  # oldest first
        self._deadlines = Deadlines()
        self._timer: TimerHandle | None = None
        self._timer_at_s = 0.0
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self._dirty: dict[QuicConnection, None] = {}
        self._unsent: list[tuple[bytes, Address]] = []
        self._turn_is_due = False
        self._is_blocked = False  # the port took no more
        self._is_closed = False
        self._answers_left = 0
        self._answers_until_s = 0.0
        self.retries = 0
        self.resets = 0
        self.passed_on = 0

    # -- in -------------------------------------------------------------------------------------------------

    def readable(self) -> None:
        """The port has datagrams: the loop's reader."""
        if not self._arrived:
            self._arrived.extend(self._port.receive())
        self._turn()

    def receive(self, data: bytes, peer: Address, *, passed_on: bool, now_s: float) -> None:
        """Take one datagram in; `passed_on`: by another worker, so it goes no further."""
        self._take_in(data, peer, passed_on, now_s)
        self._soon()

    def _take_in(self, data: bytes, peer: Address, passed_on: bool, now_s: float) -> None:
        if len(data) <= CID_BYTES:
            return
        if is_long(data):
            self._receive_long(data, peer, passed_on, now_s)
        else:
            self._receive_short(data, peer, passed_on, now_s)

    def _receive_short(self, data: bytes, peer: Address, passed_on: bool, now_s: float) -> None:
        cid = data[1 : 1 + CID_BYTES]
        route = self._routes.get(cid)
        if route is not None:
            self._deliver(route, data, peer, now_s)
            return
        owner = self._identity.owner_of(cid)
        if owner is None or self._goes_on(owner.member, data, peer, passed_on):
            return
        packet = answers.stateless_reset(self._identity.reset_token(cid), len(data))
        if packet is not None and self._may_answer(now_s):
            self.resets += 1
            self._unsent.append((packet, peer))

    def _receive_long(self, data: bytes, peer: Address, passed_on: bool, now_s: float) -> None:
        header = read_long(data)
        if header is None:
            return
        route = self._routes.get(header.destination)
        if route is not None:
            self._deliver(route, data, peer, now_s)
            return
        if header.version != VERSION_1:
            if header.version and len(data) >= LEAST_INITIAL_BYTES and self._may_answer(now_s):
                self._unsent.append((answers.version_negotiation(header), peer))
            return
        owner = self._identity.owner_of(header.destination)
        if owner is not None and self._goes_on(owner.member, data, peer, passed_on):
            return
        if header.is_initial and len(data) >= LEAST_INITIAL_BYTES:
            self._receive_stranger(header, data, peer, now_s)

    def _goes_on(self, member: int, data: bytes, peer: Address, passed_on: bool) -> bool:
        """Give another worker what is its own; False when that is us, or it is gone."""
        if passed_on or member == self._identity.owner.member or not self._pass_on(member, data, peer):
            return False
        self.passed_on += 1
        return True

    def _deliver(self, route: "QuicConnection | Lingering", data: bytes, peer: Address, now_s: float) -> None:
        if isinstance(route, QuicConnection):
            route.receive(data, peer, now_s)
            self._dirty[route] = None
            return
        # Say again that it is closed, ever more rarely (RFC 9000 10.2.1).
        route.received += 1
        if route.close_packets and route.received & (route.received - 1) == 0 and self._may_answer(now_s):
            self._unsent.extend(route.close_packets)

    # -- newcomers ------------------------------------------------------------------------------------------

    def _receive_stranger(self, header: LongHeader, data: bytes, peer: Address, now_s: float) -> None:
        """An Initial that belongs to nobody: begin a connection, ask for a proof of address, or drop it."""
        if len(self._handshakes) >= self._bounds.handshakes or self._server.keeps_out((peer[0], peer[1])):
            return
        try:
            original = self._identity.original_of(header.token, peer, header.destination, now_s)
        except BadToken:
            if self._may_answer(now_s):
                self._unsent.append((answers.refuse_token(header), peer))
            return
        # Who was sent a token before the drain began has got as far as a connection in a backlog.
        if original is None and self._server.draining:
            return
        if original is None and (self._always_retry or len(self._handshakes) >= self._bounds.unproven):
            self._retry(header, peer, now_s)
            return
        self._begin(header, data, peer, original, now_s)

    def _retry(self, header: LongHeader, peer: Address, now_s: float) -> None:
        # As many as are asked for: in a flood of Initials there is no other way to find the honest.
        if len(self._unsent) >= MOST_UNSENT:
            return
        cid = self._new_id()
        token = self._identity.retry_token(peer, header.destination, cid, now_s)
        self.retries += 1
        self._unsent.append((answers.retry(header, cid, token), peer))

    def _begin(
        self, header: LongHeader, data: bytes, peer: Address, original: bytes | None, now_s: float
    ) -> None:
        connection = QuicConnection(
            self,
            self._room,
            peer,
            header.destination,
            header.destination if original is None else original,
            is_proven=original is not None,
            now_s=now_s,
        )
        connection.receive(data, peer, now_s)
        if not connection.has_begun:  # it was no Initial: nothing of it stays
            return
        self._routes[header.destination] = connection
        self._handshakes.add(connection)
        self._dirty[connection] = None

    def _leave_handshakes(self, connection: QuicConnection, *, succeeded: bool) -> None:
        if connection not in self._handshakes:
            return
        self._handshakes.remove(connection)
        self._tally.handshake(succeeded)
        if not self._handshakes:
            for waiter in self._settled:
                if not waiter.done():
                    waiter.set_result(None)
            self._settled.clear()

    async def wait_settled(self) -> None:
        """Return once no handshake is under way: before that, a drain would lose who has just come."""
        while self._handshakes:
            waiter = self._loop.create_future()
            self._settled.append(waiter)
            await waiter

    def _new_id(self) -> bytes:
        while (cid := self._identity.new_connection_id()) in self._routes:
            pass
        return cid

    def _may_answer(self, now_s: float) -> bool:
        """Is there room for one more answer to somebody we keep nothing of?"""
        if len(self._unsent) >= MOST_UNSENT:
            return False
        if now_s >= self._answers_until_s:
            self._answers_left, self._answers_until_s = self._bounds.answers, now_s + 1
        self._answers_left -= 1
        return self._answers_left >= 0

    # -- what connections tell ------------------------------------------------------------------------------

    def make_application(self, link: Link) -> Application:
        return self._make_application(self._server, link)

    def issued(self, cid: bytes, connection: QuicConnection) -> None:
        self._routes[cid] = connection

    def withdrawn(self, cid: bytes) -> None:
        self._routes.pop(cid, None)

    def established(self, connection: QuicConnection) -> None:
        self._leave_handshakes(connection, succeeded=True)

    def flush_soon(self, connection: QuicConnection) -> None:
        self._dirty[connection] = None
        self._soon()

    def wake(self, connection: QuicConnection, now_s: float) -> None:
        at_s = connection.deadline_s()
        if at_s is not None and at_s > now_s:  # it has moved since
            self._deadlines.set(connection.alarm, at_s)
            return
        connection.on_time(now_s)
        self._dirty[connection] = None

    # -- out ------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._turn_is_due and not self._is_closed:
            self._turn_is_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn_is_due = False
        self._turn()

    def _turn(self) -> None:
        """Do what there is to do, for about TURN_S; the rest in another turn of the loop."""
        if self._is_closed:
            return
        now_s = time.monotonic()
        end_s = now_s + TURN_S
        while self._arrived and now_s < end_s:
            data, peer = self._arrived.popleft()
            self._take_in(data, peer, False, now_s)
            now_s = time.monotonic()
        if not self._is_blocked:
            self._flush(now_s + TURN_S)
        if self._arrived or (self._dirty and not self._is_blocked):
            self._soon()
        self._set_timer()

    def _flush(self, end_s: float) -> None:
        """Send what connections have, as long as the port takes it."""
        now_s = time.monotonic()
        while self._dirty and now_s < end_s and not self._is_blocked:
            connection = next(iter(self._dirty))
            self._collect(connection, now_s)
            if len(self._unsent) >= SEND_BATCH:
                self._send()
            now_s = time.monotonic()
        self._send()

    def _collect(self, connection: QuicConnection, now_s: float) -> None:
        connection.moved()
        self._dirty.pop(connection, None)  # also what `moved` gave is among what follows
        self._unsent.extend(connection.take_datagrams(now_s))
        if connection.is_over:
            self._end(connection, now_s)
            return
        at_s = connection.deadline_s()
        if at_s is not None:
            self._deadlines.set(connection.alarm, at_s)

    def _send(self) -> None:
        """Give the port all it takes; go on with the rest when it is writable."""
        if not self._unsent or self._is_blocked:
            return
        left = self._port.send(self._unsent)
        del self._unsent[: len(self._unsent) - left]
        if left:
            self._is_blocked = True
            self._loop.add_writer(self._port.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._port.fileno())
        self._is_blocked = False
        self._turn()

    # -- the end --------------------------------------------------------------------------------------------

    def _end(self, connection: QuicConnection, now_s: float) -> None:
        """It is over, and its application knows: keep what packets under way need, for as long as they do."""
        self._leave_handshakes(connection, succeeded=False)
        connection.alarm.cancel()
        self._dirty.pop(connection, None)
        cids = (connection.first_cid, *connection.connection_ids)
        until_s = connection.linger_until_s
        if until_s is None or until_s <= now_s:
            self._forget_ids(cids)
            return
        rest = Lingering(cids, connection.close_packets, self._forget)
        for cid in cids:
            self._routes[cid] = rest
        self._lingering[rest] = None
        self._deadlines.set(rest.alarm, until_s)
        if len(self._lingering) > self._bounds.lingering:
            self._forget(next(iter(self._lingering)))

    def _forget(self, rest: Lingering) -> None:
        rest.alarm.cancel()
        self._lingering.pop(rest, None)
        self._forget_ids(rest.cids)

    def _forget_ids(self, cids: tuple[bytes, ...]) -> None:
        for cid in cids:
            self._routes.pop(cid, None)

    def close(self) -> None:
        """Send what there is, and do nothing more: whoever is still connected is not told."""
        self._flush(time.monotonic() + CLOSE_S)
        self._is_closed = True
        if self._is_blocked:
            self._loop.remove_writer(self._port.fileno())
        if self._timer is not None:
            self._timer.cancel()

    # -- time -----------------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        """One timer for all; it is moved only to be earlier."""
        at_s = self._deadlines.next_s
        if at_s is None or (self._timer is not None and self._timer_at_s <= at_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._loop.call_later(max(at_s - time.monotonic(), LEAST_DELAY_S), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._deadlines.wake_due(time.monotonic())
        self._turn()
