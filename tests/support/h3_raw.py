"""HTTP/3 frames byte by byte, for what no decent client would send."""

import pylsqpack
from aioquic.buffer import encode_uint_var as varint

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3
GREASE = 0x21
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
NO_TABLE = b"\0\0"  # prefix of a section that refers to no dynamic table


def frame(kind: int, payload: bytes = b"") -> bytes:
    return varint(kind) + varint(len(payload)) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, b"".join(varint(name) + varint(value) for name, value in pairs))


def control(*frames: bytes) -> bytes:
    """A control stream that begins as it must."""
    return varint(CONTROL) + settings() + b"".join(frames)


def section(fields: list[tuple[bytes, bytes]] = GET) -> bytes:
    """A field section that needs no dynamic table."""
    return pylsqpack.Encoder().encode(0, fields)[1]


def literal(fields: list[tuple[bytes, bytes]]) -> bytes:
    """A field section as it is: no table, no Huffman code, whatever the fields may hold."""
    lines = (prefixed(3, 0x20, name) + prefixed(7, 0, value) for name, value in fields)
    return NO_TABLE + b"".join(lines)


def prefixed(bits: int, flags: int, string: bytes) -> bytes:
    """A string behind its length, which begins with so many bits of a byte (RFC 7541 5.1)."""
    most, size = (1 << bits) - 1, len(string)
    if size < most:
        return bytes((flags | size,)) + string
    head, size = bytes((flags | most,)), size - most
    while size >= 128:
        head, size = head + bytes((size & 127 | 128,)), size >> 7
    return head + bytes((size,)) + string


def head(fields: list[tuple[bytes, bytes]] = GET) -> bytes:
    return frame(HEADERS, section(fields))


def post(length: int | None = None) -> bytes:
    fields = [(b":method", b"POST"), *GET[1:]]
    return head(fields if length is None else [*fields, (b"content-length", b"%d" % length)])
