"""Upgrade (RFC 9110 7.8) through a whole edge: WebSockets, and what may go wrong around a tunnel."""

import asyncio
import os
import signal
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest
import trustme
from aiohttp import web

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import ScriptedOrigin, Step, Wire, answer
from tests.support.tunnel_edge import TunnelEdge as Edge
from tests.support.tunnel_edge import settled, tunnel_edge
from worker.settings import LogSettings, OriginSettings, SiteSettings

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Origin: yes\r\n\r\n"
)
OFFER = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
PATIENCE_S = 30.0
MIB = 1024 * 1024
KERNEL_BYTES = 40 * MIB  # what four loopback sockets may buffer, generously
EDGE_BYTES = 16 * MIB  # what a worker may grow by while it moves any amount


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with tunnel_edge(tmp_path_factory.mktemp("upgrade")) as edge:
        yield edge


class Peer:
    """A client's connection, raw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, path: str, fields: str = OFFER, version: str = "1.1", behind: bytes = b"") -> None:
        head = f"GET {path} HTTP/{version}\r\nHost: edge.test\r\n{fields}\r\n".encode()
        self.writer.write(head + behind)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and fields of the next answer, or interim answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        named = (line.partition(":") for line in lines[1:])
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in named}

    async def switch(self, path: str) -> None:
        await self.ask(path)
        status, fields = await self.head()
        assert (status, fields["upgrade"], fields["connection"]) == (101, "websocket", "Upgrade")

    async def body(self, fields: dict[str, str]) -> bytes:
        return await self.reader.readexactly(int(fields["content-length"]))


def run(edge: Edge, test: Callable[[Peer], Awaitable[None]], scheme: str = "http") -> None:
    """Run `test` with a connection to the edge."""
    context = ssl._create_unverified_context() if scheme == "https" else None

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            peer = Peer(*await asyncio.open_connection("127.0.0.1", edge.port(scheme), ssl=context))
            try:
                await test(peer)
            finally:
                peer.writer.transport.abort()

    asyncio.run(main())


async def echo(wire: Wire) -> None:
    """Switch, then give back whatever comes, until its end."""
    await wire.write(SWITCH)
    while data := await wire.read():
        await wire.write(data)
    wire.close()


# What passes


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_websocket_clients_and_servers_talk_through_the_edge(tmp_path, edge, scheme):
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse(protocols=("chat",))
        await socket_.prepare(request)
        async for message in socket_:
            if message.data == "bye":
                await socket_.close(code=4001, message=b"as you like")
            elif message.type is aiohttp.WSMsgType.TEXT:
                await socket_.send_str(message.data)
            else:
                await socket_.send_bytes(message.data)
        return socket_

    async def main() -> None:
        application = web.Application()
        application.router.add_get("/ws", serve)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        made = settings(tmp_path / "state", origin=f"http://127.0.0.1:{port}", schemes=(scheme,))
        cluster = Cluster(made)
        try:
            await asyncio.to_thread(cluster.start)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
                async with session.ws_connect(
                    f"{cluster.url}/ws", protocols=("chat",), compress=15
                ) as client:
                    assert client.protocol == "chat"
                    for size in (0, 1, 125, 65536, MIB):
                        await client.send_str("x" * size)
                        assert (await client.receive()).data == "x" * size
                        await client.send_bytes(os.urandom(size) * 2)
                        assert len((await client.receive()).data) == 2 * size
                    await client.ping()
                    await client.send_str("bye")
                    assert (await client.receive()).type is aiohttp.WSMsgType.CLOSE
                    assert client.close_code == 4001
        finally:
            await asyncio.to_thread(cluster.stop)
            await runner.cleanup()

    asyncio.run(main())


def test_the_origin_is_offered_the_protocol_on_a_connection_of_its_own(edge: Edge) -> None:
    page = edge.script(answer(b"page", headers="Cache-Control: no-store"))
    tunnel = edge.script(echo)

    async def test(peer: Peer) -> None:
        for _ in range(2):  # leaves an idle connection to the origin behind
            await peer.ask(page, "")
            _, fields = await peer.head()
            await peer.body(fields)
        await peer.ask(
            tunnel, "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\n"
        )
        status, fields = await peer.head()
        assert (status, fields["x-origin"]) == (101, "yes")
        assert "content-length" not in fields
        assert "transfer-encoding" not in fields

    run(edge, test)
    (request,) = edge.asked(tunnel)
    assert request.headers["connection"] == "Upgrade"
    assert request.headers["upgrade"] == "websocket"
    assert request.headers["sec-websocket-key"] == "abc"
    assert request.connection not in {page.connection for page in edge.asked(page)}


def test_bytes_both_ways_are_logged_and_counted_when_the_tunnel_ends(edge: Edge) -> None:
    path = edge.script(echo)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        peer.writer.write(b"x" * 1000)
        assert await peer.reader.readexactly(1000) == b"x" * 1000
        metrics = await asyncio.to_thread(edge.metrics)
        assert metrics["edgecluster_tunnels_open"] >= 1
        assert metrics["edgecluster_tunnels_total"] >= metrics["edgecluster_tunnels_open"]

    run(edge, test)
    line = edge.logged(path)
    assert (line["status"], line["bytes_in"], line["cache"], line["forward"]) == (
        101,
        1000,
        "bypass",
        "request",
    )
    assert isinstance(line["bytes_out"], int)
    assert 1000 < line["bytes_out"] < 2000
    assert wait_until(lambda: edge.metrics()["edgecluster_tunnels_open"] == 0)


def test_an_upgrade_is_neither_answered_from_the_cache_nor_collapsed(edge: Edge) -> None:
    steps: list[Step] = [answer(b"page", headers="Cache-Control: max-age=60"), echo]
    path = edge.script(b"")
    edge.scripts[path] = steps[0]

    async def test(peer: Peer) -> None:
        await peer.ask(path, "")
        _, fields = await peer.head()
        assert await peer.body(fields) == b"page"
        edge.scripts[path] = steps[1]
        others = [Peer(*await asyncio.open_connection("127.0.0.1", edge.port())) for _ in range(3)]
        for number, other in enumerate(others):
            await other.switch(path)
            other.writer.write(b"%d" % number)
        for number, other in enumerate(others):
            assert await other.reader.readexactly(1) == b"%d" % number
            other.writer.transport.abort()
        await peer.ask(path, "")
        _, fields = await peer.head()
        assert "; hit" in fields["cache-status"]

    run(edge, test)


# What is refused, and by whom


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "400 Bad Request", "403 Forbidden", "426 Upgrade Required"]
)
def test_any_other_status_is_an_ordinary_answer(edge: Edge, status: str) -> None:
    path = edge.script(answer(b"" if status[:3] == "204" else b"no", status))
    page = edge.script(answer(b"page"))

    async def test(peer: Peer) -> None:
        await peer.ask(path)
        got, fields = await peer.head()
        assert got == int(status[:3])
        assert "upgrade" not in fields
        if got != 204:
            assert await peer.body(fields) == b"no"
        await peer.ask(page, "")
        _, fields = await peer.head()
        assert await peer.body(fields) == b"page"

    run(edge, test)


@pytest.mark.parametrize(
    ("fields", "version", "prefix"),
    [
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", "1.1", "/"),
        ("Connection: Upgrade\r\nUpgrade: chat\r\n", "1.1", "/"),
        ("Upgrade: websocket\r\n", "1.1", "/"),
        (OFFER, "1.0", "/"),
        (OFFER, "1.1", "/none/"),
        (OFFER, "1.1", "/chat/"),
    ],
    ids=["h2c", "unknown", "no-option", "http-1.0", "route-without", "route-with-another"],
)
def test_an_offer_that_is_not_let_through_is_as_good_as_none(edge, fields, version, prefix):
    path = edge.script(answer(b"plain"), prefix)

    async def test(peer: Peer) -> None:
        await peer.ask(path, fields, version)
        status, answered = await peer.head()
        assert (status, await peer.body(answered)) == (200, b"plain")

    run(edge, test)
    (request,) = edge.asked(path)
    assert "upgrade" not in request.headers
    assert "http2-settings" not in request.headers


@pytest.mark.parametrize(
    ("field", "body"),
    [("Content-Length: 3\r\n", b"abc"), ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_an_offer_with_a_body_is_refused(edge: Edge, field: str, body: bytes) -> None:
    """Where it would end and the other protocol begin is what readers disagree about."""
    path = edge.script(echo)

    async def test(peer: Peer) -> None:
        await peer.ask(path, OFFER + field, behind=body)
        assert (await peer.head())[0] == 400

    run(edge, test)
    assert not edge.asked(path)


def test_a_route_lets_through_what_its_list_names(edge: Edge) -> None:
    path = edge.script(SWITCH.replace(b"websocket", b"Chat"), "/chat/")

    async def test(peer: Peer) -> None:
        await peer.ask(path, "Connection: Upgrade\r\nUpgrade: websocket, chat, h2c\r\n")
        assert (await peer.head())[0] == 101

    run(edge, test)
    assert edge.asked(path)[0].headers["upgrade"] == "chat"


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ("", SWITCH),
        (OFFER, SWITCH.replace(b"Upgrade: websocket", b"Upgrade: h2c")),
        (OFFER, SWITCH.replace(b"Upgrade: websocket", b"Upgrade: websocket, chat")),
        (OFFER, SWITCH.replace(b"Upgrade: websocket\r\n", b"")),
    ],
    ids=["not-asked", "to-another", "to-more", "to-nothing"],
)
def test_a_switch_that_was_not_asked_for_is_a_protocol_error(edge, fields, head):
    path = edge.script(head + b"anything")

    async def test(peer: Peer) -> None:
        await peer.ask(path, fields)
        status, answered = await peer.head()
        assert status == 502
        await peer.body(answered)

    run(edge, test)
    assert edge.logged(path)["fault"] == "http_protocol_error"


# What stands behind the request


def test_what_is_sent_ahead_waits_for_the_switch(edge: Edge) -> None:
    early: list[bytes] = []

    async def listen(wire: Wire) -> None:
        await wire.pause(0.2)
        early.append(bytes(wire.reader._buffer))  # type: ignore[attr-defined]
        await wire.write(SWITCH + b"first")
        while data := await wire.read():
            await wire.write(data)
        wire.close()

    path = edge.script(listen)

    async def test(peer: Peer) -> None:
        ahead = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
        await peer.ask(path, behind=ahead)
        assert (await peer.head())[0] == 101
        assert await peer.reader.readexactly(5) == b"first"
        assert await peer.reader.readexactly(len(ahead)) == ahead

    run(edge, test)
    assert early == [b""]


def test_a_request_behind_a_refused_upgrade_passes_every_gate_itself(edge: Edge) -> None:
    """Whoever pretends to upgrade opens no way past the edge: it reads HTTP until a 101 has come."""
    path = edge.script(
        answer(b"no", "426 Upgrade Required", headers=("Upgrade: websocket", "Connection: Upgrade"))
    )
    hidden = edge.script(answer(b"hidden", headers="Cache-Control: no-store"))

    async def test(peer: Peer) -> None:
        bad = OFFER + "Sec-WebSocket-Version: 777\r\n"
        await peer.ask(
            path, bad, behind=f"GET {hidden} HTTP/1.1\r\nHost: edge.test\r\n\r\nrubbish\0\r\n\r\n".encode()
        )
        status, fields = await peer.head()
        assert status == 426
        await peer.body(fields)
        status, fields = await peer.head()
        assert (status, await peer.body(fields)) == (200, b"hidden")
        assert (await peer.head())[0] == 400

    run(edge, test)
    (request,) = edge.asked(hidden)
    assert "via" in request.headers
    assert request.connection != edge.asked(path)[0].connection


# Inside the tunnel


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_slow_client_holds_back_the_origin(edge: Edge, scheme: str) -> None:
    total = 128 * MIB

    async def flood(wire: Wire) -> None:
        await wire.write(SWITCH)
        for _ in range(total // MIB):
            await wire.write(bytes(MIB))
        wire.close()

    path = edge.script(flood)

    async def test(peer: Peer) -> None:
        before = edge.resident_bytes()
        sent = edge.origin.sent_bytes
        await peer.switch(path)
        await asyncio.to_thread(settled, lambda: edge.origin.sent_bytes)
        assert edge.origin.sent_bytes - sent < KERNEL_BYTES
        assert edge.resident_bytes() - before < EDGE_BYTES
        got = 0
        while data := await peer.reader.read(MIB):
            got += len(data)
        assert got == total

    run(edge, test, scheme)


def test_tls_to_the_origin_changes_nothing(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    total = 64 * MIB

    async def swap(wire: Wire) -> None:
        """Take a lot and give as much, both at once."""
        await wire.write(SWITCH)
        giving = asyncio.create_task(wire.write(bytes(total)))
        got = 0
        while got < total and (data := await wire.read(MIB)):
            got += len(data)
        await giving
        await wire.write(b"%d" % got)
        wire.close()

    with ScriptedOrigin([swap], tls=context) as origin:
        made = settings(tmp_path / "state", origin=origin.url, schemes=("https",))
        (route,) = made.worker.sites[0].routes
        assert isinstance(route.origin, OriginSettings)
        route = replace(route, origin=replace(route.origin, ca_file=str(tmp_path / "ca.pem")))
        with Cluster(with_worker(made, sites=(SiteSettings("all", (), (route,)),))) as cluster:

            async def test(peer: Peer) -> None:
                await peer.switch("/")
                peer.writer.write(bytes(total))
                await asyncio.sleep(0.2)  # both sides fill up
                assert await peer.reader.readexactly(total) == bytes(total)
                assert await peer.reader.read() == b"%d" % total

            run(Edge(cluster, origin, tmp_path / "none", {}), test, "https")


def test_a_slow_origin_holds_back_the_client(edge: Edge) -> None:
    total = 128 * MIB

    async def slow(wire: Wire) -> None:
        await wire.write(SWITCH)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.stall()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        while got < total and (data := await wire.read(MIB)):
            got += len(data)
        await wire.write(b"%d" % got)
        wire.close()

    path = edge.script(slow)

    async def test(peer: Peer) -> None:
        before = edge.resident_bytes()
        await peer.switch(path)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(total // MIB):
                peer.writer.write(bytes(MIB))
                await peer.writer.drain()
                sent += MIB

        sending = asyncio.create_task(send())
        await asyncio.to_thread(settled, lambda: sent)
        assert sent < KERNEL_BYTES
        assert edge.resident_bytes() - before < EDGE_BYTES
        edge.origin.release()
        await sending
        assert await peer.reader.read() == b"%d" % total

    run(edge, test)


def test_half_closes_are_passed_on_and_the_other_way_stays_open(edge: Edge) -> None:
    async def answer_at_the_end(wire: Wire) -> None:
        await wire.write(SWITCH)
        asked = b""
        while data := await wire.read():
            asked += data
        await wire.write(b"you said " + asked)
        wire.close()

    path = edge.script(answer_at_the_end)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        peer.writer.write(b"hello")
        peer.writer.write_eof()
        assert await peer.reader.read() == b"you said hello"

    run(edge, test)
    assert "fault" not in edge.logged(path)


def test_the_origin_may_be_the_first_to_close_its_side(edge: Edge) -> None:
    got: list[bytes] = []

    async def speak_first(wire: Wire) -> None:
        await wire.write(SWITCH + b"that is all")
        wire.writer.write_eof()
        got.append(await wire.reader.read())
        wire.close()

    path = edge.script(speak_first)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        assert await peer.reader.read() == b"that is all"
        peer.writer.write(b"understood")
        peer.writer.write_eof()
        await asyncio.to_thread(wait_until, lambda: got)

    run(edge, test)
    assert got == [b"understood"]
    assert "fault" not in edge.logged(path)


def test_a_lost_origin_ends_the_client(edge: Edge) -> None:
    async def lose(wire: Wire) -> None:
        await wire.write(SWITCH + b"so far")
        await wire.read()
        wire.reset()

    path = edge.script(lose)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        assert await peer.reader.readexactly(6) == b"so far"
        peer.writer.write(b"go")
        assert await peer.reader.read() == b""

    run(edge, test)
    line = edge.logged(path)
    assert (line["fault"], line["side"]) == ("http_response_incomplete", "origin")


def test_a_lost_client_ends_the_origin(edge: Edge) -> None:
    ended: list[bytes] = []

    async def wait_for_the_end(wire: Wire) -> None:
        await wire.write(SWITCH)
        ended.append(await wire.reader.read())
        wire.close()

    path = edge.script(wait_for_the_end)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        await asyncio.to_thread(wait_until, lambda: ended)

    run(edge, test)
    assert edge.logged(path)["fault"] == "client-gone"


def test_a_tunnel_in_which_nothing_moves_is_ended(edge: Edge) -> None:
    path = edge.script(echo, "/idle/")

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        for _ in range(4):  # together longer than the limit
            await asyncio.sleep(0.3)
            peer.writer.write(b"x")
            assert await peer.reader.readexactly(1) == b"x"
        assert await peer.reader.read() == b""

    run(edge, test)
    line = edge.logged(path)
    assert line["fault"] == "connection_read_timeout"
    assert "`tunnel_idle_timeout`" in str(line["detail"])


def test_other_workers_may_be_killed(edge: Edge) -> None:
    path = edge.script(echo)

    async def test(peer: Peer) -> None:
        await peer.switch(path)
        port = peer.writer.get_extra_info("sockname")[1]
        mine = [pid for pid in edge.cluster.pids if port in _client_ports(pid)]
        (other,) = set(edge.cluster.pids) - set(mine)
        os.kill(other, signal.SIGKILL)
        for number in range(100):
            peer.writer.write(b"%03d" % number)
            assert await peer.reader.readexactly(3) == b"%03d" % number
        await asyncio.to_thread(wait_until, lambda: len(set(edge.cluster.pids) - {other}) == 2)

    run(edge, test)


def _client_ports(pid: int) -> set[int]:
    return {connection.raddr.port for connection in psutil.Process(pid).net_connections() if connection.raddr}


# Reload


def test_a_tunnel_outlives_reloads_and_is_cut_when_the_drain_is_over(tmp_path: Path) -> None:
    with ScriptedOrigin([echo]) as origin:
        log = tmp_path / "access.log"
        made = settings(tmp_path / "state", origin=origin.url, drain_timeout_s=3600.0)
        made = with_worker(made, log=LogSettings(path=str(log)))
        with Cluster(made) as cluster:
            edge = Edge(cluster, origin, log, {})

            def draining() -> list[dict[str, object]]:
                """Who still drains, once that is one worker only: the one with the tunnel."""
                old = [worker for worker in cluster.workers if worker["state"] == "draining"]
                return old if len(old) == 1 else []

            async def test(peer: Peer) -> None:
                await peer.switch("/long")
                for _ in range(2):
                    assert (await asyncio.to_thread(cluster.reload))["ok"]
                    peer.writer.write(b"still there")
                    assert await peer.reader.readexactly(11) == b"still there"
                (old,) = await asyncio.to_thread(wait_until, draining)
                assert old["generation"] == 1
                os.kill(old["pid"], signal.SIGUSR2)  # its drain is over
                assert await peer.reader.read() == b""

            run(edge, test)
            assert edge.logged("/long")["fault"] == "draining"
