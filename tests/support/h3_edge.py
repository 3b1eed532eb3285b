"""The listener of `h1_edge` for HTTP/3: the real protocol over aioquic connections, on one UDP socket.

A small `Link` in place of the dispatcher: it opens windows by what was read, and counts what waits.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import trustme
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import pull_quic_header

from tests.support.h1_edge import H1Edge
from tests.support.h3_client import H3Client, open_client
from worker.pipeline import Edge
from worker.protocol.h3.connection import H3Protocol
from worker.protocol.quic.link import Address
from worker.protocol.versions import HttpServer
from worker.settings import ListenerSettings

WINDOW = 64 * 1024  # of each request stream, until it is widened


class HeldQuic(QuicConnection):
    """Opens windows by what was read, not by what has come."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.read: dict[int, int] = {}
        self.windows: dict[int, int] = {}

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        if not stream.max_stream_data_local:  # a stream of our own
            return
        read = self.read.get(stream.stream_id, 0)
        window = self.windows.get(stream.stream_id, WINDOW)
        if read + window - stream.max_stream_data_local >= window // 2:
            stream.max_stream_data_local = read + window
        # aioquic doubles a limit once half of it was used: let it think that nothing has come.
        highest, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            stream.receiver.highest_offset = highest


class AioquicLink:
    """One connection of the server (`quic.link.Link`)."""

    def __init__(self, edge: "H3Edge", address: Address, original: bytes) -> None:
        self._edge = edge
        self._application: H3Protocol | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self.peer = address
        self.quic = HeldQuic(
            configuration=edge.configuration,
            original_destination_connection_id=original,
            session_ticket_fetcher=lambda label: edge.tickets.pop(label, None),
            session_ticket_handler=lambda ticket: edge.tickets.__setitem__(ticket.ticket, ticket),
        )
        self.most_waiting = 0  # bytes that were given for one stream and not acknowledged
        self.sends: list[tuple[int, int, bool]] = []  # (stream, bytes, end)
        self.closed_by: int | None = None  # the code we ended it with
        self.is_lost = False

    # The application's side.

    @property
    def is_early(self) -> bool:
        return not self.quic._handshake_complete

    @property
    def cipher(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def open_stream(self) -> int:
        stream_id = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.quic.send_stream_data(stream_id, b"")
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        self.sends.append((stream_id, len(data), end))
        self.quic.send_stream_data(stream_id, data, end)
        self.most_waiting = max(self.most_waiting, self.waiting(stream_id))

    def waiting(self, stream_id: int) -> int:
        stream = self.quic._streams.get(stream_id)
        if stream is None or stream.sender._reset_error_code is not None:
            return 0
        return stream.sender._buffer_stop - stream.sender._buffer_start

    def consumed(self, stream_id: int, size: int) -> None:
        self.quic.read[stream_id] = self.quic.read.get(stream_id, 0) + size

    def widen(self, stream_id: int, size: int) -> None:
        self.quic.windows[stream_id] = size

    def reset(self, stream_id: int, code: int) -> None:
        self.quic.reset_stream(stream_id, code)

    def stop(self, stream_id: int, code: int) -> None:
        if stream_id in self.quic._streams:
            self.quic.stop_stream(stream_id, code)

    def close(self, code: int, reason: str = "") -> None:
        self.closed_by = code
        self.quic.close(error_code=code, reason_phrase=reason)
        self.flush_soon()

    def flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._edge.loop.call_soon(self.flush)

    # The socket's side.

    def receive(self, data: bytes, address: Address) -> None:
        self.peer = address
        self.quic.receive_datagram(data, address, self._edge.loop.time())
        self._tell()
        if self._application is not None and not self.is_lost:
            self._application.moved()
        self.flush()

    def flush(self) -> None:
        self._scheduled = False
        now = self._edge.loop.time()
        for data, address in self.quic.datagrams_to_send(now):
            self._edge.sendto(data, address)
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
        at = self.quic.get_timer()
        self._timer = None if at is None or self.is_lost else self._edge.loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self.quic.handle_timer(self._edge.loop.time())
        self._tell()
        self.flush()

    def _tell(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self._on(event)

    def _on(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.is_lost = True
            self._edge.links.discard(self)
            if self._application is not None:
                self._application.lost(event.error_code)
            return
        if self._application is None and isinstance(event, (StreamDataReceived, HandshakeCompleted)):
            self._application = H3Protocol(self._edge.server, self)
        application = self._application
        if application is None:
            return
        if isinstance(event, StreamDataReceived):
            application.stream_data(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, StreamReset):
            application.stream_reset(event.stream_id, event.error_code)
        elif isinstance(event, StopSendingReceived):
            application.stream_stopped(event.stream_id, event.error_code)
        elif isinstance(event, HandshakeCompleted):
            application.confirmed()


class H3Edge(H1Edge):
    """Speaks HTTP/3 on a UDP port; its TCP port is not used."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        authority = trustme.CA()
        identity = authority.issue_cert("localhost")
        self.authority_pem: bytes = authority.cert_pem.bytes()
        self.configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
        self.configuration.max_stream_data = WINDOW
        with (
            identity.cert_chain_pems[0].tempfile() as chain,
            identity.private_key_pem.tempfile() as key,
        ):
            self.configuration.load_cert_chain(Path(chain), Path(key))
        self.links: set[AioquicLink] = set()
        self._routes: dict[bytes, AioquicLink] = {}
        self.tickets: dict[bytes, Any] = {}

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        await super().__aenter__()
        self._transport, _ = await self.loop.create_datagram_endpoint(
            lambda: _Datagrams(self.datagram_received), ("127.0.0.1", 0)
        )
        self.udp_port: int = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        await super().__aexit__(*failure)
        for link in tuple(self.links):
            if link._timer is not None:
                link._timer.cancel()
        self._transport.close()

    def make_server(self, edge: Edge, listener: ListenerSettings) -> HttpServer:
        listener = ListenerSettings("https", listener.host, listener.port)
        return HttpServer(edge, self.limits, listener, trusted=self.trusted, tally=self.tally, http2=True)

    def sendto(self, data: bytes, address: Address) -> None:
        self._transport.sendto(data, address)

    def datagram_received(self, data: bytes, address: Address) -> None:
        header = pull_quic_header(Buffer(data=data), host_cid_length=8)
        link = self._routes.get(header.destination_cid)
        if link is None:
            if data[0] & 0xF0 != 0xC0:  # no Initial: it belongs to nobody
                return
            link = AioquicLink(self, address, header.destination_cid)
            self.links.add(link)
            self._routes[header.destination_cid] = link
        link.receive(data, address)
        for one in link.quic._host_cids:
            self._routes[one.cid] = link

    @property
    def link(self) -> AioquicLink:
        """Of the one connection there is."""
        (link,) = self.links
        return link

    @property
    def h3_connection(self) -> H3Protocol:
        """The one connection there is."""
        (connection,) = self.server.connections
        assert isinstance(connection, H3Protocol)
        return connection

    async def client(self, **options: Any) -> H3Client:
        """A client connection, its handshake complete."""
        return await open_client(self.udp_port, self.authority_pem, **options)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._receive(data, addr)
