"""HTTP/3 from clients (RFC 9114): one `H3Protocol` per QUIC connection, between its link and its exchanges.

An answer that a gate gives at once is with the link before the call that delivered its request returns,
without a task or a future. What a client may make this connection hold: `Limits.streams` request bodies of
one window each, four of them up to 1 MiB, one piece of each answer, and what `outlet` says on the way out.
"""

from worker.fields import Fields
from worker.protocol.exchange import Exchange
from worker.protocol.h3.codes import EXCESSIVE_LOAD, NO_ERROR
from worker.protocol.h3.session import Session
from worker.protocol.head import bad_request
from worker.protocol.quic.link import Address, Link
from worker.protocol.server import ConnectionServer
from worker.protocol.standing import AT_WORK, UNUSED, Standing
from worker.protocol.stream import CANCEL
from worker.protocol.stream_connection import StreamConnection
from worker.reasons import Fault

GONE_S = 3.0  # without a word on our GOAWAY: the client has left unheard, and nobody need wait for it
SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))  # to be replayed, if they have no body


class H3Protocol(StreamConnection):
    """One connection: an `Application` for its link, a `Connection` for its server."""

    def __init__(self, server: ConnectionServer, link: Link) -> None:
        client = server.client_at(link.peer, "TLSv1.3", link.cipher)
        super().__init__(server, b"3", client)
        limits = server.limits
        self._link = link
        self._peer: Address = link.peer
        self._first_client = client  # as whom it was let in
        self._is_lost = False
        self._session: Session[Exchange] = Session(
            link,
            self._make_exchange,
            streams=limits.streams,
            header_bytes=limits.header_bytes,
            header_count=limits.header_count,
            resets=limits.resets,
            empty_frames=limits.empty_frames,
        )
        self._framing = self._session
        if not server.admit(self, client):
            self._session.fail(EXCESSIVE_LOAD, "too many connections")

    def _make_exchange(self) -> Exchange:
        return Exchange(self)

    # quic.link.Application

    def confirmed(self) -> None:
        """Nothing is early any more: `link.is_early` says so."""

    def stream_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        self._receiving = True
        try:
            for exchange in self._session.receive(stream_id, data, ended):
                if not exchange.closed:
                    if self._link.peer != self._peer:
                        self._follow()
                    self._request(exchange)
        finally:
            self._receiving = False
        self._tell_all()
        if self.server.draining and not self._noticed:
            self.drain()

    def stream_reset(self, stream_id: int, code: int) -> None:
        self._session.receive_reset(stream_id, code)
        self._tell_all()

    def stream_stopped(self, stream_id: int, code: int) -> None:
        self._session.receive_stop(stream_id, code)
        self._tell_all()

    def moved(self) -> None:
        self._session.moved()
        self._tell_all()

    def lost(self, code: int) -> None:
        self._is_lost = True
        self._settle()
        for exchange in self._session.close():
            exchange.settle()
        self.server.discard(self, self._first_client)

    # From heads to requests.

    def _follow(self) -> None:
        """The client has moved: later requests come from where it is now."""
        self._peer = self._link.peer
        self._client = self.server.client_at(self._peer, "TLSv1.3", self._link.cipher)

    def _check(self, exchange: Exchange, fields: Fields) -> None:
        super()._check(exchange, fields)
        if b"early-data" in fields and not self._client.trusted:
            fields.remove(b"early-data")  # it speaks of a hop before this one, where there was none we know
        if self._link.is_early:
            if not exchange.ended or exchange.body is not None or exchange.method not in SAFE:
                raise bad_request("request that must not be replayed, in early data", 425, Fault.TOO_EARLY)
            if b"early-data" not in fields:
                fields.append(b"Early-Data", b"1")

    # What goes out.

    def flush(self) -> None:
        """Have the link send what there is. What comes up in a call of the link's own it sends by itself."""
        self._tell_all()
        if not self._is_lost:
            self._link.flush_soon()

    def _tell_all(self) -> None:
        """Tell the exchanges what became of them, and end the connection when it has nothing left to do."""
        if self._is_lost:
            return
        self._flushing = True
        try:
            self._settle()
        finally:
            self._flushing = False
        if self._left and self._session.is_over:
            self._session.fail(NO_ERROR)

    # server.Connection

    @property
    def is_open(self) -> bool:
        return not self._is_lost and not self._session.failed

    def abort(self) -> None:
        if self._is_lost:
            return
        for exchange in self._session.streams.values():
            exchange.cut_off()
        self._session.fail(NO_ERROR)
        self._settle()

    def standing(self) -> Standing:
        return AT_WORK if self.is_busy else UNUSED, self._since_ns, self._first_client

    def sweep(self, now_ns: int) -> None:
        if not self.is_open:
            return
        limits = self.server.limits
        session = self._session
        session.forgive()
        if not session.is_idle:
            self._since_ns = now_ns
        elif (now_ns - self._since_ns) * 1e-9 > (GONE_S if self._left else limits.idle_timeout_s):
            session.fail(NO_ERROR)
            return
        for exchange in tuple(session.streams.values()):
            if not exchange.sweep(now_ns):
                exchange.reset(CANCEL)  # half a head
        session.sweep(now_ns, int(limits.send_timeout_s * 1e9))
        self.flush()
