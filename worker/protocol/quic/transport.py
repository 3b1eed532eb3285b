"""aioquic's connection with what a server of many needs of it: our connection IDs, our windows, our bounds.

Overrides small methods of `QuicConnection`, most of them private: what is expected of each is said beside it,
and tests/worker/protocol/test_quic_transport.py fails where a new aioquic no longer calls it so.
"""

import functools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aioquic._buffer import Buffer
from aioquic.quic import connection, events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.connection import (
    END_STATES,
    Limit,
    NetworkAddress,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionId,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.handshake import CIPHER_NAMES, CIPHER_SUITES, ServerTls, bend
from worker.protocol.quic.header import VERSION_1
from worker.protocol.quic.identity import CID_BYTES
from worker.protocol.quic.link import Address
from worker.protocol.quic.tickets import Tickets
from worker.protocol.quic.windows import Windows

EXCESSIVE_LOAD = 0x107  # H3_EXCESSIVE_LOAD (RFC 9114 8.1)
ISSUED_IDS = 4  # that a client has of us at a time: one in use, and some for where it moves to
PROBE_AFTER_BYTES = 16 * 1024  # sent: there may be much more to come, which pays for a probe of the path
BLACK_HOLE_PROBES = 2  # without an answer: perhaps large datagrams get lost now
ACK_DELAY_S = 0.02  # below the 25 ms that aioquic announces, by what a loop may be late

# It writes a line for every connection, and warnings that any client can cause at will.
logging.getLogger("quic").setLevel(logging.CRITICAL)

# It makes the same 33 sets of epochs for every connection: 7 of its 57 KB.
connection.EPOCHS = functools.cache(connection.EPOCHS)


@dataclass(frozen=True, slots=True)
class Room:
    """What all connections of a server share."""

    configuration: QuicConfiguration
    certificates: Certificates
    tickets: Tickets
    bounds: Bounds
    new_id: Callable[[], bytes]
    reset_token: Callable[[bytes], bytes]

    @property
    def terms(self) -> bytes:
        """What a client remembers of us for its early data."""
        bounds = self.bounds
        promised = bounds.streams, bounds.one_way_streams, bounds.stream_bytes, bounds.connection_bytes
        return repr(promised).encode()


def make_configuration(certificates: Certificates, bounds: Bounds) -> QuicConfiguration:
    """aioquic's settings for a server of HTTP/3."""
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=["h3"],
        certificate=certificates.default.leaf,  # it refuses to begin without; `handshake` chooses
        private_key=certificates.default.key,
        cipher_suites=CIPHER_SUITES,
        congestion_control_algorithm="cubic",
        connection_id_length=CID_BYTES,
        idle_timeout=bounds.idle_s,
        max_data=bounds.connection_bytes,
        max_datagram_size=bounds.datagram_bytes,
        max_stream_data=bounds.stream_bytes,
        supported_versions=[VERSION_1],
    )


