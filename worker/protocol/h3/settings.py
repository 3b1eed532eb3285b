"""The SETTINGS frame (RFC 9114 7.2.4): ours, and what a client's may say."""

from worker.protocol.h3.codes import FRAME_ERROR, SETTINGS_ERROR, H3Error
from worker.protocol.h3.frames import read_varint, varint
from worker.protocol.h3.qpack import BLOCKED_STREAMS, TABLE_BYTES

QPACK_MAX_TABLE_CAPACITY, MAX_FIELD_SECTION_SIZE, QPACK_BLOCKED_STREAMS, ENABLE_CONNECT_PROTOCOL = 1, 6, 7, 8
H3_DATAGRAM = 0x33
_OF_HTTP2 = frozenset((0, 2, 3, 4, 5))  # must not be sent here (RFC 9114 7.2.4.1)
_YES_OR_NO = frozenset((ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM))  # RFC 9220 3, RFC 9297 2.1.1


def our_settings(header_bytes: int) -> bytes:
    """The payload of our frame."""
    pairs = {
        QPACK_MAX_TABLE_CAPACITY: TABLE_BYTES,
        MAX_FIELD_SECTION_SIZE: header_bytes,
        QPACK_BLOCKED_STREAMS: BLOCKED_STREAMS,
        ENABLE_CONNECT_PROTOCOL: 1,
    }
    return b"".join(varint(name) + varint(value) for name, value in pairs.items())


def read_settings(payload: bytes) -> dict[int, int]:
    """What the client's frame says; unknown ones among it."""
    found: dict[int, int] = {}
    at = 0
    while at < len(payload):
        name = read_varint(payload, at)
        value = read_varint(payload, name[1]) if name is not None else None
        if name is None or value is None:
            raise H3Error(FRAME_ERROR, "SETTINGS end within a setting")
        if name[0] in found:
            raise H3Error(SETTINGS_ERROR, "setting given twice")
        if name[0] in _OF_HTTP2:
            raise H3Error(SETTINGS_ERROR, "setting of HTTP/2")
        if name[0] in _YES_OR_NO and value[0] > 1:
            raise H3Error(SETTINGS_ERROR, "setting that is neither 0 nor 1")
        found[name[0]], at = value
    return found
