"""What a QUIC datagram shows before anything is decrypted (RFC 8999, RFC 9000 17.2).

Reads the first packet of a datagram as far as is needed to find its connection or to begin one. Whatever is
malformed is None: nobody is told.
"""

from typing import NamedTuple

VERSION_1 = 1
LEAST_INITIAL_BYTES = 1200  # of the datagram that carries an Initial (RFC 9000 14.1)
MAX_CID_BYTES = 20  # in version 1; what is common to all versions allows 255

_LONG = 0x80
_FIXED = 0x40


class LongHeader(NamedTuple):
    """Of the first packet of a datagram."""

    version: int
    destination: bytes
    source: bytes
    is_initial: bool
    token: bytes  # of an Initial


def is_long(data: bytes) -> bool:
    """Does the first packet have a long header? `data` is not empty."""
    return data[0] & _LONG != 0


def read_long(data: bytes) -> LongHeader | None:
    """The long header at the start of `data`; None when it is malformed.

    Of an unknown version only what all versions share is read.
    """
    if len(data) < 7:
        return None
    version = int.from_bytes(data[1:5], "big")
    source_at = 6 + data[5]
    if source_at >= len(data):
        return None
    end = source_at + 1 + data[source_at]
    if end > len(data):
        return None
    destination, source = data[6:source_at], data[source_at + 1 : end]
    if version != VERSION_1:
        return LongHeader(version, destination, source, False, b"")
    if not data[0] & _FIXED or len(destination) > MAX_CID_BYTES or len(source) > MAX_CID_BYTES:
        return None
    if data[0] & 0x30:
        return LongHeader(version, destination, source, False, b"")
    token = _read_token(data, end)
    return None if token is None else LongHeader(version, destination, source, True, token)


def _read_token(data: bytes, at: int) -> bytes | None:
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    start = at + size
    length = int.from_bytes(data[at:start], "big") & ((1 << (8 * size - 2)) - 1)
    if start + length > len(data):
        return None
    return data[start : start + length]
