"""What a hostile client of HTTP/2 can do: little, and not for long. Frames byte by byte over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support import h2_attacks as attacks
from tests.support import h2_raw as raw
from tests.support.h1_edge import Lent, Pieces, run, text
from tests.support.h2_edge import H2Edge
from tests.support.h2_raw import Raw, frame, get, reset, settings, window_update
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.protocol.h2.connection import H2Protocol
from worker.protocol.lending import COPY_BYTES
from worker.protocol.versions import PREFACE
from worker.settings import Limits

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, REFUSED = 0, 1, 3, 5, 6, 7
CANCEL, COMPRESSION, CALM = 8, 9, 11
HELLO = raw.PREFACE + settings()


@asynccontextmanager
async def attacking(edge: H2Edge, hello: bytes = HELLO) -> AsyncIterator[Raw]:
    client = Raw(*await edge.connect())
    await client.send(hello)
    try:
        yield client
    finally:
        await client.end()


# What libnghttp2 itself takes for an error of the whole connection.
OTHER_CODES = {
    attacks.made_to_reset_by_empty_window_update: PROTOCOL_ERROR,
    attacks.made_to_reset_by_data_after_the_end: STREAM_CLOSED,
    attacks.made_to_reset_by_head_after_the_end: STREAM_CLOSED,
    attacks.made_to_reset_by_priority_of_a_wrong_size: FRAME_SIZE,
    attacks.settings_answers: PROTOCOL_ERROR,
}


@pytest.mark.parametrize("flood", attacks.FLOODS, ids=lambda flood: flood.__name__)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_flood_ends_its_connection_with_the_right_code(flood: attacks.Flood, at_once: bool) -> None:
    async def fetch(ctx: Context) -> Response:
        if ctx.request.body is not None:
            await ctx.request.body.read()
        await asyncio.sleep(3600)
        raise AssertionError

    async def test() -> None:
        async with H2Edge(lambda ctx: None, fetch) as edge, attacking(edge) as client:
            parts = list(flood(raw.GET))
            if at_once:
                await client.send(b"".join(parts))
            else:
                for start in range(0, len(parts), 20):
                    if client.goaway is not None or client.closed:
                        break
                    await client.send(b"".join(parts[start : start + 20]))
                    await asyncio.sleep(0)
            await edge.until(lambda: client.goaway is not None)
            assert client.goaway == OTHER_CODES.get(flood, CALM)
            assert len(edge.tasks) <= 400
            edge.after(3)
            edge.after(6)
            await edge.until(lambda: client.closed and not edge.server.connections)
            await edge.until(lambda: not edge.tasks)

    run(test())


def test_a_client_that_behaves_is_never_told_to_calm_down() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            for number in range(60):
                streams = [client.begin(f"/{number}") for _ in range(20)]
                client.h2.ping(b"12345678")
                client.flush()
                for stream in streams:
                    assert (await client.answer(stream)).status == 200
            assert client.goaways == []

    run(test())


def test_resets_are_forgiven_second_by_second() -> None:
    async def test() -> None:
        edge = H2Edge(lambda ctx: None, lambda ctx: asyncio.sleep(3600), limits=Limits(resets=10))
        async with edge, attacking(edge) as client:
            for number in range(50):
                await client.send(get(2 * number + 1))
                await edge.until(lambda: edge.tasks)
                await client.send(reset(2 * number + 1))
                await edge.until(lambda: not edge.tasks)
                if number % 5 == 0:
                    edge.after(0)
            assert client.goaway is None

    run(test())


def test_streams_above_the_limit_are_refused_and_others_answered() -> None:
    async def test() -> None:
        go = asyncio.Event()

        async def fetch(ctx: Context) -> Response:
            await go.wait()
            return text(ctx)

        async with (
            H2Edge(lambda ctx: None, fetch, limits=Limits(streams=10)) as edge,
            attacking(edge) as client,
        ):
            await client.send(b"".join(get(2 * number + 1) for number in range(15)))
            await edge.until(lambda: len(client.of(raw.RST_STREAM)) == 5)
            assert all(int.from_bytes(one[3], "big") == REFUSED for one in client.of(raw.RST_STREAM))
            go.set()
            await edge.until(lambda: len(client.of(raw.HEADERS)) == 10)

    run(test())


def test_the_limits_are_announced() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            await client.ask()
            announced = client.h2.remote_settings
            assert announced.max_concurrent_streams == 100
            assert announced.max_header_list_size == edge.limits.header_bytes
            assert announced.enable_connect_protocol == 1
            assert announced.get(9) == 1  # SETTINGS_NO_RFC7540_PRIORITIES

    run(test())


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("no preface", b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100, None),
        ("no SETTINGS first", raw.PREFACE + frame(raw.PING, payload=b"12345678"), PROTOCOL_ERROR),
        ("DATA on stream 0", HELLO + frame(raw.DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("HEADERS on an even stream", HELLO + get(2), PROTOCOL_ERROR),
        (
            "HEADERS within a header section",
            HELLO + frame(raw.HEADERS, 0, 1, raw.head()) + get(3),
            PROTOCOL_ERROR,
        ),
        ("CONTINUATION out of the blue", HELLO + frame(raw.CONTINUATION, 4, 1, raw.head()), PROTOCOL_ERROR),
        ("PUSH_PROMISE", HELLO + frame(raw.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + raw.head()), PROTOCOL_ERROR),
        ("a frame above 16 KiB", HELLO + frame(raw.DATA, 0, 1, b"x" * 16385), 6),
        ("PING of seven bytes", HELLO + frame(raw.PING, payload=b"1234567"), 6),
        ("window of the connection overflows", HELLO + window_update(0, 2**31 - 1), FLOW_CONTROL),
        ("connection window update of nothing", HELLO + window_update(0, 0), PROTOCOL_ERROR),
        ("garbage for HPACK", HELLO + frame(raw.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), COMPRESSION),
        ("initial window above 2^31", HELLO + settings((4, 2**31)), FLOW_CONTROL),
        ("RST_STREAM for an idle stream", HELLO + reset(1), PROTOCOL_ERROR),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(name: str, data: bytes, code: int | None) -> None:
    async def test() -> None:
        async with H2Edge() as edge, attacking(edge, data) as client:
            if code is not None:
                await edge.until(lambda: client.goaway is not None)
                assert client.goaway == code
            else:
                await client.send(b"\r\n\r\n")
            edge.after(3)
            edge.after(6)
            await edge.until(lambda: client.closed)
            assert edge.finished == [] or name == "no preface"

    run(test())


def test_a_client_that_opens_no_window_loses_its_stream() -> None:
    lent = Lent(b"x" * 2_000_000)

    async def test() -> None:
        edge = H2Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)))
        async with edge, attacking(edge, raw.PREFACE + settings((4, 0))) as client:
            await client.send(get(1))
            await edge.until(lambda: client.of(raw.HEADERS))
            edge.after(0)
            edge.after(edge.limits.send_timeout_s - 1)
            assert not client.of(raw.RST_STREAM) and lent.released == 0
            edge.after(3)
            await edge.until(lambda: client.of(raw.RST_STREAM))
            assert lent.released == 1
            assert client.goaway is None

    run(test())


def test_a_stored_body_is_copied_for_a_client_that_is_slow_for_long() -> None:
    lent = Lent(b"x" * 500_000)

    async def test() -> None:
        edge = H2Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)))
        async with edge, await edge.client(reading=False, window=1000) as client:
            stream = client.begin()
            await client.until(lambda: len(client.answers[stream].body) == 1000)
            edge.after(0)
            edge.after(31)
            assert (lent.copied, lent.released) == (1, 1)
            client.h2.increment_flow_control_window(600_000)
            client.h2.increment_flow_control_window(600_000, stream)
            client.flush()
            assert len((await client.answer(stream)).body) == 500_000

    run(test())


def test_a_slow_client_has_no_more_copied_with_many_streams_than_with_one() -> None:
    bodies = [Lent(b"x" * 500_000) for _ in range(10)]

    async def test() -> None:
        edge = H2Edge(
            lambda ctx: Response(200, Fields.of(), body := bodies[int(ctx.request.path[1:])], len(body))
        )
        async with edge, await edge.client(reading=False, window=1000) as client:
            streams = [client.begin(f"/{number}") for number in range(10)]
            await client.until(lambda: all(len(client.answers[one].body) == 1000 for one in streams))
            edge.after(0)
            edge.after(31)
            copied = sum(body.copied for body in bodies)
            assert 1 <= copied == sum(body.released for body in bodies) <= 4
            held = edge.h2_connection.copied_bytes
            assert 0 < held <= COPY_BYTES
            client.h2.reset_stream(streams[0])
            client.flush()
            await edge.until(lambda: edge.h2_connection.copied_bytes < held)
            edge.after(1)
            assert sum(body.copied for body in bodies) == copied + 1

    run(test())


def test_a_client_that_takes_a_byte_now_and_then_may_not_keep_a_stored_body() -> None:
    lent = Lent(b"x" * 2_000_000)

    async def test() -> None:
        edge = H2Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)))
        async with edge, await edge.client(reading=False, window=1) as client:
            stream = client.begin()
            for second in range(35):
                await client.until(lambda: len(client.answers[stream].body) > second)  # noqa: B023
                edge.server.lends_too_much = True
                edge.after(1)
                if second < 28:
                    assert lent.released == 0
                client.h2.increment_flow_control_window(1, stream)
                client.flush()
                if lent.released:
                    break
            assert (await client.answer(stream)).reset == CANCEL
            assert lent.released == 1

    run(test())


def test_a_client_that_reads_nothing_from_its_socket_loses_its_connection() -> None:
    async def test() -> None:
        body = b"x" * 20_000_000
        async with H2Edge(lambda ctx: Response(200, Fields.of(), body, len(body))) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(raw.PREFACE + settings((4, 2**31 - 1)) + window_update(0, 2**30) + get(1))
            await edge.until(lambda: edge.server.connections and edge.server.active)
            await edge.until(lambda: edge.h2_connection._paused)
            edge.after(1)
            edge.after(edge.limits.send_timeout_s + 2)
            await edge.until(lambda: not edge.server.connections)
            assert len(edge.finished) == 1
            reader.feed_eof()

    run(test())


def test_a_client_that_opens_its_window_in_drops_loses_its_stream() -> None:
    lent = Lent(b"x" * 2_000_000)

    async def test() -> None:
        limits = replace(Limits(), send_timeout_s=5, send_rate=100)
        edge = H2Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)), limits=limits)
        async with edge, attacking(edge, raw.PREFACE + settings((4, 0))) as client:
            await client.send(get(1))
            await edge.until(lambda: client.of(raw.HEADERS))
            for second in range(1, 9):
                await client.send(window_update(1, 10))
                await edge.until(lambda: len(client.of(raw.DATA)) == second)  # noqa: B023
                edge.after(1)
                if not edge.server.active:
                    break
            await edge.until(lambda: client.of(raw.RST_STREAM))
            assert client.goaway is None

    run(test())


def test_a_body_that_drips_is_answered_408() -> None:
    async def fetch(ctx: Context) -> Response:
        assert ctx.request.body is not None
        while await ctx.request.body.read():
            pass
        return text(ctx)

    async def test() -> None:
        limits = replace(Limits(), body_timeout_s=5, body_rate=100)
        async with H2Edge(lambda ctx: None, fetch, limits=limits) as edge, await edge.client() as client:
            stream = client.begin(method="POST", end=False)
            await edge.until(lambda: edge.tasks)
            (exchange,) = edge.h2_connection._session.streams.values()
            body = exchange.body
            assert body is not None
            for second in range(1, 20):
                await edge.until(lambda: body.is_waited_for or body.ended)
                if body.ended:
                    break
                client.h2.send_data(stream, b"x" * 10)
                client.flush()
                await edge.until(lambda: body.received == 10 * second)  # noqa: B023
                edge.after(1)
            assert (await client.answer(stream)).status == 408

    run(test())


def test_an_idle_connection_is_ended_by_goaway() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            await client.ask()
            edge.after(30)
            assert client.goaways == []
            edge.after(edge.limits.idle_timeout_s + 1)
            await client.until_closed()
            assert client.goaways == [(NO_ERROR, 1)]

    run(test())


@pytest.mark.parametrize("beginning", [b"", PREFACE[:20], PREFACE])
def test_a_preface_that_does_not_come_is_waited_for_as_a_header_is(beginning: bytes) -> None:
    async def test() -> None:
        async with H2Edge() as edge, attacking(edge, beginning):
            await edge.until(lambda: edge.server.connections)
            if beginning:
                await edge.until(lambda: _has_come(edge, beginning))
            edge.after(edge.limits.header_timeout_s - 1)
            assert edge.server.connections
            edge.after(2)
            edge.after(5)  # and what is left of it
            await edge.until(lambda: not edge.server.connections)

    run(test())


def _has_come(edge: H2Edge, beginning: bytes) -> bool:
    """A beginning of the preface is held back; the whole of it makes another connection of it."""
    (connection,) = edge.server.connections
    return isinstance(connection, H2Protocol) or getattr(connection, "_beginning", None) == beginning


def test_who_has_begun_may_be_idle() -> None:
    async def test() -> None:
        async with H2Edge() as edge, attacking(edge):
            await edge.until(lambda: edge.server.connections and edge.h2_connection._session.has_begun)
            edge.after(edge.limits.idle_timeout_s - 1)
            assert edge.server.connections
            edge.after(2)
            edge.after(5)  # and what is left of it
            await edge.until(lambda: not edge.server.connections)

    run(test())


def test_half_a_head_is_not_waited_for_longer_than_the_header_timeout() -> None:
    async def test() -> None:
        async with H2Edge() as edge, attacking(edge) as client:
            await client.send(frame(raw.HEADERS, 0, 1, raw.head()))
            await edge.until(lambda: edge.server.connections and edge.server.active)
            edge.after(edge.limits.header_timeout_s - 1)
            assert client.goaway is None
            edge.after(edge.limits.header_timeout_s + 2)
            await edge.until(lambda: client.goaway is not None)

    run(test())


def test_draining_says_goaway_twice_and_finishes_what_runs() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            return Response(200, Fields.of(), Pieces(b"abc", go, b"def"))

        async with H2Edge(lambda ctx: None if ctx.request.path == b"/" else text(ctx), fetch) as edge:
            async with await edge.client() as client:
                running = client.begin("/")
                await client.until(lambda: client.answers[running].body)
                edge.server.drain()
                await client.until(lambda: client.goaways)
                assert client.goaways == [(NO_ERROR, 2**31 - 1)]
                late = client.begin("/late")  # it was on its way
                assert (await client.answer(late)).status == 200
                await client.until(lambda: len(client.goaways) == 2)
                assert client.goaways[1] == (NO_ERROR, late)
                go.set_result(None)
                assert (await client.answer(running)).body == b"abcdef"
                await client.until_closed()
            await edge.until(lambda: not edge.server.connections)

    run(test())


def test_an_idle_connection_drains_by_itself() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            await client.ask()
            edge.server.drain()
            await client.until_closed()
            assert [code for code, _ in client.goaways] == [NO_ERROR, NO_ERROR]

    run(test())
