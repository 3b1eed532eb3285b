"""WebSocket over HTTP/2 (RFC 8441) through a whole edge, to an origin that speaks HTTP/1.1."""

import asyncio
import base64
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.h2_client import H2Client
from tests.support.h2_websocket import connect, switch, tunnel
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer, chunked
from tests.support.tunnel_edge import TunnelEdge, settled, tunnel_edge
from tests.support.versions import trusting
from worker.settings import LogSettings

PATIENCE_S = 30.0
MIB = 1024 * 1024
CANCEL = 8
EDGE_BYTES = 16 * MIB  # what a worker may grow by while it moves any amount
KERNEL_BYTES = 20 * MIB  # what two loopback sockets may buffer, generously


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TunnelEdge]:
    with tunnel_edge(tmp_path_factory.mktemp("upgrade")) as edge:
        yield edge


async def echo(wire: Wire) -> None:
    """Switch, then give back whatever comes, until its end."""
    await switch(wire)
    while data := await wire.read():
        await wire.write(data)
    wire.close()


def send(client: H2Client, stream: int, data: bytes) -> None:
    client.h2.send_data(stream, data)
    client.flush()


def run(
    edge: TunnelEdge, test: Callable[[H2Client], Awaitable[None]], scheme: str = "http", **options: bool
) -> None:
    """Run `test` with a connection to the edge."""
    context = trusting("h2") if scheme == "https" else None

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port(scheme), ssl=context)
            client = H2Client(reader, writer, scheme=scheme, authority="edge.test", **options)
            async with client:
                await client.until(lambda: client.h2.remote_settings.enable_connect_protocol)
                await test(client)

    asyncio.run(main())


# What passes


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_both_sides_talk_and_the_origin_sees_an_ordinary_upgrade(edge: TunnelEdge, scheme: str) -> None:
    path = edge.script(echo)

    async def test(client: H2Client) -> None:
        stream, answer = await tunnel(client, path)
        assert answer.fields["x-origin"] == "yes"
        assert not {"sec-websocket-accept", "upgrade", "connection", "content-length"} & set(answer.fields)
        data = os.urandom(3 * MIB)
        await client.upload(stream, [data])
        await client.answer(stream)
        assert (bytes(answer.body), answer.ended, answer.reset) == (data, True, None)

    run(edge, test, scheme)
    (request,) = edge.asked(path)
    assert request.method == "GET"
    assert (request.headers["connection"], request.headers["upgrade"]) == ("Upgrade", "websocket")
    assert request.headers["sec-websocket-version"] == "13"
    assert len(base64.b64decode(request.headers["sec-websocket-key"], validate=True)) == 16


def test_a_tunnel_is_logged_and_counted_as_in_http1(edge: TunnelEdge) -> None:
    path = edge.script(echo)

    async def test(client: H2Client) -> None:
        before = (await asyncio.to_thread(edge.metrics))["edgecluster_tunnels_total"]
        stream, answer = await tunnel(client, path)
        send(client, stream, b"x" * 1000)
        await client.until(lambda: len(answer.body) == 1000)
        metrics = await asyncio.to_thread(edge.metrics)
        assert metrics["edgecluster_tunnels_open"] == 1
        assert metrics["edgecluster_tunnels_total"] == before + 1
        client.h2.end_stream(stream)
        client.flush()
        await client.answer(stream)

    run(edge, test)
    line = edge.logged(path)
    assert (line["status"], line["method"], line["bytes_in"], line["cache"]) == (101, "GET", 1000, "bypass")
    assert isinstance(line["bytes_out"], int)
    assert 1000 < line["bytes_out"] < 2000
    assert "fault" not in line
    assert wait_until(lambda: edge.metrics()["edgecluster_tunnels_open"] == 0)


def test_tunnels_and_requests_share_a_connection(edge: TunnelEdge) -> None:
    path = edge.script(echo)
    page = edge.script(answer(b"page"))

    async def test(client: H2Client) -> None:
        tunnels = [await tunnel(client, path) for _ in range(5)]
        for number, (stream, _) in enumerate(tunnels):
            send(client, stream, b"%d" % number)
        assert (await client.ask(page)).body == b"page"
        for number, (_, came) in enumerate(tunnels):
            await client.until(lambda came=came: came.body)
            assert came.body == b"%d" % number

    run(edge, test)


