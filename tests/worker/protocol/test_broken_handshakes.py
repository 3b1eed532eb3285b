"""Handshakes that break off: each is counted once, leaves nothing behind, and disturbs nobody."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run
from tests.support.tls_pair import client_context, write_pair
from worker.protocol import accept
from worker.protocol.tls import make_context


def hello() -> bytes:
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello()

BROKEN = {
    "nothing": (b"", b""),
    "garbage": (b"\x00\x01\x02\x03" * 50, None),
    "half a hello": (HELLO[: len(HELLO) // 2], b""),
    "a record that is too large": (b"\x16\x03\x01\xff\xff" + b"x" * 100, None),
    "a hello whose lengths lie": (HELLO[:6] + b"\xff\xff\xff" + HELLO[9:], None),
    "application data first": (b"\x17\x03\x03\x00\x05hello", None),
    "an alert": (b"\x15\x03\x01\x00\x02\x02\x00", None),
    "a hello of SSL 2": (b"\x80\x2e\x01\x00\x02" + b"x" * 43, None),
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    return make_context(*write_pair(authority, tmp_path))


async def ends(reader: asyncio.StreamReader) -> bytes:
    """All that comes."""
    try:
        return await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("case", BROKEN)
def test_a_handshake_that_breaks_off_is_counted_and_over(
    tls: ssl.SSLContext, authority: trustme.CA, case: str
) -> None:
    data, answer = BROKEN[case]

    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            writer.write(data)
            writer.write_eof()
            got = await ends(reader)
            assert got == answer if answer is not None else got[:1] in (b"", b"\x15")
            await edge.until(lambda: edge.tally.told == ["failed handshake"])
            assert not edge.acceptor._arrivals
            reader, writer = await edge.connect(ssl=client_context(authority), server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_response(reader))[0] == 200

    run(test())


def test_a_client_that_leaves_behind_its_hello_is_counted(tls: ssl.SSLContext) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            writer.write(HELLO)
            assert await asyncio.wait_for(reader.readexactly(1), WAIT_S) == b"\x16"
            writer.transport.abort()
            await edge.until(lambda: edge.tally.told == ["failed handshake"])

    run(test())


@pytest.mark.parametrize(
    "data",
    [b"", b"\x16", HELLO[:20], b"GET / HT"],
    ids=["at once", "after a byte", "within its hello", "within a request"],
)
def test_a_client_that_goes_silent_is_closed(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(accept, "HANDSHAKE_TIMEOUT_S", 0.05)

    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            writer.write(data)
            assert await ends(reader) == b""
            await edge.until(lambda: edge.tally.told == ["failed handshake"])

    run(test())


def test_a_client_of_another_version_is_told(tls: ssl.SSLContext) -> None:
    tls.minimum_version = ssl.TLSVersion.TLSv1_3

    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            client = ssl.create_default_context()
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
                await edge.connect(ssl=client, server_hostname="localhost")
            await edge.until(lambda: edge.tally.told == ["failed handshake"])

    run(test())
