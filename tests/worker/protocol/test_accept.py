"""Accepting TLS connections when resources run out, and while being closed."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run
from tests.support.tls_pair import client_context, write_pair
from worker.context import Client
from worker.protocol import accept
from worker.protocol.tls import make_context
from worker.reasons import TurnedAway

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello() -> bytes:
    """How a client begins."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.contextmanager
def no_file_descriptors() -> Iterator[None]:
    """As if this process had used up its file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect_to(client: socket.socket, port: int) -> None:
    """Connect without needing anything but the socket that is there already."""
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))


async def talk(client: socket.socket, context: ssl.SSLContext) -> int:
    """TLS over a connected socket, and one request; its status."""
    reader, writer = await asyncio.open_connection(sock=client, ssl=context, server_hostname="localhost")
    writer.write(GET)
    status = (await read_response(reader))[0]
    writer.close()
    return status


def test_without_file_descriptors_accepting_pauses_and_goes_on(
    authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            client = socket.socket()
            with no_file_descriptors():
                connect_to(client, edge.port)
                await edge.until(lambda: "accepting pauses" in caplog.text)
                before = len(caplog.records)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert len(caplog.records) == before
            assert await asyncio.wait_for(talk(client, client_context(authority)), WAIT_S) == 200

    run(test())


def test_too_many_handshakes_wait_for_their_turn(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "HANDSHAKES", 2)
    monkeypatch.setattr(accept, "SILENT_S", 60)

    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            silent = [await edge.connect() for _ in range(2)]
            acceptor = edge.acceptor
            assert isinstance(acceptor, accept.Acceptor)
            await edge.until(lambda: len(acceptor._arrivals) == 2)
            client = socket.socket()
            connect_to(client, edge.port)
            await edge.until(lambda: acceptor._full)
            assert len(acceptor._arrivals) == 2
            for _reader, writer in silent:
                writer.close()
            assert await asyncio.wait_for(talk(client, client_context(authority)), WAIT_S) == 200

    run(test())


@pytest.mark.parametrize("data", [b"", hello()])
def test_silent_ones_make_room_when_there_are_too_many(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(accept, "HANDSHAKES", 2)
    monkeypatch.setattr(accept, "CUT", 1)
    monkeypatch.setattr(accept, "SLOW_S", 0.25)

    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            silent = [await edge.connect() for _ in range(2)]
            for _reader, writer in silent:
                writer.write(data)
            client = socket.socket()
            connect_to(client, edge.port)
            assert await asyncio.wait_for(talk(client, client_context(authority)), WAIT_S) == 200
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(silent[0][0].read(), WAIT_S)  # until it is cut
            assert TurnedAway.CROWDED in edge.tally.told

    run(test())


class Counting:
    """A door that lets everybody in, and knows who is."""

    def __init__(self) -> None:
        self.inside = self.entered = 0

    def keeps_out(self, client: Client) -> TurnedAway | None:
        return None

    def enter(self, client: Client, now_ns: int) -> TurnedAway | None:
        self.inside += 1
        self.entered += 1
        return None

    def leave(self, client: Client) -> None:
        self.inside -= 1


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16garbage", hello(), hello()[:50]],
    ids=["nothing", "a request", "garbage", "a hello", "half a hello"],
)
def test_who_has_entered_has_left_however_the_handshake_ends(
    authority: trustme.CA, tmp_path: Path, data: bytes
) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            door = edge.server.door = Counting()
            _, writer = await edge.connect()
            writer.write(data)
            await edge.until(lambda: door.entered == 1)
            writer.transport.abort()
            await edge.until(lambda: door.inside == 0)
            client = socket.socket()
            connect_to(client, edge.port)
            assert await asyncio.wait_for(talk(client, client_context(authority)), WAIT_S) == 200
            await edge.until(lambda: door.inside == 0)
            assert door.entered == 2

    run(test())


def test_who_left_before_the_handshake_was_over_is_counted_no_more() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            door = edge.server.door = Counting()
            client = edge.server.client_at(("192.0.2.7", 4711))
            assert edge.server.welcome(client) and door.inside == 1
            assert edge.server.client(asyncio.Transport(), client) is None
            assert door.inside == 0

    run(test())


def test_closing_lets_handshakes_finish(authority: trustme.CA, tmp_path: Path) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            acceptor = edge.acceptor
            assert isinstance(acceptor, accept.Acceptor)
            client = socket.socket()
            connect_to(client, edge.port)
            await edge.until(lambda: acceptor._arrivals)
            assert acceptor.is_serving()
            acceptor.close()
            assert not acceptor.is_serving()
            assert await asyncio.wait_for(talk(client, client_context(authority)), WAIT_S) == 200
            await asyncio.wait_for(acceptor.wait_closed(), WAIT_S)
            with pytest.raises(ConnectionRefusedError):
                await edge.connect()

    run(test())
