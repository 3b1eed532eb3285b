"""QUIC from clients: any datagrams, frames under the keys that everybody has or that a handshake gave, and
any transport parameters. The worst is a connection that ends by a code of the RFC: nothing fails on our side,
whoever has not proven an address gets no more than three times what came from there, and nothing stays.
"""

import asyncio
import logging
import time
from base64 import b64decode
from typing import Any, cast

from aioquic.quic import events
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from tests.fuzz.take import Take
from tests.support.quic_client import configuration
from tests.support.quic_edge import SECRET, Echo, NoEntrance, NoTickets, default_pairs
from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.identity import Identity
from worker.protocol.quic.link import Address, Application, Link
from worker.protocol.quic.server import QuicServer
from worker.protocol.server import ConnectionServer
from worker.settings import Limits, ListenerSettings

PEER = ("192.0.2.1", 4711)
FIRST, OURS = b"original", b"client_1"  # connection IDs of a client
INTERNAL_ERROR = 1
MOST_FRAMES = 1000  # bytes of one packet
LEAST_INITIAL = 1200
TURNS = 4

# A client's first flight of TLS, for localhost, with transport parameters that name OURS.
HELLO = b64decode(
    "AQAB0gMDhlu51jDAscSIuk1BcM3dmRJ7Gz+SE65WQFR47TI2A6cAAAYTAhMBEwMBAAGjADMBDAEKABcAQQSwQgKrPTslhu9hQTOb"
    "i+lmVaz4u+Ox8ovQqchyJKc6Hy/j9RkK5iRkSwZLr5Cni/tXEwQ6fTux9MfEy8LRCKQZABgAYQSyXyM7nDvwzhWea4obwoJ1f+em"
    "VEciJ0VOjeS7tXXS78ln5gKB7EpL791D/8qP45cvEfzTdsf2gFLTXzqMNYycYpTOQE9mPhKOBNemhvR29PyHWGEQD3veZD8Prthr"
    "b3IAHQAgM4Tojml4dBKfPf/JD++qk42i8uCNpaPEFy3Wqyi03RUAHgA4adTtJyiY2gg18O1ivMbnFRZV1uGEcHCEO9B1Ee5DBuUi"
    "GJ037NZ0H4R3TNZN5o0nmXVcavdqHF4AKwADAgMEAA0AFAASBAMIBAQBBQMIBQUBAgEIBwgIAAoACgAIABcAGAAdAB4AAAAOAAwA"
    "AAlsb2NhbGhvc3QAEAAFAAMCaDMAOQBHAQSAAOpgBASAEAAABQSAEAAABgSAEAAABwSAEAAACAJAgAkCQIAKAQMLARkOAQgPCGNs"
    "aWVudF8xEQwAAAABAAAAAWszQ88="
)
CRYPTO = b"\x06\x00" + (0x4000 | len(HELLO)).to_bytes(2, "big") + HELLO
DATAGRAMS, INITIALS, PARAMETERS, FRAMES = range(4)  # what an input is about

