"""Packets that are sent without a connection, and leave nothing behind (RFC 9000 5.2.2, 6, 8.1, 10.3).

All but the refusal of a token are smaller than what they answer, so nobody can use us to amplify.
"""

import os
import struct

from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType, encode_quic_retry
from aioquic.quic.packet_builder import QuicPacketBuilder

from worker.protocol.quic.header import LEAST_INITIAL_BYTES, VERSION_1, LongHeader
from worker.protocol.quic.identity import RESET_TOKEN_BYTES

LEAST_RESET_BYTES = 21  # RFC 9000 10.3: with less it would not look like a packet
_MOST_RESET_BYTES = 43  # what a small packet of ours has

_CLOSE_BYTES = 25


def version_negotiation(header: LongHeader) -> bytes:
    """What we speak, and a version that nobody does, so that clients stay used to such (RFC 9000 6.3)."""
    grease = int.from_bytes(os.urandom(4), "big") & 0xF0F0F0F0 | 0x0A0A0A0A
    return b"".join(
        (
            bytes((0x80 | os.urandom(1)[0], 0, 0, 0, 0)),
            bytes((len(header.source),)) + header.source,
            bytes((len(header.destination),)) + header.destination,
            struct.pack(">II", VERSION_1, grease),
        )
    )


def stateless_reset(token: bytes, trigger_bytes: int) -> bytes | None:
    """Tell the sender of an unknown packet that its connection is gone; None when that was too small.

    Always smaller than the trigger, or two who know nothing would go on for ever (RFC 9000 10.3.3).
    """
    size = min(trigger_bytes - 1, _MOST_RESET_BYTES)
    if size < LEAST_RESET_BYTES:
        return None
    first, *rest = os.urandom(size - RESET_TOKEN_BYTES)
    return bytes((0x40 | first & 0x3F, *rest)) + token


def retry(header: LongHeader, new_cid: bytes, token: bytes) -> bytes:
    """Ask the client to come again with `token`, to `new_cid`."""
    return encode_quic_retry(
        version=header.version,
        source_cid=new_cid,
        destination_cid=header.source,
        original_destination_cid=header.destination,
        retry_token=token,
    )


def refuse_token(header: LongHeader) -> bytes:
    """End the attempt with INVALID_TOKEN, under the keys of the client's connection ID (RFC 9000 8.1.3)."""
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination,
        peer_cid=header.source,
        version=header.version,
        is_client=False,
        max_datagram_size=LEAST_INITIAL_BYTES,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=_CLOSE_BYTES)
    frame.push_uint_var(QuicErrorCode.INVALID_TOKEN)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]
