"""WebSocket over HTTP/3 (RFC 9220), to an origin that speaks HTTP/1.1."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.h1_edge import SECOND, run
from tests.support.h2_websocket import switch
from tests.support.h3_client import H3Answer, H3Client
from tests.support.h3_edge import H3Edge
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer
from worker.context import Context
from worker.message import Response
from worker.origin.fetch import OriginFetch
from worker.protocol.h3 import codes
from worker.settings import OriginSettings, RouteSettings

WINDOW = 2000  # of the slow client
CONNECT = [
    (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":authority", b"a"),
    (b":path", b"/"),
]  # fmt: skip

Test = Callable[[H3Edge, H3Client], Awaitable[None]]


async def echo(wire: Wire) -> None:
    """Switch, then give back whatever comes, until its end."""
    await switch(wire)
    while data := await wire.read():
        await wire.write(data)
    wire.close()


@asynccontextmanager
async def forwarding(origin: ScriptedOrigin, **options: object) -> AsyncIterator[tuple[H3Edge, H3Client]]:
    settings = OriginSettings("http", "127.0.0.1", origin.port)
    fetch = OriginFetch(settings)

    async def forward(ctx: Context) -> Response:
        ctx.route = RouteSettings("all", b"/", settings)
        return await fetch(ctx)

    async with H3Edge(lambda _: None, forward) as edge, await edge.client(**options) as client:
        yield edge, client
    fetch.close()
    await fetch.wait_closed()


def connect(client: H3Client) -> int:
    """Ask for a WebSocket; its stream."""
    fields = [(b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"the client's, of no use")]
    return client.begin(pseudo=CONNECT, fields=fields, end=False)


async def tunnel(client: H3Client) -> tuple[int, H3Answer]:
    """A WebSocket that stands."""
    stream = connect(client)
    came = client.answers[stream]
    await client.until(lambda: came.status or came.reset is not None)
    assert came.status == 200
    return stream, came


def test_both_sides_talk_and_the_origin_sees_an_ordinary_upgrade() -> None:
    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (edge, client):
            stream, came = await tunnel(client)
            assert not {"sec-websocket-accept", "upgrade", "connection", "content-length"} & set(came.fields)
            data = os.urandom(2 * 1024 * 1024)
            await client.upload(stream, [data[at : at + 16384] for at in range(0, len(data), 16384)])
            await client.answer(stream)
            assert (bytes(came.body), came.ended, came.reset) == (data, True, None)
            await edge.until(lambda: edge.finished)
            assert edge.tally.told == ["opened", "tunnel", "end of tunnel"]
            (request,) = origin.requests
            assert request.method == "GET"
            assert (request.headers["connection"], request.headers["upgrade"]) == ("Upgrade", "websocket")
            assert edge.finished[0].bytes_in == len(data)
            assert edge.finished[0].error is None

    with ScriptedOrigin([echo]) as origin:
        run(test(origin))


def test_what_is_sent_ahead_waits_for_the_switch() -> None:
    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (_, client):
            stream = connect(client)
            await client.upload(stream, [b"ahead"])
            assert (await client.answer(stream)).body == b"ahead"

    with ScriptedOrigin([echo]) as origin:
        run(test(origin))


def test_an_origin_that_ends_leaves_the_client_its_own_direction() -> None:
    async def once(wire: Wire) -> None:
        await switch(wire, b"bye")
        wire.close()

    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (edge, client):
            stream, came = await tunnel(client)
            await client.answer(stream)
            assert (came.body, came.reset, edge.finished) == (b"bye", None, [])
            await client.upload(stream, [b"bye"])
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].error is None

    with ScriptedOrigin([once]) as origin:
        run(test(origin))


def test_a_refusal_is_an_ordinary_answer() -> None:
    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (_, client):
            came = await client.answer(connect(client))
            assert (came.status, came.body) == (403, b"no")

    with ScriptedOrigin([answer(b"no", "403 Forbidden")]) as origin:
        run(test(origin))


def test_a_client_that_resets_its_tunnel_ends_it() -> None:
    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (edge, client):
            stream, _ = await tunnel(client)
            client.reset(stream)
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].error is not None and edge.finished[0].error.status == 499
            assert edge.tally.told[-2:] == ["tunnel", "end of tunnel"]

    with ScriptedOrigin([echo]) as origin:
        run(test(origin))


def test_other_frames_than_data_in_a_tunnel_end_the_connection() -> None:
    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin) as (_, client):
            stream, _ = await tunnel(client)
            await client.upload(stream, [b"x"], trailers=[(b"x", b"y")])
            await client.until_closed()
            assert client.closed_by == codes.FRAME_UNEXPECTED

    with ScriptedOrigin([echo]) as origin:
        run(test(origin))


def test_a_client_that_reads_nothing_holds_its_origin_back() -> None:
    async def flood(wire: Wire) -> None:
        await switch(wire)
        await wire.write(bytes(32 * 1024 * 1024))
        wire.close()

    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin, reading=False, window=WINDOW) as (edge, client):
            stream, _ = await tunnel(client)
            (exchange,) = edge.h3_connection._session.streams.values()
            await edge.until(lambda: exchange._tunnel.is_full)
            held = edge.link.waiting(stream)
            await asyncio.sleep(0.05)
            assert edge.link.waiting(stream) <= held <= 256 * 1024 + 1000
            client.reset(stream)
            await edge.until(lambda: edge.finished)

    with ScriptedOrigin([flood]) as origin:
        run(test(origin))


@pytest.mark.parametrize("closing", [False, True])
def test_only_a_closed_tunnel_is_cut_for_a_client_that_takes_nothing(closing: bool) -> None:
    async def flood(wire: Wire) -> None:
        await switch(wire, bytes(50_000))  # all of it is with the link
        await wire.stall()
        wire.reset()

    async def test(origin: ScriptedOrigin) -> None:
        async with forwarding(origin, reading=False, window=WINDOW) as (edge, client):
            stream, came = await tunnel(client)
            await client.until(lambda: client.is_full(stream))
            patience_ns = int((edge.limits.send_timeout_s + 1) * SECOND)
            now_ns = edge.server.now_ns
            if closing:
                origin.release()
                await edge.until(lambda: edge.finished)
            for _ in range(3):
                now_ns += patience_ns
                edge.server.sweep(now_ns)
            if closing:
                await client.until(lambda: came.reset is not None)
                assert came.reset == codes.REQUEST_CANCELLED
            else:
                await asyncio.sleep(0.05)
                assert came.reset is None
                origin.release()
                await edge.until(lambda: edge.finished)

    with ScriptedOrigin([flood]) as origin:
        run(test(origin))
