"""A `QuicServer` on a loopback port with an application that echoes, in this process."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import trustme

from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.identity import Identity
from worker.protocol.quic.link import Address, Application, Link
from worker.protocol.quic.port import Port, SocketPort
from worker.protocol.quic.server import QuicServer
from worker.protocol.quic.tickets import Tickets
from worker.protocol.server import ConnectionServer
from worker.settings import Limits, ListenerSettings

SECRET = bytes(range(32))


class Echo:
    """Sends back what it reads of two-way streams, once it has been asked to read.

    A stream that begins with b"GIVE n" gets n bytes instead.
    """

    def __init__(self, edge: "QuicEdge", link: Link) -> None:
        self.edge = edge
        self.link = link
        self.is_confirmed = False
        self.early: list[bytes] = []
        self.unread: list[tuple[int, bytes, bool]] = []
        self.owed: dict[int, tuple[int, int]] = {}  # stream: how much was given, of how much
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.lost_by: int | None = None

    def confirmed(self) -> None:
        self.is_confirmed = True

    def stream_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        if self.link.is_early:
            self.early.append(data)
        self.unread.append((stream_id, data, ended))
        if self.edge.reads:
            self.read()

    def read(self) -> None:
        """Take in what came."""
        for stream_id, data, ended in self.unread:
            self.link.consumed(stream_id, len(data))
            if stream_id & 2:
                continue
            if data.startswith(b"GIVE "):
                self.owed[stream_id] = (0, int(data[5:]))
            elif stream_id not in self.owed:
                self.link.send(stream_id, data, ended)
        self.unread.clear()
        self.moved()
        self.link.flush_soon()

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.resets[stream_id] = code

    def stream_stopped(self, stream_id: int, code: int) -> None:
        self.stops[stream_id] = code
        self.owed.pop(stream_id, None)

    def moved(self) -> None:
        for stream_id, (given, size) in tuple(self.owed.items()):
            while given < size and self.link.waiting(stream_id) < 256 * 1024:
                piece = pattern(given, min(16384, size - given))
                given += len(piece)
                self.link.send(stream_id, piece, given == size)
            self.owed[stream_id] = (given, size)
            if given == size:
                del self.owed[stream_id]

    def lost(self, code: int) -> None:
        self.lost_by = code


_PERIOD = 251  # no power of two, so that what is out of place does not fit
_PATTERN = bytes(range(_PERIOD)) * 300


def pattern(start: int, size: int) -> bytes:
    """Bytes that tell where they belong."""
    first = start % _PERIOD
    if first + size <= len(_PATTERN):
        return _PATTERN[first : first + size]
    return (_PATTERN * ((first + size) // len(_PATTERN) + 1))[first : first + size]


class NoTickets:
    """Keeps none."""

    def keep(self, name: bytes, value: bytes) -> None:
        pass

    def take(self, name: bytes) -> bytes | None:
        return None


class NoEntrance:
    """No request ever comes up here."""


def pem_pair(*names: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> tuple[bytes, bytes]:
    """A chain and its key, of an authority nobody knows."""
    pair = trustme.CA().issue_cert(*names, key_type=key_type)
    return b"".join(blob.bytes() for blob in pair.cert_chain_pems), pair.private_key_pem.bytes()


_default_pairs: list[tuple[bytes, bytes]] = []


def default_pairs() -> Sequence[tuple[bytes, bytes]]:
    if not _default_pairs:
        _default_pairs.append(pem_pair("localhost"))
    return _default_pairs


class QuicEdge:
    """The server, its socket, and the applications it has made."""

    def __init__(
        self,
        *,
        lane: int = 0,
        member: int = 1,
        bounds: dict[str, Any] | None = None,
        limits: Limits | None = None,
        pairs: Sequence[tuple[bytes, bytes]] | None = None,
        tickets: Tickets | None = None,
        pass_on: Callable[[int, bytes, Address], bool] | None = None,
        make_port: Callable[[socket.socket], Port] = SocketPort,
        always_retry: bool = False,
        secret: bytes = SECRET,
    ) -> None:
        self.reads = True
        self.applications: list[Echo] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.address = cast(Address, self.sock.getsockname())
        self.identity = Identity(lane, member, secret)
        self.connections = ConnectionServer(
            cast(Any, NoEntrance()),
            limits or Limits(),
            ListenerSettings("https", *self.address),
        )
        port = make_port(self.sock)
        self.quic = QuicServer(
            self.connections,
            self.make_application,
            port,
            self.identity,
            Certificates.load(pairs or default_pairs()),
            tickets or NoTickets(),
            pass_on or (lambda member, data, peer: False),
            bounds=replace(Bounds(), **(bounds or {})),
            always_retry=always_retry,
        )
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(port.fileno(), self.quic.readable)

    def make_application(self, server: ConnectionServer, link: Link) -> Application:
        application = Echo(self, link)
        self.applications.append(application)
        return application

    async def __aenter__(self) -> "QuicEdge":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.loop.remove_reader(self.sock.fileno())
        self.quic.close()
        self.sock.close()


async def until(condition: Callable[[], object]) -> None:
    """Until that is true of this process."""
    while not condition():  # noqa: ASYNC110  (there is nobody who could set an event)
        await asyncio.sleep(0.002)
