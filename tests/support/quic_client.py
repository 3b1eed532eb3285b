"""A QUIC client of aioquic on a real UDP socket, that tests can move about and look into."""

import asyncio
import socket
import ssl
import time
from collections import defaultdict
from typing import Any

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch, SessionTicket

from worker.protocol.quic.link import Address


def configuration(**settings: Any) -> QuicConfiguration:
    """Of a client that asks for localhost and believes every certificate."""
    chosen: dict[str, Any] = {
        "alpn_protocols": ["h3"],
        "server_name": "localhost",
        "verify_mode": ssl.CERT_NONE,
        "idle_timeout": 20.0,
        **settings,
    }
    return QuicConfiguration(is_client=True, **chosen)


class QuicClient:
    """One connection to `server`. Streams are read into memory whole."""

    def __init__(self, server: Address, **settings: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = server
        self.target = server  # whereto datagrams are really sent
        self.tickets: list[SessionTicket] = []
        self.quic = QuicConnection(
            configuration=configuration(**settings), session_ticket_handler=self.tickets.append
        )
        self.received: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.completed: events.HandshakeCompleted | None = None
        self.terminated: events.ConnectionTerminated | None = None
        self.hears = True  # what comes is looked at
        self.packets: list[bytes] = []  # that came
        self.sent: list[bytes] = []  # datagrams that went
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.sock = self._bind()

    async def __aenter__(self) -> "QuicClient":
        self.quic.connect(self.server, now=time.monotonic())
        self.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.quic.close()
        self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Be gone without a word."""
        self._unbind()
        if self._timer is not None:
            self._timer.cancel()

    async def connect(self) -> "QuicClient":
        """Wait for the handshake, until the server has said that it is complete there, too."""
        await self.until(lambda: self.quic._handshake_confirmed)
        return self

    async def until(self, condition: Any) -> None:
        """Until that is true; AssertionError when the connection ends first."""
        while not condition():
            assert self.terminated is None, self.terminated
            self._changed.clear()
            await self._changed.wait()

    async def until_terminated(self) -> events.ConnectionTerminated:
        while self.terminated is None:
            self._changed.clear()
            await self._changed.wait()
        return self.terminated

    def begin(self, data: bytes = b"", *, end: bool = True) -> int:
        """Send on a new stream."""
        stream_id = self.quic.get_next_available_stream_id()
        self.quic.send_stream_data(stream_id, data, end_stream=end)
        self.flush()
        return stream_id

    async def ask(self, data: bytes) -> bytes:
        """Send `data` on a stream of its own, and read that to its end."""
        return await self.read(self.begin(data))

    async def read(self, stream_id: int) -> bytes:
        await self.until(lambda: stream_id in self.ended)
        return bytes(self.received[stream_id])

    def send_frames(self, frames: bytes) -> None:
        """Send a 1-RTT packet of just these bytes, which aioquic would never make."""
        quic = self.quic
        builder = QuicPacketBuilder(
            host_cid=quic.host_cid,
            peer_cid=quic._peer_cid.cid,
            version=quic._version or 1,
            is_client=True,
            max_datagram_size=1400,
            packet_number=quic._packet_number,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
        builder._buffer.push_bytes(frames)
        (datagram,), _ = builder.flush()
        quic._packet_number = builder.packet_number
        self.sock.sendto(datagram, self.target)

    def move(self, host: str = "127.0.0.1") -> None:
        """Go on from another port, perhaps in another network."""
        self._unbind()
        self.sock = self._bind(host)

    def flush(self) -> None:
        """Send what there is, and set the timer."""
        if self.sock.fileno() < 0:
            return
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic()):
            self.sock.sendto(data, self.target)
            self.sent.append(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_s = self.quic.get_timer()
        if at_s is not None:
            self._timer = self.loop.call_later(max(at_s - time.monotonic(), 0), self._on_time)

    def _bind(self, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((host, 0))
        sock.setblocking(False)
        self.loop.add_reader(sock, self._readable)
        return sock

    def _unbind(self) -> None:
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock)
            self.sock.close()

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data, _peer = self.sock.recvfrom(65536)
            except OSError:
                break
            self.packets.append(data)
            if self.hears:
                self.quic.receive_datagram(data, self.server, now=time.monotonic())
        self._look()
        self.flush()

    def _on_time(self) -> None:
        self._timer = None
        self.quic.handle_timer(now=time.monotonic())
        self._look()
        self.flush()

    def _look(self) -> None:
        while (event := self.quic.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    self.received[event.stream_id] += event.data
                    if event.end_stream:
                        self.ended.add(event.stream_id)
                case events.StreamReset():
                    self.resets[event.stream_id] = event.error_code
                case events.HandshakeCompleted():
                    self.completed = event
                case events.ConnectionTerminated():
                    self.terminated = event
        self._changed.set()