SEEDS = (
    bytes((DATAGRAMS, 0)) + b"\x1a\xc0\0\0\0\1\x08original\x08client_1\0\x44\xb0",
    bytes((DATAGRAMS, 1))
    + b"\x12\xc0\0\0\0\1\x08original\0\x04tokn"
    + b"\x16\xca\x0a\x0a\x0a\x0a\x08original\x01c",
    bytes((DATAGRAMS, 0)) + b"\x1e\x40" + Identity(0, 1, SECRET).new_connection_id() + bytes(21),
    bytes((INITIALS, 0)) + CRYPTO,
    bytes((INITIALS, 1)) + CRYPTO + bytes(10),
    bytes((INITIALS, 2)) + CRYPTO[:200],
    bytes((INITIALS, 0)) + b"\x01\x02\x00\x00\x00\x00" + CRYPTO,
    bytes((PARAMETERS, 0)) + HELLO[-71:],
    bytes((PARAMETERS, 0)) + b"\x04\x04\x80\x10\0\0\x0f\x08client_1\x03\x02\x44\xb0",
    bytes((FRAMES, 0)) + b"\x08\x0a\x00\x05hello",  # the first: how many bytes are one packet's
    bytes((FRAMES, 0)) + b"\x0c\x0e\x00\x40\x64\x05hello\x04\0\0\5\3\x05\0\0" + b"\x04\x10\0\x11\0",
    bytes((FRAMES, 0)) + b"\x09\x1a12345678" + b"\x02\x19\0" + b"\x04\x1c\0\0\0" + b"\x03\x1e\x02\x00",
)
WORDS = (
    b"\xc0\0\0\0\1", b"\xd0\0\0\0\1", b"\xe0\0\0\0\1", b"\xf0\0\0\0\1", b"\xc0\0\0\0\0", b"\x08original",
    CRYPTO, b"\x06\0", b"\x02\0\0\0\0", b"\x03\0\0\0\0\0\0\0", b"\x1c\0\0\0", b"\x1d\0\0",
    b"\x18\1\0\x08newcidxx" + bytes(16), b"\x0f\0\x05hello", b"\x04\0\0\0", b"\x07\x01x", b"\x30x",
    b"\x31\x01x", b"\xff" * 8, b"\x3f\xff", b"\x7f\xff", b"\x12\xff" + b"\xff" * 7, b"\x0e\x01\x02",
    b"\x03\x02\x40\x00", b"\x0a\x01\x15", b"\x20\x04\x80\0\xff\xff",
)  # fmt: skip
MAX_BYTES = 2048


class Failing(logging.Handler):
    """Lets nobody pass over an error of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage()) from (record.exc_info[1] if record.exc_info else None)


logging.getLogger("edgecluster.protocol").addHandler(Failing(logging.ERROR))
loop = asyncio.new_event_loop()
certificates = Certificates.load(default_pairs())
identity = Identity(0, 1, SECRET)


class Edge:
    """A server without a socket, whose applications send back what they read."""

    def __init__(self, *, always_retry: bool, handshake_s: float) -> None:
        self.reads = True
        self.sent: list[tuple[bytes, Address]] = []
        self.server = QuicServer(
            ConnectionServer(
                cast(Any, NoEntrance()), Limits(), ListenerSettings("https", "127.0.0.1", 443), loop=loop
            ),
            self._make_application, self, identity, certificates, NoTickets(),
            lambda member, data, peer: False,
            bounds=Bounds(handshake_s=handshake_s), always_retry=always_retry,
        )  # fmt: skip

    def _make_application(self, server: ConnectionServer, link: Link) -> Application:
        return Echo(cast(Any, self), link)

    # As its Port.

    def receive(self) -> list[tuple[bytes, Address]]:
        return []

    def send(self, datagrams: list[tuple[bytes, Address]]) -> int:
        self.sent += datagrams
        return 0

    def fileno(self) -> int:
        raise AssertionError("everything was taken")

    # As this target's.

    def take(self, data: bytes) -> list[bytes]:
        """Give it a datagram; what it sends for that."""
        self.server.receive(data, PEER, passed_on=False, now_s=time.monotonic())
        for _ in range(TURNS):
            loop.call_soon(loop.stop)
            loop.run_forever()
        sent, self.sent = self.sent, []
        assert all(peer == PEER for _, peer in sent)
        return [datagram for datagram, _ in sent]


def check(data: bytes) -> None:
    take = Take(data)
    about, how = take.below(4), take.below(4)
    if about == DATAGRAMS:
        _datagrams(take, bool(how & 1))
    elif about == INITIALS:
        _initial(take.rest(), how)
    else:
        _connection(take, about)


def _datagrams(take: Take, always_retry: bool) -> None:
    """As they come; the long ones filled up, so that they may begin something."""
    edge = Edge(always_retry=always_retry, handshake_s=0)
    came = went = 0
    while take.left:
        datagram = take.some()
        if datagram and datagram[0] & 0x80:
            datagram += bytes(max(0, LEAST_INITIAL - len(datagram)))
        came += len(datagram)
        for answer in edge.take(datagram):
            went += len(answer)
            if not _is_initial(answer):  # a refused token fills a packet
                assert len(answer) < len(datagram)
        assert went <= 3 * came
    assert not edge.server._routes and not edge.server._handshakes
    edge.server.close()


def _is_initial(packet: bytes) -> bool:
    return packet[0] & 0xF0 == 0xC0 and packet[1:5] == b"\0\0\0\1"


def _initial(frames: bytes, how: int) -> None:
    """Frames in an Initial, whose keys anybody can compute; `how`: plain, by a good token, by a bad one."""
    now_s = time.monotonic()
    edge = Edge(always_retry=False, handshake_s=0)
    cid = identity.new_connection_id() if how else FIRST
    token = identity.retry_token(PEER, FIRST, cid, now_s) if how else b""
    if how == 2:
        token = token[:-1] + bytes((token[-1] ^ 1,))
    crypto = CryptoPair()
    crypto.setup_initial(cid=cid, is_client=True, version=1)
    datagram = _packet(QuicPacketType.INITIAL, crypto, OURS, cid, frames, 0, token)
    went = sum(len(answer) for answer in edge.take(datagram))
    assert how == 1 or went <= 3 * len(datagram)
    again = sum(len(answer) for answer in edge.take(datagram))
    assert how == 1 or went + again <= 6 * len(datagram)
    edge.server.close()


def _packet(
    kind: QuicPacketType,
    crypto: CryptoPair,
    ours: bytes,
    theirs: bytes,
    frames: bytes,
    number: int,
    token: bytes,
) -> bytes:
    """A client's packet of just these bytes."""
    builder = QuicPacketBuilder(
        host_cid=ours, peer_cid=theirs, version=1, is_client=True, max_datagram_size=1400,
        packet_number=number, peer_token=token,
    )  # fmt: skip
    builder.start_packet(kind, crypto)
    builder._buffer.push_bytes(frames[:MOST_FRAMES] or b"\0")
    if kind is QuicPacketType.INITIAL:
        builder._buffer.push_bytes(bytes(max(0, LEAST_INITIAL - 60 - len(token) - len(frames[:MOST_FRAMES]))))
    (datagram,), _ = builder.flush()
    return datagram


