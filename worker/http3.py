"""HTTP/3 in one worker: a QUIC server for every https listener, who reads its socket, and the inbox.

Which datagrams belong to whom is `protocol.quic`'s to know. The connections are held by the listener's
`HttpServer` beside those of TCP, which sweeps and drains them all.
"""

import time
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from functools import partial

from shmcache.core import Segment
from worker.observe.connections import QuicCounts
from worker.protocol.h3.connection import H3Protocol
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.handover import Handover
from worker.protocol.quic.identity import Identity
from worker.protocol.quic.server import QuicServer
from worker.protocol.quic.tickets import SegmentTickets
from worker.protocol.quic.udp import UdpPort
from worker.protocol.versions import HttpServer
from worker.start import Http3Start, UdpListening, WorkerStart

ALT_SVC_S = 86400  # for how long clients remember that there is HTTP/3


def alt_svc(port: int) -> bytes:
    """The line that tells clients of HTTP/3 on that UDP port of the same host (RFC 7838 3)."""
    return b'Alt-Svc: h3=":%d"; ma=%d\r\n' % (port, ALT_SVC_S)


@dataclass(slots=True)
class _Served:
    """One listener's socket, and who takes what comes in by it."""

    udp: UdpListening
    port: UdpPort
    quic: QuicServer
    is_read: bool = True


class Http3:
    """The QUIC servers of one worker. Raises ValueError for certificates that QUIC cannot use."""

    def __init__(self, start: WorkerStart, http3: Http3Start, loop: AbstractEventLoop) -> None:
        self._lane = start.lane
        self._member = start.member
        self._loop = loop
        self._identity = Identity(start.lane, start.member, http3.secret)
        self._certificates = Certificates.load(http3.certificates)
        self._tickets = SegmentTickets(start.segment.cache)
        self._handover = Handover(http3.inbox, http3.outboxes, partial(_is_alive, start.segment))
        self._counts = QuicCounts(start.segment.statistics)
        self._served: dict[int, _Served] = {}
        self._handover.empty()
        loop.add_reader(http3.inbox.fileno(), self._on_inbox)

    def serve(self, udp: UdpListening, server: HttpServer) -> None:
        """Take in what comes by `udp`; `server` has its connections from now on."""
        port = UdpPort(udp.socket)
        quic = QuicServer(
            server,
            H3Protocol,
            port,
            self._identity,
            self._certificates,
            self._tickets,
            partial(self._handover.pass_on, udp.number),
            self._counts,
        )
        self._served[udp.number] = _Served(udp, port, quic)
        self._loop.add_reader(port.fileno(), quic.readable)

    def yield_sockets(self) -> None:
        """While draining: leave to their new readers the sockets that have one.

        What comes there for us they hand over. A socket that has none is still read: the edge stops, or
        the listener is gone from the settings.
        """
        for served in self._served.values():
            if served.is_read and served.udp.readers[self._lane] != self._member:
                served.is_read = False
                self._loop.remove_reader(served.port.fileno())

    async def wait_shaken(self) -> None:
        """Until no handshake is under way."""
        for served in self._served.values():
            await served.quic.wait_settled()

    def count(self) -> None:
        """Put what happened since the last call into the shared statistics."""
        every = self._served.values()
        self._counts.datagrams(
            received=sum(served.port.received for served in every),
            sent=sum(served.port.sent for served in every),
            handed_over=self._handover.handed_over,
            dropped=self._handover.dropped,
            resets=sum(served.quic.resets for served in every),
            retries=sum(served.quic.retries for served in every),
        )

    def close(self) -> None:
        """Send what there is and end."""
        self._loop.remove_reader(self._handover.fileno())
        for served in self._served.values():
            self._loop.remove_reader(served.port.fileno())
            served.quic.close()
        self.count()

    def _on_inbox(self) -> None:
        now_s = time.monotonic()
        for number, data, peer in self._handover.receive():
            served = self._served.get(number)
            if served is not None:
                served.quic.receive(data, peer, passed_on=True, now_s=now_s)


def _is_alive(segment: Segment, member: int) -> bool:
    return segment.member_info(member).joined