def test_what_is_sent_ahead_waits_for_the_switch(edge: TunnelEdge) -> None:
    early: list[bytes] = []

    async def listen(wire: Wire) -> None:
        await wire.pause(0.2)
        early.append(bytes(wire.reader._buffer))  # type: ignore[attr-defined]
        await switch(wire, b"first ")
        while data := await wire.read():
            await wire.write(data)
        wire.close()

    path = edge.script(listen)

    async def test(client: H2Client) -> None:
        stream = connect(client, path)
        ahead = bytes(65535)  # all that the window allows
        await client.upload(stream, [ahead])
        assert (await client.answer(stream)).body == b"first " + ahead

    run(edge, test)
    assert early == [b""]


# What is refused, and by whom


@pytest.mark.parametrize("status", ["302 Found", "400 Bad Request", "403 Forbidden", "426 Upgrade Required"])
def test_a_refusal_is_an_ordinary_answer(edge: TunnelEdge, status: str) -> None:
    path = edge.script(answer(b"no", status))

    async def test(client: H2Client) -> None:
        stream = connect(client, path)
        send(client, stream, b"never read")
        came = await client.answer(stream)
        assert (came.status, came.body) == (int(status[:3]), b"no")

    run(edge, test)


@pytest.mark.parametrize(
    "instead",
    [
        answer(b"page"),
        answer(b"", "204 No Content"),
        chunked(b"page", bytes(100_000)),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        ),
    ],
    ids=["200", "204", "stream", "no-accept", "wrong-accept"],
)
def test_no_client_takes_for_a_tunnel_what_is_none(edge: TunnelEdge, instead: bytes) -> None:
    path = edge.script(instead)

    async def test(client: H2Client) -> None:
        assert (await client.answer(connect(client, path))).status == 502

    run(edge, test)
    line = edge.logged(path)
    assert (line["status"], line["fault"]) == (502, "http_protocol_error")


@pytest.mark.parametrize("prefix", ["/none/", "/chat/"])
def test_a_route_that_lets_no_websocket_through_does_not_offer_it(edge: TunnelEdge, prefix: str) -> None:
    path = edge.script(answer(b"plain"), prefix)

    async def test(client: H2Client) -> None:
        assert (await client.answer(connect(client, path))).status == 501
        assert (await client.ask(path)).body == b"plain"

    run(edge, test)


# Inside the tunnel