class Client(QuicConnection):
    """aioquic's, that may be told what to say of itself."""

    parameters: bytes | None = None

    def _serialize_transport_parameters(self) -> bytes:
        own = super()._serialize_transport_parameters()
        return own if self.parameters is None else self.parameters.replace(OURS, self.host_cid)


def _connection(take: Take, about: int) -> None:
    """A whole handshake, with these parameters or followed by packets of these frames."""
    edge = Edge(always_retry=False, handshake_s=10)
    client = Client(configuration=configuration())
    if about == PARAMETERS:
        client.parameters = take.rest()
    client.connect(PEER, now=time.monotonic())
    end = _talk(client, edge)
    assert (end is None) is client._handshake_confirmed
    assert about == PARAMETERS or end is None
    while about == FRAMES and take.left and end is None:
        number = client._packet_number
        client._packet_number += 1
        frames = take.some()
        crypto = client._cryptos[Epoch.ONE_RTT]
        packet = _packet(
            QuicPacketType.ONE_RTT, crypto, client.host_cid, client._peer_cid.cid, frames, number, b""
        )
        end = _talk(client, edge, [packet])
    assert end is None or end.error_code != INTERNAL_ERROR, end
    client.close()
    _talk(client, edge)
    assert not edge.server._handshakes
    edge.server.close()


def _talk(
    client: Client, edge: Edge, packets: list[bytes] | None = None
) -> events.ConnectionTerminated | None:
    """Until nobody has anything to say; how the connection ended, if it did."""
    waiting = packets or []
    for _ in range(20):
        now_s = time.monotonic()
        waiting += [datagram for datagram, _ in client.datagrams_to_send(now=now_s)]
        if not waiting:
            break
        for datagram in waiting:
            for answer in edge.take(datagram):
                client.receive_datagram(answer, PEER, now=now_s)
        waiting = []
    return client._close_event
