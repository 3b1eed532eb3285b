"""Which version a connection speaks: by ALPN over TLS, by its first bytes on a plain listener."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, read_response, run
from tests.support.h2_client import H2Client
from tests.support.h2_edge import H2Edge
from tests.support.tls_pair import client_context, write_pair
from worker.protocol.accept import Acceptor
from worker.protocol.tls import make_context
from worker.protocol.versions import PREFACE

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def both(authority: trustme.CA, folder: Path) -> H2Edge:
    return H2Edge(tls=make_context(*write_pair(authority, folder), ("h2", "http/1.1")))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_offers_h2_gets_it(authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion) -> None:
    async def test() -> None:
        async with both(authority, tmp_path) as edge:
            context = client_context(authority, "h2", "http/1.1")
            context.minimum_version = context.maximum_version = version
            async with await edge.client_over_tls(context) as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
                for _ in range(3):
                    assert (await client.ask()).body == b"hit\n"
            ctx = edge.finished[0]
            assert (ctx.request.scheme, ctx.request.version) == (b"https", b"2")
            assert ctx.client.tls_version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
            assert ctx.client.tls_cipher
            await edge.until(lambda: not edge.server.connections)
            assert edge.tally.told == ["opened", "handshake", "closed"]

    run(test())


@pytest.mark.parametrize("offer", ["h2", "http/1.1"])
def test_the_handshake_is_part_of_the_time_for_the_first_request(
    authority: trustme.CA, tmp_path: Path, offer: str
) -> None:
    async def test() -> None:
        async with both(authority, tmp_path) as edge:
            acceptor = edge.acceptor
            assert isinstance(acceptor, Acceptor)
            client = socket.create_connection(("127.0.0.1", edge.port))
            await edge.until(lambda: acceptor._arrivals)
            (arrival,) = acceptor._arrivals
            _, writer = await asyncio.open_connection(
                sock=client, ssl=client_context(authority, offer), server_hostname="localhost"
            )
            await edge.until(lambda: edge.server.connections)
            (connection,) = edge.server.connections
            assert connection.standing()[1] == int(arrival.since_s * 1e9)
            edge.after(edge.limits.header_timeout_s + 1)
            await edge.until(lambda: not edge.server.connections)
            writer.close()

    run(test())


@pytest.mark.parametrize("offer", [("http/1.1",), ()])
def test_who_does_not_offer_h2_gets_http1(
    authority: trustme.CA, tmp_path: Path, offer: tuple[str, ...]
) -> None:
    async def test() -> None:
        async with both(authority, tmp_path) as edge:
            context = client_context(authority, *offer)
            reader, writer = await edge.connect(ssl=context, server_hostname="localhost")
            writer.write(GET)
            assert (await read_response(reader))[2] == b"hit\n"
            assert edge.finished[0].request.version == b"1.1"

    run(test())


def test_a_large_body_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    async def test() -> None:
        from tests.support.h1_edge import Lent
        from worker.fields import Fields
        from worker.message import Response

        body = bytes(range(256)) * 40_000
        async with both(authority, tmp_path) as edge:
            edge.gate = lambda ctx: Response(200, Fields.of(), Lent(body), len(body))
            async with await edge.client_over_tls(client_context(authority, "h2")) as client:
                assert (await client.ask()).body == body

    run(test())


@pytest.mark.parametrize("cut", range(1, len(PREFACE) + 1, 3))
def test_a_plain_connection_is_known_by_its_preface_however_it_arrives(cut: int) -> None:
    async def test() -> None:
        async with H2Edge() as edge:
            reader, writer = await edge.connect()

            class Halting:
                """Sends the first bytes in two parts."""

                def __init__(self) -> None:
                    self.sent = False

                def write(self, data: bytes) -> None:
                    if self.sent:
                        writer.write(data)
                    else:
                        writer.write(data[:cut])
                        self.rest, self.sent = data[cut:], True

                def close(self) -> None:
                    writer.close()

                async def wait_closed(self) -> None:
                    await writer.wait_closed()

            halting = Halting()
            async with H2Client(reader, halting) as client:  # type: ignore[arg-type]
                await edge.until(lambda: edge.server.connections)
                await asyncio.sleep(0.005)
                writer.write(halting.rest)
                assert (await client.ask()).status == 200
            await edge.until(lambda: not edge.server.connections)
            assert edge.tally.told == ["opened", "closed"]

    run(test())


@pytest.mark.parametrize("first", [b"P", b"PR", b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"G"])
def test_what_only_begins_like_the_preface_is_http1(first: bytes) -> None:
    async def test() -> None:
        async with H2Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(first)
            await edge.until(lambda: edge.server.connections)
            await asyncio.sleep(0.005)
            rest = {b"P": b"OST", b"PR": b"OPFIND", b"G": b"ET"}.get(first, b"X")
            writer.write(rest + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            status, _, _ = await read_response(reader)
            assert status == (200 if first in (b"P", b"PR", b"G") else 505 if len(first) > 3 else 501)

    run(test())


def test_http1_goes_on_as_ever_where_both_are_spoken() -> None:
    async def test() -> None:
        async with H2Edge() as edge:
            reader, writer = await edge.connect()
            for _ in range(3):
                writer.write(GET * 2)
                assert (await read_response(reader))[0] == 200
                assert (await read_response(reader))[0] == 200
            writer.close()
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())
