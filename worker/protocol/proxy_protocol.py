"""The PROXY protocol, versions 1 and 2: what a proxy says of a connection before the first byte of it.

Finds the head's end and reads it; whom to believe is decided elsewhere. Strict: what is not exactly a head is
none, and nobody guesses where the client's bytes begin.
https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import asyncio
import re
from asyncio import AbstractEventLoop
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from socket import MSG_PEEK, socket

MOST_V1 = 107  # bytes of a line, with its CRLF (2.1)
MOST_V2 = 4096  # bytes of a binary head with all it says besides; proxies send a few hundred

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES = 16  # signature, version and command, family, length
_LOCAL, _PROXY = 0x20, 0x21  # version 2 with its commands
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36}
_NAMELESS = {0x00: 0, 0x31: 216}  # unspecified and Unix streams: bytes of their addresses, which are nobody's
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|"
    rb"TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4}))\r\n"
)

Source = tuple[str, int]  # numeric address and port


class ProxyError(OSError):
    """What comes is no head, or a wrong one."""


async def read_source(loop: AbstractEventLoop, sock: socket) -> Source | None:
    """Take the head from a connected, non-blocking socket, and no byte more.

    Whom the proxy speaks for; None if for itself or for nobody it could name. Raises ProxyError, or the
    socket's OSError. Waits for as long as the caller lets it.
    """
    head = b""
    while True:
        seen = await _peek(loop, sock)
        if not seen:
            raise ProxyError("the connection ended before its PROXY head did")
        size = head_size(head + seen)
        ours = len(seen) if size is None else min(size - len(head), len(seen))
        head += sock.recv(ours)
        if len(head) == size:
            return source_of(head)


async def _peek(loop: AbstractEventLoop, sock: socket) -> bytes:
    try:
        return sock.recv(MOST_V2, MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        pass
    readable = loop.create_future()
    loop.add_reader(sock, _settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    return sock.recv(MOST_V2, MSG_PEEK)


def _settle(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)


def head_size(data: bytes) -> int | None:
    """How many bytes the head has that `data` begins with; None if all of `data` is in it, and there is more.

    Raises ProxyError.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        if len(data) < _FIXED_BYTES:
            return None
        size = _FIXED_BYTES + int.from_bytes(data[14:16], "big")
        if size > MOST_V2:
            raise ProxyError(f"a PROXY head of {size} bytes, more than {MOST_V2}")
        return size
    if not data.startswith(b"PROXY "[: len(data)]):
        raise ProxyError("no PROXY head where there must be one")
    end = data.find(b"\r\n", 0, MOST_V1)
    if end >= 0:
        return end + 2
    if len(data) >= MOST_V1:
        raise ProxyError(f"a PROXY line of more than {MOST_V1} bytes")
    return None


def source_of(head: bytes) -> Source | None:
    """Whom a complete head names as the source of the connection. Raises ProxyError."""
    try:
        return _read_binary(head) if head.startswith(_SIGNATURE) else _read_line(head)
    except (AddressValueError, ValueError) as error:
        raise ProxyError(f"a PROXY head with a wrong address: {error}") from None


def _read_line(head: bytes) -> Source | None:
    line = _LINE.fullmatch(head)
    if line is None:
        raise ProxyError("a PROXY line with a wrong form")
    family, source, target, *ports = line.groups()
    if family is None:
        return None
    if any(int(port) > 65535 for port in ports):
        raise ProxyError("a PROXY line with a wrong port")
    address = IPv4Address if family == b"4" else IPv6Address
    address(target.decode())
    return str(address(source.decode())), int(ports[0])


def _read_binary(head: bytes) -> Source | None:
    command, family = head[12], head[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("a PROXY head with an unknown version or command")
    if command == _LOCAL:  # the proxy's own; the rest says nothing (2.2)
        return None
    rest = head[_FIXED_BYTES:]
    size = _ADDRESS_BYTES.get(family, _NAMELESS.get(family))
    if size is None:
        raise ProxyError(f"a PROXY head with a family that no stream has: {family:#04x}")
    if len(rest) < size:
        raise ProxyError("a PROXY head too short for its addresses")
    _pass_over(rest[size:])
    if family == _TCP4:
        return str(IPv4Address(rest[:4])), int.from_bytes(rest[8:10], "big")
    if family == _TCP6:
        return str(IPv6Address(rest[:16])), int.from_bytes(rest[32:34], "big")
    return None


def _pass_over(data: bytes) -> None:
    """What the proxy says besides: type, length, value, to the very end (2.2)."""
    at = 0
    while at < len(data):
        at += 3 + int.from_bytes(data[at + 1 : at + 3], "big") if at + 3 <= len(data) else len(data) + 1
    if at != len(data):
        raise ProxyError("a PROXY head whose additions do not end where it does")
