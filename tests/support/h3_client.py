"""An HTTP/3 client on aioquic, over a real socket: one connection, any number of streams at once.

async with await edge.client() as client:
    answer = await client.ask("/page")
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
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
from aioquic.tls import SessionTicket

PATIENCE_S = 20.0
AHEAD_BYTES = 128 * 1024  # of an upload in aioquic's hands

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class H3Answer:
    """What came on one stream."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    ended: bool = False  # in order
    reset: int | None = None  # the code of RESET_STREAM
    stopped: int | None = None  # the code of STOP_SENDING


class Quic(QuicConnection):
    """Gives its peer no more window than it has been told to, if it has been told."""

    holds = False

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        if self.holds:
            highest, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
            try:
                super()._write_stream_limits(builder, space, stream)
            finally:
                stream.receiver.highest_offset = highest
        else:
            super()._write_stream_limits(builder, space, stream)


class Http(H3Connection):
    """Knows that answers to HEAD and 304 announce a body that does not come."""

    def _check_content_length(self, stream: Any) -> None:
        if stream.content_length:
            super()._check_content_length(stream)


class H3Client(asyncio.DatagramProtocol):
    """One connection. `answers` by stream id; `goaways` are the ids of GOAWAY frames in order."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        address: tuple[str, int],
        *,
        authority: str,
        reading: bool,
        early: Callable[["H3Client"], object] | None,
    ) -> None:
        self.scheme = "https"
        self.authority = authority
        self.answers: dict[int, H3Answer] = {}
        self.closed = False
        self.closed_by: int | None = None  # the code of the peer's CONNECTION_CLOSE
        self.tickets: list[SessionTicket] = []
        self.quic = Quic(configuration=configuration, session_ticket_handler=self.tickets.append)
        self.quic.holds = not reading
        self.h3: H3Connection | None = None
        self.raw: dict[
            int, bytes
        ] = {}  # what came on unidirectional streams, or on any while HTTP/3 is not spoken
        self.ready = False
        self.early_accepted = False
        self._early = early
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()

    def leave(self) -> None:
        """Close the connection."""
        self.quic.close(error_code=0x100)
        self.flush()

    # asyncio.DatagramProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.quic.connect(self._address, self._loop.time())
        if self._early is not None:
            self.speak()
            self._early(self)
        self.flush()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.quic.receive_datagram(data, self._address, self._loop.time())
        self.flush()

    def error_received(self, exc: Exception) -> None:
        pass

    # Sending.

    def flush(self) -> None:
        self._tell()
        for data, _ in self.quic.datagrams_to_send(self._loop.time()):
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(data, self._address)
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
        at = self.quic.get_timer()
        self._timer = None if at is None or self.closed else self._loop.call_at(at, self._on_time)
        self._news.set()

    def _on_time(self) -> None:
        self.quic.handle_timer(self._loop.time())
        self.flush()

    def speak(self) -> None:
        """Open the streams of HTTP/3."""
        self.h3 = Http(self.quic)

    def begin(
        self,
        path: str = "/",
        fields: Pairs = (),
        *,
        method: str = "GET",
        body: bytes | None = None,
        end: bool = True,
        pseudo: Pairs | None = None,
        flush: bool = True,
    ) -> int:
        """Send a request; its stream."""
        assert self.h3 is not None
        if pseudo is None:
            pseudo = [
                (b":method", method.encode()),
                (b":scheme", self.scheme.encode()),
                (b":authority", self.authority.encode()),
                (b":path", path.encode()),
            ]
        stream = self.quic.get_next_available_stream_id()
        self.answers[stream] = H3Answer()
        self.h3.send_headers(stream, [*pseudo, *fields], end_stream=end and body is None)
        if body is not None:
            self.h3.send_data(stream, body, end_stream=end)
        if flush:
            self.flush()
        return stream

    async def upload(self, stream: int, pieces: Iterable[bytes], trailers: Pairs = ()) -> None:
        """Send a body as the windows allow."""
        assert self.h3 is not None
        for piece in pieces:
            await self.until(lambda: self.waiting(stream) < AHEAD_BYTES or self.closed)
            self.h3.send_data(stream, piece, end_stream=False)
            self.flush()
        if trailers:
            self.h3.send_headers(stream, list(trailers), end_stream=True)
        else:
            self.h3.send_data(stream, b"", end_stream=True)
        self.flush()

    def waiting(self, stream: int) -> int:
        """Bytes given to aioquic for that stream and not acknowledged."""
        found = self.quic._streams.get(stream)
        return 0 if found is None else found.sender._buffer_stop - found.sender._buffer_start

    def is_held(self, stream: int, window: int) -> bool:
        """Has all of that window been used, while more waits?"""
        sender = self.quic._streams[stream].sender
        return sender.highest_offset == window and len(sender._pending) > 0

    def is_full(self, stream: int) -> bool:
        """Has the edge used all the window that it has on that stream?"""
        found = self.quic._streams.get(stream)
        return found is not None and found.receiver.highest_offset == found.max_stream_data_local

    def read_on(self) -> None:
        """Give the edge its windows from now on."""
        self.quic.holds = False
        self.quic.send_ping(0)
        self.flush()

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of our own choosing."""
        self.quic.send_stream_data(stream, data, end)
        self.flush()

    def open_uni(self, data: bytes) -> int:
        """A unidirectional stream that begins so."""
        stream = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.send(stream, data)
        return stream

    def open_request(self, data: bytes, *, end: bool = False) -> int:
        """A request stream that begins so."""
        stream = self.quic.get_next_available_stream_id()
        self.answers[stream] = H3Answer()
        self.send(stream, data, end=end)
        return stream

    def reset(self, stream: int, code: int = 0x10C) -> None:
        """Cancel a request, both ways."""
        self.quic.reset_stream(stream, code)
        self.quic.stop_stream(stream, code)
        self.flush()

    # Receiving.

    async def answer(self, stream: int) -> H3Answer:
        """The answer, once its stream has ended somehow."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None or self.closed)
        return answer

    async def ask(
        self, path: str = "/", fields: Pairs = (), *, method: str = "GET", body: bytes | None = None
    ) -> H3Answer:
        return await self.answer(self.begin(path, fields, method=method, body=body))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that news from the edge make true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_closed(self) -> None:
        await self.until(lambda: self.closed)

    def received(self, stream: int) -> bytes:
        """What came on a stream as it is."""
        return self.raw.get(stream, b"")

    @property
    def control(self) -> bytes:
        """What came on the edge's control stream."""
        for data in self.raw.values():
            if data[:1] == b"\x00":
                return data[1:]
        return b""

    @property
    def goaways(self) -> list[int]:
        """The ids of the GOAWAY frames that have come."""
        found, data = [], self.control
        while data:
            kind, size = data[0], data[1]
            payload, data = data[2 : 2 + size], data[2 + size :]
            if kind == 7:
                found.append(int.from_bytes(payload, "big") & ((1 << (8 * size - 2)) - 1))
        return found

    def _tell(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self._on(event)

    def _on(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.ready = True
            self.early_accepted = event.early_data_accepted
        elif isinstance(event, ConnectionTerminated):
            self.closed = True
            self.closed_by = event.error_code
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = event.error_code
        elif isinstance(event, StopSendingReceived) and event.stream_id in self.answers:
            self.answers[event.stream_id].stopped = event.error_code
        elif isinstance(event, StreamDataReceived) and (self.h3 is None or event.stream_id & 2):
            self.raw[event.stream_id] = self.raw.get(event.stream_id, b"") + event.data
        if self.h3 is not None:
            for one in self.h3.handle_event(event):
                self._on_http(one)

    def _on_http(self, event: Any) -> None:
        answer = self.answers.get(event.stream_id)
        if answer is None:
            return
        if isinstance(event, HeadersReceived):
            fields = {name.decode(): value.decode() for name, value in event.headers}
            status = int(fields.pop(":status", "0"))
            if 0 < status < 200:
                answer.interim.append((status, fields))
            elif status:
                answer.status, answer.fields = status, fields
            else:
                answer.trailers = fields
            answer.ended = answer.ended or event.stream_ended
        elif isinstance(event, DataReceived):
            answer.body += event.data
            answer.ended = answer.ended or event.stream_ended


async def open_client(
    port: int,
    authority_pem: bytes,
    *,
    authority: str = "a",
    reading: bool = True,
    window: int | None = None,
    speaks: bool = True,
    early: Callable[[H3Client], object] | None = None,
    **options: Any,
) -> H3Client:
    """`reading`: give the edge its windows back as data comes. `window`: bytes that every stream may have on
    its way. `speaks`: HTTP/3, not only QUIC. `early`: begins requests before the handshake."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(cadata=authority_pem)
    if window is not None:
        configuration.max_stream_data = window
    for name, value in options.items():
        setattr(configuration, name, value)
    address = ("127.0.0.1", port)
    _, client = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: H3Client(configuration, address, authority=authority, reading=reading, early=early),
        local_addr=("127.0.0.1", 0),
    )
    await client.until(lambda: client.ready or client.closed)
    if speaks and early is None:
        client.speak()
        client.flush()
    return client