class Transport(QuicConnection):
    """One connection of a client."""

    tls: ServerTls

    def __init__(
        self, room: Room, original_cid: bytes, retry_cid: bytes | None, proven: Address | None
    ) -> None:
        """`retry_cid` and `proven`: when the client has come back from a Retry, and where it proved to be."""
        super().__init__(
            configuration=room.configuration,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )
        self._room = room
        self._proven = proven
        self._costly = 0
        self._costly_until_s = 0.0
        self.issued: list[bytes] = []  # connection IDs that have come up since this was cleared
        self.windows = Windows(room.bounds.stream_bytes, room.bounds.connection_bytes)
        self.has_news = False  # something was given to be sent: acknowledgements go along
        first = self._new_cid(0)
        first.was_sent = True
        self._host_cids = [first]
        self.host_cid = self._local_initial_source_connection_id = first.cid
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = room.bounds.streams
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = room.bounds.one_way_streams
        # aioquic acknowledges after 1 ms: a timer and a datagram more for every request.
        self._ack_delay = ACK_DELAY_S
        self._acks_owed = 0
        self._largest = (
            room.bounds.large_datagram_bytes
        )  # that the client takes, as far as we would send such
        self._has_probed = False

    # -- state ----------------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """An Initial of a client could be decrypted."""
        return self._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def is_over(self) -> bool:
        return self._state in END_STATES

    @property
    def is_complete(self) -> bool:
        """The handshake is."""
        return self._handshake_complete

    @property
    def cipher(self) -> str:
        return CIPHER_NAMES[self.tls.key_schedule.cipher_suite] if self.tls.key_schedule else ""

    @property
    def end(self) -> events.ConnectionTerminated | None:
        """How it ended, once it has."""
        return self._close_event

    @property
    def linger_until_s(self) -> float | None:
        """When nothing of it can arrive any more; None when that is now."""
        return self._close_at

    @property
    def proven_peer(self) -> Address | None:
        """Where the client has shown to be; None as long as that is not certain."""
        path = self._network_paths[0] if self._network_paths else None
        return path.addr if path is not None and path.is_validated else None

    def take_events(self) -> "deque[events.QuicEvent]":
        """What has happened since the last call."""
        happened, self._events = self._events, deque()
        return happened

    def settle(self) -> None:
        """The handshake is complete: let go of what only that needed."""
        self._crypto_buffers = {}  # 48 KB, for what TLS has to say; a client of QUIC asks it nothing more

    def leave_network(self) -> None:
        """The client is on another network: what was measured does not hold there (RFC 9000 9.4)."""
        if isinstance(self._loss._cc, CubicCongestionControl):
            self._loss._cc.reset()
        self._loss._rtt_initialized = False
        self._shrink()

    def mistrust_size(self) -> None:
        """After a timer: go back to small datagrams when nothing is answered any more (RFC 8899 4.3)."""
        if self._loss._pto_count >= BLACK_HOLE_PROBES and self._max_datagram_size == self._largest:
            self._shrink()

    def _shrink(self) -> None:
        self._max_datagram_size = min(self._room.bounds.datagram_bytes, self._largest)
        self._has_probed = False

    # -- streams --------------------------------------------------------------------------------------------

    def open_stream(self) -> int:
        """A new unidirectional stream of ours."""
        stream_id = self.get_next_available_stream_id(is_unidirectional=True)
        self._get_or_create_stream_for_send(stream_id)
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        """Nothing happens when nobody reads that stream any more."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is None:
            stream.sender.write(data, end_stream=end)
            self.has_news = True

    def waiting(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        if stream is None or stream.sender._reset_error_code is not None:
            return 0
        return stream.sender._buffer_stop - stream.sender._buffer_start

    def break_off(self, stream_id: int, code: int) -> None:
        """Send no more of a stream, and let go of what waits."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.sender.reset(code)
            self.forget_unsent(stream_id)
            self.has_news = True

    def forget_unsent(self, stream_id: int) -> None:
        """aioquic keeps the bytes of a stream that was reset until the connection ends."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is not None:
            stream.sender._buffer.clear()
            stream.sender._pending = type(stream.sender._pending)()

    def stop(self, stream_id: int, code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(code)
            self.has_news = True

    def let_send(self, stream_id: int, limit: int | None) -> None:
        """Raise the client's limit on a stream; None: not on that, but perhaps on the connection."""
        stream = self._streams.get(stream_id)
        if limit is not None and stream is not None and limit > stream.max_stream_data_local:
            stream.max_stream_data_local = limit
            self.has_news = True
        if self._local_max_data.value != self.windows.limit:
            self._local_max_data.value = self.windows.limit
            self.has_news = True

    def final_size(self, stream_id: int) -> int:
        """Where the client broke off a stream."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.receiver.highest_offset

    # -- what aioquic calls ---------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, addr: NetworkAddress, now: float) -> None:
        super().receive_datagram(data, addr, now)
        # At once for the second datagram that asks for it (RFC 9000 13.2.2): slow start lives on that.
        space = self._spaces.get(Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None:
            self._acks_owed += 1
            if self._acks_owed >= 2 and space.ack_at > now:
                space.ack_at = now

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        datagrams = super().datagrams_to_send(now)
        if (
            not self._has_probed
            and self._handshake_complete
            and self._network_paths[0].bytes_sent > PROBE_AFTER_BYTES
            and not self.is_over
        ):
            datagrams += self._probe_size(now)
        return datagrams

    def _probe_size(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Try one large datagram (RFC 8899): a fifth more in each saves as much of what a byte costs us."""
        self._has_probed = True
        path = self._network_paths[0]
        if self._largest <= self._max_datagram_size or not path.is_validated:
            return []
        number, cid = self._packet_number, self._peer_cid.cid
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            peer_cid=cid,
            version=VERSION_1,
            is_client=False,
            max_datagram_size=self._largest,
            packet_number=number,
            spin_bit=self._spin_bit,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        frame = builder.start_frame(QuicFrameType.PING, handler=self._on_size_probe, handler_args=(path,))
        frame.push_bytes(bytes(builder.remaining_buffer_space))
        datagrams = self._flush_builder(builder, path, cid, now)
        # That it gets lost says nothing about congestion (RFC 9000 14.4).
        probe = self._spaces[Epoch.ONE_RTT].sent_packets[number]
        probe.in_flight = False
        self._loss._cc.on_packets_expired(packets=[probe])
        return datagrams

    def _on_size_probe(self, delivery: QuicDeliveryState, path: QuicNetworkPath) -> None:
        if delivery is QuicDeliveryState.ACKED and path is self._network_paths[0]:
            self._max_datagram_size = self._largest

    def _initialize(self, peer_cid: bytes) -> None:
        """Sets the TLS context up, at the first Initial that may be one."""
        super()._initialize(peer_cid)
        bend(self.tls, self._room.certificates, self._room.tickets, self._room.terms)

    def _find_network_path(self, addr: NetworkAddress) -> QuicNetworkPath:
        """Finds or makes the path of a datagram. aioquic does not know that a Retry token has proven it."""
        path = super()._find_network_path(addr)
        if addr == self._proven:
            path.is_validated = True
        return path

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        """Takes the client's parameters over. aioquic does not look at how large datagrams it takes."""
        super()._parse_transport_parameters(data, from_session_ticket)
        largest = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if largest is not None:
            self._largest = min(self._largest, largest)
            self._max_datagram_size = min(self._max_datagram_size, largest)

    def _replenish_connection_ids(self) -> None:
        """Called once the client may use more IDs. aioquic's would be random, and name nobody."""
        while len(self._host_cids) < min(ISSUED_IDS, self._remote_active_connection_id_limit):
            self._host_cids.append(self._new_cid(self._host_cid_seq))
            self._host_cid_seq += 1

    def _new_cid(self, sequence_number: int) -> QuicConnectionId:
        cid = self._room.new_id()
        self.issued.append(cid)
        return QuicConnectionId(cid, sequence_number, self._room.reset_token(cid))

    def _write_application(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float
    ) -> None:
        """Fills 1-RTT packets. An acknowledgement that is not due yet rides along with whatever goes."""
        space = self._spaces[Epoch.ONE_RTT]
        if self.has_news and space.ack_at is not None and space.ack_at > now:
            space.ack_at = now
        self.has_news = False
        super()._write_application(builder, network_path, now)
        if space.ack_at is None:
            self._acks_owed = 0

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        """Tells how much and how many streams may come. aioquic doubles the window when half of it came."""
        data = self._local_max_data
        if data.value != data.sent:
            self._write_limit(builder, data)
        for streams in (self._local_max_streams_bidi, self._local_max_streams_uni):
            if streams.value - streams.sent > streams.sent - streams.used:
                self._write_limit(builder, streams)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Limit) -> None:
        frame = builder.start_frame(
            limit.frame_type,
            capacity=9,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        frame.push_uint_var(limit.value)
        limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        """As `_write_connection_limits`; called for each stream and packet, so it is quick to say no."""
        limit = stream.max_stream_data_local
        if limit == stream.max_stream_data_local_sent or stream.receiver.is_finished:
            return
        frame = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=17,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        assert stream.stream_id is not None  # as for the streams of the handshake
        frame.push_uint_var(stream.stream_id)
        frame.push_uint_var(limit)
        stream.max_stream_data_local_sent = limit

    # -- frames that cost us more than their sender ---------------------------------------------------------

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        """aioquic would keep half a megabyte in each phase, and a message of TLS of sixteen, for anybody."""
        start = buf.tell()
        if buf.pull_uint_var() + buf.pull_uint_var() > self._room.bounds.hello_bytes:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "handshake too long")
        buf.seek(start)
        super()._handle_crypto_frame(context, frame_type, buf)

    def _handle_reset_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        self._charge(context.time)
        super()._handle_reset_stream_frame(context, frame_type, buf)

    def _handle_stop_sending_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        self._charge(context.time)
        super()._handle_stop_sending_frame(context, frame_type, buf)

    def _handle_path_challenge_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        self._charge(context.time)
        super()._handle_path_challenge_frame(context, frame_type, buf)

    def _handle_retire_connection_id_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        self._charge(context.time)
        super()._handle_retire_connection_id_frame(context, frame_type, buf)

    def _charge(self, now_s: float) -> None:
        if now_s >= self._costly_until_s:
            self._costly, self._costly_until_s = 0, now_s + 1
        self._costly += 1
        if self._costly > self._room.bounds.costly_frames:
            raise QuicConnectionError(EXCESSIVE_LOAD, None, "too many resets, stops or moves")  # type: ignore[arg-type]