def test_a_slow_client_holds_back_the_origin(edge: TunnelEdge) -> None:
    total = 48 * MIB

    async def flood(wire: Wire) -> None:
        await switch(wire)
        for _ in range(total // MIB):
            await wire.write(bytes(MIB))
        wire.close()

    path = edge.script(flood)

    async def test(client: H2Client) -> None:
        before = edge.resident_bytes()
        sent = edge.origin.sent_bytes
        stream, came = await tunnel(client, path)
        await asyncio.to_thread(settled, lambda: edge.origin.sent_bytes)
        assert edge.origin.sent_bytes - sent < KERNEL_BYTES
        assert edge.resident_bytes() - before < EDGE_BYTES
        assert len(came.body) == 65535
        client.reading = True
        client.h2.acknowledge_received_data(len(came.body), stream)
        client.flush()
        await client.answer(stream)
        assert (len(came.body), came.ended) == (total, True)

    run(edge, test, reading=False)


def test_a_slow_origin_holds_back_the_client(edge: TunnelEdge) -> None:
    total = 24 * MIB

    async def slow(wire: Wire) -> None:
        await switch(wire)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.stall()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        while data := await wire.read(MIB):
            got += len(data)
        await wire.write(b"%d" % got)
        wire.close()

    path = edge.script(slow)

    async def test(client: H2Client) -> None:
        before = edge.resident_bytes()
        stream, came = await tunnel(client, path)
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(total // 65536):
                yield bytes(65536)
                sent += 65536

        sending = asyncio.create_task(client.upload(stream, pieces()))
        await asyncio.to_thread(settled, lambda: sent)
        assert sent < total
        assert edge.resident_bytes() - before < EDGE_BYTES
        edge.origin.release()
        await sending
        await client.answer(stream)
        assert came.body == b"%d" % total

    run(edge, test)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_half_closes_are_passed_on_and_the_other_way_stays_open(edge: TunnelEdge, scheme: str) -> None:
    async def answer_at_the_end(wire: Wire) -> None:
        await switch(wire)
        asked = b""
        while data := await wire.read():
            asked += data
        await wire.write(b"you said " + asked)
        wire.close()

    path = edge.script(answer_at_the_end)

    async def test(client: H2Client) -> None:
        stream, came = await tunnel(client, path)
        await client.upload(stream, [b"hello"])
        await client.answer(stream)
        assert (came.body, came.ended) == (b"you said hello", True)

    run(edge, test, scheme)
    assert "fault" not in edge.logged(path)


def test_the_origin_may_be_the_first_to_close_its_side(edge: TunnelEdge) -> None:
    got: list[bytes] = []

    async def speak_first(wire: Wire) -> None:
        await switch(wire, b"that is all")
        wire.writer.write_eof()
        got.append(await wire.reader.read())
        wire.close()

    path = edge.script(speak_first)

    async def test(client: H2Client) -> None:
        stream, came = await tunnel(client, path)
        await client.answer(stream)
        assert (came.body, came.ended, came.reset) == (b"that is all", True, None)
        await client.upload(stream, [b"understood"])
        await asyncio.to_thread(wait_until, lambda: got)

    run(edge, test)
    assert got == [b"understood"]
    assert "fault" not in edge.logged(path)


def test_an_origin_that_closes_ends_the_stream_in_order(edge: TunnelEdge) -> None:
    async def leave(wire: Wire) -> None:
        await switch(wire, b"bye")
        wire.close()

    path = edge.script(leave)

    async def test(client: H2Client) -> None:
        _, came = await tunnel(client, path)
        await client.until(lambda: came.ended)
        assert came.body == b"bye"

    run(edge, test)
    assert edge.logged(path)["status"] == 101


def test_a_lost_origin_resets_the_stream_behind_what_it_said(edge: TunnelEdge) -> None:
    async def lose(wire: Wire) -> None:
        await switch(wire, b"so far")
        await wire.read()
        wire.reset()

    path = edge.script(lose)

    async def test(client: H2Client) -> None:
        stream, came = await tunnel(client, path)
        await client.until(lambda: came.body)
        send(client, stream, b"go")
        await client.answer(stream)
        assert (came.body, came.ended, came.reset) == (b"so far", False, CANCEL)

    run(edge, test)
    line = edge.logged(path)
    assert (line["fault"], line["side"]) == ("http_response_incomplete", "origin")


@pytest.mark.parametrize("how", ["reset", "disconnect"])
def test_a_lost_client_ends_the_origin(edge: TunnelEdge, how: str) -> None:
    ended: list[bytes] = []

    async def wait_for_the_end(wire: Wire) -> None:
        await switch(wire)
        ended.append(await wire.reader.read())
        wire.close()

    path = edge.script(wait_for_the_end)

    async def test(client: H2Client) -> None:
        stream, _ = await tunnel(client, path)
        if how == "reset":
            client.h2.reset_stream(stream, CANCEL)
            client.flush()
        else:
            client.writer.transport.abort()
        await asyncio.to_thread(wait_until, lambda: ended)

    run(edge, test)
    assert edge.logged(path)["fault"] == "client-gone"


def test_trailers_in_a_tunnel_are_an_error_of_the_stream(edge: TunnelEdge) -> None:
    path = edge.script(echo)

    async def test(client: H2Client) -> None:
        stream, came = await tunnel(client, path)
        client.h2.send_headers(stream, [("x", "y")], end_stream=True)
        client.flush()
        await client.answer(stream)
        assert came.reset == 1

    run(edge, test)


def test_a_tunnel_in_which_nothing_moves_is_ended(edge: TunnelEdge) -> None:
    path = edge.script(echo, "/idle/")

    async def test(client: H2Client) -> None:
        _, came = await tunnel(client, path)
        await client.until(lambda: came.reset is not None)
        assert came.reset == CANCEL

    run(edge, test)
    assert edge.logged(path)["fault"] == "connection_read_timeout"


# Reload


def test_a_tunnel_outlives_a_reload_and_is_cut_when_the_drain_is_over(tmp_path: Path) -> None:
    with ScriptedOrigin([echo]) as origin:
        log = tmp_path / "access.log"
        made = settings(tmp_path / "state", origin=origin.url, drain_timeout_s=3600.0)
        made = with_worker(made, log=LogSettings(path=str(log)), http2_plain=True)
        with Cluster(made) as cluster:
            edge = TunnelEdge(cluster, origin, log, {})

            def draining() -> list[dict[str, object]]:
                """Who still drains, once that is one worker only: the one with the tunnel."""
                old = [worker for worker in cluster.workers if worker["state"] == "draining"]
                return old if len(old) == 1 else []

            async def test(client: H2Client) -> None:
                stream, came = await tunnel(client, "/long")
                assert (await asyncio.to_thread(cluster.reload))["ok"]
                (old,) = await asyncio.to_thread(wait_until, draining)
                await client.until(lambda: len(client.goaways) == 2)
                send(client, stream, b"still there")
                await client.until(lambda: came.body == b"still there")
                os.kill(old["pid"], signal.SIGUSR2)  # its drain is over
                await client.until_closed()

            run(edge, test)
            assert edge.logged("/long")["fault"] == "draining"
