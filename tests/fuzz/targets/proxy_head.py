"""The PROXY protocol's head: found and read alike however it comes in pieces, and the byte behind it is the
client's first. A source is an address and a port as everybody writes them, and both versions agree on it.
"""

import asyncio
from contextlib import suppress
from ipaddress import ip_address
from socket import SHUT_WR, socket, socketpair

from tests.fuzz.take import Take, cut
from worker.protocol.proxy_protocol import (
    MOST_V1,
    MOST_V2,
    ProxyError,
    Source,
    head_size,
    read_source,
    source_of,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + b"\xd4\x31\x01\xbb"
V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + b"\xd4\x31\x01\xbb"


def binary(command: int, family: int, rest: bytes) -> bytes:
    """A head of version 2."""
    return SIGNATURE + bytes((command, family)) + len(rest).to_bytes(2, "big") + rest


SEEDS = (
    b"\0PROXY TCP4 192.0.2.1 198.51.100.2 54321 443\r\nGET / HTTP/1.1\r\n",
    b"\5PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535\r\n",
    b"\1PROXY UNKNOWN whatever it says\r\nx",
    b"\0" + binary(0x21, 0x11, V4) + b"GET /",
    b"\7" + binary(0x21, 0x21, V6 + b"\3\0\4abcd\4\0\0"),
    b"\0" + binary(0x20, 0x00, b"") + b"\x16\3\1",
    b"\2" + binary(0x21, 0x31, bytes(216)),
)
WORDS = (
    b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b" 65536", b" 00", b"::", b"fe80::1%1", SIGNATURE,
    b"\x21\x11\0\x0c", b"\x21\x21\0\x24", b"\x20\0\0\0", b"\x21\x31\0\xd8", b"\xff\xff", b"\3\0\4",
)  # fmt: skip

FEW = 24  # pieces

loop = asyncio.new_event_loop()


def check(data: bytes) -> None:
    take = Take(data)
    step = take.below(64)
    came = take.rest()
    size = _size_by_prefixes(came)
    source: Source | ProxyError | None
    if size is None or size > len(came):
        source = ProxyError("not all of it came")
    else:
        try:
            source = source_of(came[:size])
        except ProxyError as error:
            source = error
    if isinstance(source, tuple):
        _is_canonical(source)
    _is_read_alike(came, step, size, source)


def _size_by_prefixes(came: bytes) -> int | None:
    """The head's size; all that is said of its beginnings must fit together. None: there is no head."""
    known: int | None = None
    refused = False
    for length in range(1, min(len(came), MOST_V2) + 1):
        try:
            size = head_size(came[:length])
        except ProxyError:
            assert known is None
            refused = True
            continue
        assert not refused, "what was no head became one"
        assert known in (None, size), "a head that changes its size"
        known = size
        if size is None:
            assert length < MOST_V1 or came.startswith(SIGNATURE)
        else:
            assert size <= MOST_V2
    return known


def _is_canonical(source: Source) -> None:
    """As Python writes it, and the same in the other version and in this."""
    text, port = source
    address = ip_address(text)
    assert str(address) == text and 0 <= port <= 65535
    version = address.version
    line = f"PROXY TCP{version} {text} {text} {port} 0\r\n".encode()
    assert head_size(line) == len(line) and source_of(line) == source
    ends = address.packed * 2 + port.to_bytes(2, "big") + b"\0\0"
    head = binary(0x21, 0x11 if version == 4 else 0x21, ends)
    assert head_size(head) == len(head) and source_of(head) == source


def _is_read_alike(came: bytes, step: int, size: int | None, source: Source | ProxyError | None) -> None:
    """From a socket, where it comes in pieces, the same is read, and no byte of the client's."""
    theirs, ours = socketpair()
    with theirs, ours:
        ours.setblocking(False)
        try:
            found = loop.run_until_complete(_read(theirs, ours, _pieces(came, step)))
        except ProxyError:
            assert isinstance(source, ProxyError)
            return
        assert found == source and size is not None
        left = b""
        with suppress(BlockingIOError):
            while more := ours.recv(65536):
                left += more
        assert left == came[size:]


def _pieces(came: bytes, step: int) -> list[bytes]:
    """A few of that size, then the rest: a socket's buffer does not hold many."""
    small = FEW * step
    return [*cut(came[:small], step or 1), came[small:]]


async def _read(theirs: socket, ours: socket, pieces: list[bytes]) -> Source | None:
    async def send() -> None:
        for piece in pieces:
            theirs.sendall(piece)
            await asyncio.sleep(0)
        theirs.shutdown(SHUT_WR)

    sending = loop.create_task(send())
    try:
        return await read_source(loop, ours)
    finally:
        await sending
