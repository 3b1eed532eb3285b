"""The PROXY protocol: whom a head names, where it ends, and everything that is none."""

import asyncio
import contextlib
import socket
import struct
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run, text
from tests.support.tls_pair import client_context, write_pair
from worker.context import Context
from worker.message import Response
from worker.pipeline import Edge
from worker.protocol.proxy_protocol import MOST_V2, ProxyError, head_size, source_of
from worker.protocol.server import ConnectionServer
from worker.protocol.tls import make_context
from worker.protocol.versions import HttpServer
from worker.reasons import TurnedAway
from worker.settings import ListenerSettings

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 443)
)
TLV = b"\x02\0\x0bexample.org"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def binary(rest: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    return (
        SIGNATURE
        + bytes((command, family))
        + struct.pack("!H", len(rest) if length is None else length)
        + rest
    )


NAMED = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", ("192.0.2.7", 4711)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 443\r\n", ("192.0.2.7", 0)),
    (b"PROXY TCP6 2001:db8::7 2001:DB8::1 4711 443\r\n", ("2001:db8::7", 4711)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n", ("::ffff:c000:207", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    (binary(V4), ("192.0.2.7", 4711)),
    (binary(V4 + TLV), ("192.0.2.7", 4711)),
    (binary(V4 + TLV + b"\x04\0\0"), ("192.0.2.7", 4711)),
    (binary(V6, family=0x21), ("2001:db8::7", 4711)),
    (binary(V6 + TLV, family=0x21), ("2001:db8::7", 4711)),
    (binary(b"", command=0x20, family=0), None),
    (binary(V4, command=0x20), None),
    (binary(b"\x04\0", command=0x20), None),
    (binary(b"", family=0), None),
    (binary(bytes(216), family=0x31), None),
]

REFUSED = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 2001:db8:::7 ::1 1 2\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    b"PROXY " + b"x" * 200,
    SIGNATURE[:-1] + b"\r" + b"\x21\x11\0\x0c" + V4,
    binary(V4, command=0x11),
    binary(V4, command=0x22),
    binary(V4, command=0x31),
    binary(V4, family=0x12),
    binary(V6, family=0x22),
    binary(V4, family=0x41),
    binary(V4, family=0x10),
    binary(V4[:-1]),
    binary(V6[:-1], family=0x21),
    binary(V4, family=0x21),
    binary(V4 + b"\x02"),
    binary(V4 + b"\x02\0"),
    binary(V4 + b"\x02\0\x02a"),
    binary(V4 + TLV + b"\x04\xff\xff"),
    binary(bytes(215), family=0x31),
    binary(V4 + bytes(MOST_V2)),
]


def read(data: bytes) -> tuple[str, int] | None:
    """As the edge reads it, from a proxy that sends byte by byte and has sent all."""
    for end in range(1, len(data) + 1):
        size = head_size(data[:end])
        if size is not None and size <= end:
            assert size == end
            return source_of(data[:size])
    raise AssertionError("the edge would wait for more")


@pytest.mark.parametrize(("head", "source"), NAMED)
def test_a_head_names_the_source_of_a_connection_or_nobody(
    head: bytes, source: tuple[str, int] | None
) -> None:
    assert read(head) == source
    assert head_size(head + GET) == len(head)


@pytest.mark.parametrize("head", REFUSED)
def test_what_is_not_exactly_a_head_is_refused(head: bytes) -> None:
    with pytest.raises(ProxyError):
        read(head)


class ProxiedEdge(H1Edge):
    """A listener where every connection begins with a head; it answers with the address of its client."""

    def make_server(self, edge: Edge, listener: ListenerSettings) -> ConnectionServer:
        proxied = ListenerSettings(listener.scheme, listener.host, listener.port, proxy_protocol=True)
        return HttpServer(
            edge, self.limits, proxied, trusted=self.trusted, tally=self.tally, http2=self.tls is None
        )


def who(ctx: Context) -> Response:
    return text(ctx, f"{ctx.client.address} {ctx.client.port} {ctx.client.tls_version}".encode())


TRUSTED = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize("head", [NAMED[0][0], binary(V4 + TLV)])
def test_the_client_is_whom_the_head_names_however_it_comes(head: bytes, pieces: int) -> None:
    async def test() -> None:
        async with ProxiedEdge(who, trusted=TRUSTED) as edge:
            reader, writer = await edge.connect()
            data = head + GET
            step = -(-len(data) // pieces)
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await read_response(reader))[2] == b"192.0.2.7 4711 "

    run(test())


def test_the_head_comes_before_tls(tmp_path: Path) -> None:
    authority = trustme.CA()

    async def test() -> None:
        async with ProxiedEdge(
            who, trusted=TRUSTED, tls=make_context(*write_pair(authority, tmp_path))
        ) as edge:
            client = socket.create_connection(("127.0.0.1", edge.port))
            client.sendall(binary(V6, family=0x21))
            reader, writer = await asyncio.open_connection(
                sock=client, ssl=client_context(authority), server_hostname="localhost"
            )
            writer.write(GET)
            assert (await read_response(reader))[2] == b"2001:db8::7 4711 TLSv1.3"
            writer.close()

    run(test())


def test_a_proxy_that_speaks_for_itself_is_the_client() -> None:
    async def test() -> None:
        async with ProxiedEdge(who, trusted=TRUSTED) as edge:
            answer = await edge.exchange(binary(b"", command=0x20, family=0) + GET)
            assert b"127.0.0.1 " in answer

    run(test())


@pytest.mark.parametrize("data", [GET, REFUSED[10] + GET, binary(V4, family=0x12) + GET])
def test_a_connection_without_a_right_head_is_closed_and_counted(data: bytes) -> None:
    async def test() -> None:
        async with ProxiedEdge(who, trusted=TRUSTED) as edge:
            with contextlib.suppress(ConnectionResetError):
                assert await edge.exchange(data) == b""
            await edge.until(lambda: edge.tally.told == [TurnedAway.PROXY])

    run(test())


def test_nobody_but_a_trusted_proxy_may_speak_for_others() -> None:
    async def test() -> None:
        async with ProxiedEdge(who, trusted=(ip_network("192.0.2.0/24"),)) as edge:
            with pytest.raises(ConnectionResetError):
                reader, writer = await edge.connect()
                writer.write(NAMED[0][0] + GET)
                await asyncio.wait_for(reader.readexactly(1), WAIT_S)
            assert edge.tally.told == [TurnedAway.PROXY]

    run(test())
