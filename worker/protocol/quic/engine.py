"""One QUIC connection between its datagrams and its application: the `Link` over aioquic.

Sans-IO: datagrams come in, datagrams go out, time is an argument in monotonic seconds. Whatever a client
sends, it never raises. The dispatcher and HTTP/3 know only this face, so another engine can take its place.
"""

import logging
from collections import deque
from typing import Protocol

from aioquic.quic import events

from worker.protocol.quic.deadlines import Alarm
from worker.protocol.quic.link import Address, Application, Link
from worker.protocol.quic.transport import Room, Transport

_INTERNAL_ERROR = 0x1  # of QUIC
_REASON_CHARACTERS = 100
_RETIRED = 8  # connection IDs that a client gave back and that may still be on packets under way

log = logging.getLogger("edgecluster.protocol")


class Dispatcher(Protocol):
    """Whom a connection tells what concerns more than itself."""

    def make_application(self, link: Link) -> Application: ...

    def issued(self, cid: bytes, connection: "QuicConnection") -> None:
        """Packets for `cid` are that connection's from now on."""
        ...

    def withdrawn(self, cid: bytes) -> None:
        """They no longer are."""
        ...

    def established(self, connection: "QuicConnection") -> None:
        """Its handshake is complete."""
        ...

    def flush_soon(self, connection: "QuicConnection") -> None:
        """It has something to send."""
        ...

    def wake(self, connection: "QuicConnection", now_s: float) -> None:
        """Its alarm went off."""
        ...


class QuicConnection:
    """A `Link`. Its application is made when there is the first thing to tell it: early data, or the end of
    the handshake. Before that, nobody has proven to be there."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        room: Room,
        peer: Address,
        first_cid: bytes,
        original_cid: bytes,
        *,
        is_proven: bool,
        now_s: float,
    ) -> None:
        """`first_cid`: what the client sends its Initials to. `original_cid`: what it sent the very first to,
        which is another if it has come back from a Retry (`is_proven`)."""
        self._dispatcher = dispatcher
        self._quic = Transport(
            room, original_cid, first_cid if is_proven else None, peer if is_proven else None
        )
        self._peer = peer
        self._application: Application | None = None
        self._handshake_until_s = now_s + room.bounds.handshake_s
        self._has_failed = False
        self._given_up = False
        self._lost = False
        self._known: set[bytes] = set()  # connection IDs the dispatcher was told of
        self._retired: deque[bytes] = deque()
        self.first_cid = first_cid
        self.alarm = Alarm(self)
        self.close_packets: list[tuple[bytes, Address]] = []

    # -- Link -----------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Address:
        return self._peer

    @property
    def is_early(self) -> bool:
        return not self._quic.is_complete

    @property
    def cipher(self) -> str:
        return self._quic.cipher

    def open_stream(self) -> int:
        return self._quic.open_stream()

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        self._quic.send(stream_id, data, end)

    def waiting(self, stream_id: int) -> int:
        return self._quic.waiting(stream_id)

    def consumed(self, stream_id: int, size: int) -> None:
        self._let_send(stream_id, self._quic.windows.consume(stream_id, size))

    def widen(self, stream_id: int, size: int) -> None:
        self._let_send(stream_id, self._quic.windows.widen(stream_id, size))

    def reset(self, stream_id: int, code: int) -> None:
        self._quic.break_off(stream_id, code)

    def stop(self, stream_id: int, code: int) -> None:
        self._quic.stop(stream_id, code)
        self._let_send(stream_id, self._quic.windows.abandon(stream_id))

    def close(self, code: int, reason: str = "") -> None:
        self._quic.close(error_code=code, reason_phrase=reason[:_REASON_CHARACTERS])
        self.flush_soon()

    def flush_soon(self) -> None:
        if not self._lost:
            self._dispatcher.flush_soon(self)

    # -- the dispatcher's side ------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """A client is there that speaks QUIC: its first packet could be decrypted."""
        return self._quic.has_begun

    @property
    def is_complete(self) -> bool:
        """The handshake is."""
        return self._quic.is_complete

    @property
    def is_over(self) -> bool:
        """It has ended, and its application was told."""
        return self._lost

    @property
    def connection_ids(self) -> set[bytes]:
        """What the dispatcher was told that leads here, besides `first_cid`."""
        return self._known

    @property
    def linger_until_s(self) -> float | None:
        """Once it is over: how long packets of it may still come; None when nobody closed it."""
        return self._quic.linger_until_s if self._quic.is_over else None

    def receive(self, data: bytes, peer: Address, now_s: float) -> None:
        """Take one datagram in; the application is told of what it brought."""
        try:
            self._quic.receive_datagram(data, peer, now_s)
            self._tell()
        except Exception as error:
            self._fail(error)

    def wake(self, now_s: float) -> None:
        self._dispatcher.wake(self, now_s)

    def on_time(self, now_s: float) -> None:
        """Do what is due by now."""
        if not self._quic.is_complete and now_s >= self._handshake_until_s:
            self._given_up = True
            return
        at_s = self._quic.get_timer()
        if at_s is not None and now_s >= at_s:
            try:
                self._quic.handle_timer(now_s)
                self._quic.mistrust_size()
                self._tell()
            except Exception as error:
                self._fail(error)

    def moved(self) -> None:
        """Let the application use the room there may be now."""
        if self._application is not None and not self._lost and not self._has_failed:
            try:
                self._application.moved()
            except Exception as error:
                self._fail(error)

    def take_datagrams(self, now_s: float) -> list[tuple[bytes, Address]]:
        """What is to be sent now. When it has ended in the meantime, this tells the application."""
        datagrams: list[tuple[bytes, Address]] = []
        try:
            if self._quic.has_begun and not self._given_up and not self._lost:
                datagrams = self._quic.datagrams_to_send(now_s)
                self._tell()
        except Exception as error:
            self._fail(error)
        if (self._quic.is_over or self._given_up) and not self._lost:
            self.close_packets = datagrams if self._quic.is_over else []
            self._lose()
        return datagrams

    def deadline_s(self) -> float | None:
        """When to be woken; a new one after each call that may have changed it."""
        at_s = self._quic.get_timer() if self._quic.has_begun else None
        if self._quic.is_complete:
            return at_s
        return self._handshake_until_s if at_s is None else min(at_s, self._handshake_until_s)

    # -- events ---------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        happened = self._quic.take_events()
        if self._has_failed:  # it is only told of its end
            return
        for event in happened:
            if isinstance(event, events.StreamDataReceived):
                self._on_data(event)
            elif isinstance(event, events.StreamReset):
                if self._quic.windows.cut(event.stream_id, self._quic.final_size(event.stream_id)):
                    self._listener().stream_reset(event.stream_id, event.error_code)
                self._quic.let_send(event.stream_id, None)
            elif isinstance(event, events.StopSendingReceived):
                self._quic.forget_unsent(event.stream_id)
                self._listener().stream_stopped(event.stream_id, event.error_code)
            elif isinstance(event, events.HandshakeCompleted):
                self._quic.settle()
                self._dispatcher.established(self)
                self._listener().confirmed()
            elif isinstance(event, events.ConnectionIdRetired):
                self._on_retired(event.connection_id)
        if self._quic.issued and self._quic.has_begun:
            self._introduce()
        self._follow()

    def _on_data(self, event: events.StreamDataReceived) -> None:
        stream_id, data, ended = event.stream_id, event.data, event.end_stream
        wanted, limit = self._quic.windows.deliver(stream_id, len(data), ended)
        if wanted:
            self._listener().stream_data(stream_id, data, ended)
        else:
            self._let_send(stream_id, limit)

    def _let_send(self, stream_id: int, limit: int | None) -> None:
        self._quic.let_send(stream_id, limit)
        if self._quic.has_news:
            self.flush_soon()

    def _on_retired(self, cid: bytes) -> None:
        """Packets to it may still be under way: they are not strangers' yet."""
        self._retired.append(cid)
        if len(self._retired) > _RETIRED:
            old = self._retired.popleft()
            self._known.discard(old)
            self._dispatcher.withdrawn(old)

    def _introduce(self) -> None:
        """Tell the dispatcher of the connection IDs that have come up."""
        for cid in self._quic.issued:
            self._known.add(cid)
            self._dispatcher.issued(cid, self)
        self._quic.issued.clear()

    def _follow(self) -> None:
        """The client is where it has shown to be (RFC 9000 9.3), not where its last packet came from."""
        proven = self._quic.proven_peer
        if proven is not None and proven != self._peer:
            if proven[0] != self._peer[0]:
                self._quic.leave_network()
            self._peer = proven

    def _listener(self) -> Application:
        if self._application is None:
            self._application = self._dispatcher.make_application(self)
        return self._application

    def _lose(self) -> None:
        self._lost = True
        end = self._quic.end
        if self._application is not None:
            try:
                self._application.lost(end.error_code if end is not None else 0)
            except Exception as error:
                log.error("a QUIC connection of %s did not end well: %r", self._peer, error, exc_info=error)

    def _fail(self, error: Exception) -> None:
        """A fault of ours or of aioquic: it costs this connection, no other."""
        log.error("a QUIC connection of %s was ended by an error here: %r", self._peer, error, exc_info=error)
        if self._has_failed or not self._quic.has_begun:
            self._given_up = True
        else:
            self._has_failed = True
            self._quic.close(error_code=_INTERNAL_ERROR, frame_type=0)
        self.flush_soon()
