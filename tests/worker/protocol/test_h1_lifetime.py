"""Timeouts, drain, and the shared state of a listener. Time is what the test says it is."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.h1_edge import WAIT_S, H1Edge, Lent, read_response, run, text
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.settings import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
LIMITS = Limits(header_timeout_s=10, body_timeout_s=30, idle_timeout_s=60, send_timeout_s=20)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    return await asyncio.wait_for(reader.read(), WAIT_S) == b""


def test_an_idle_connection_is_closed_in_its_time() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            await read_response(reader)
            edge.after(59)
            assert len(edge.server.connections) == 1
            edge.after(2)
            assert await is_closed(reader)

    run(test())


def test_who_asks_for_nothing_is_sent_away_without_a_word() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, _writer = await edge.connect()
            await edge.until(lambda: edge.server.connections)
            edge.after(9)
            assert len(edge.server.connections) == 1
            edge.after(2)
            assert await is_closed(reader)

    run(test())


def test_the_first_header_is_waited_for_from_the_connection_on() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            await edge.until(lambda: edge.server.connections)
            edge.after(9)
            writer.write(GET[:5])
            await edge.until(lambda: edge.connection._buffer)
            edge.after(2)
            assert (await read_response(reader))[0] == 408

    run(test())


def test_a_later_header_is_waited_for_from_its_first_byte_on() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            await read_response(reader)
            edge.after(50)
            writer.write(GET[:5])
            await edge.until(lambda: edge.connection._buffer)
            edge.after(9)
            assert edge.server.active == 1
            writer.write(GET[5:])
            assert (await read_response(reader))[0] == 200

    run(test())


@pytest.mark.parametrize("beginning", [b"G", b"GET / HTTP/1.1\r\n", GET[:-2], b"\r"])
def test_a_slow_header_is_408(beginning: bytes) -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            for byte in beginning:
                writer.write(bytes((byte,)))
                await edge.until(lambda: edge.server.connections and edge.connection._buffer)
            edge.after(9)
            assert edge.server.active == 1
            edge.after(2)
            status, fields, _body = await read_response(reader)
            assert (status, fields.get(b"connection")) == (408, b"close")
            assert await is_closed(reader)

    run(test())


def test_progress_in_the_header_does_not_win_time() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            for i in range(1, 12):
                writer.write(GET[i - 1 : i])
                await edge.until(lambda i=i: edge.server.connections and edge.connection._buffer == GET[:i])
                edge.after(1)
            assert (await read_response(reader))[0] == 408

    run(test())


def test_a_body_that_stalls_is_408_if_somebody_waits_for_it() -> None:
    async def read(ctx: Context) -> Response:
        assert ctx.request.body is not None
        while await ctx.request.body.read():
            pass
        return text(ctx)

    async def test() -> None:
        async with H1Edge(lambda ctx: None, read, limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            writer.write(PUT + b"abc")
            await edge.until(lambda: edge.server.connections and edge.connection._body)
            await edge.until(
                lambda: edge.connection._body is not None and edge.connection._body.is_waited_for
            )
            edge.after(29)
            writer.write(b"d")
            await edge.until(
                lambda: edge.connection._body is not None and edge.connection._body.received == 4
            )
            edge.after(29)
            assert edge.server.active == 1
            edge.after(2)
            status, fields, _body = await read_response(reader)
            assert (status, fields.get(b"connection")) == (408, b"close")

    run(test())


def test_a_slow_stage_is_not_blamed_on_the_client() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await go
            return text(ctx)

        async with H1Edge(lambda ctx: None, fetch, limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            await edge.until(lambda: edge.tasks)
            edge.after(1000)
            go.set_result(None)
            assert (await read_response(reader))[0] == 200

    run(test())


def test_a_client_that_takes_nothing_is_cut_and_its_body_given_back() -> None:
    async def test() -> None:
        lent = Lent(b"x" * 20_000_000)
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(lent)), limits=LIMITS) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(GET)
            await edge.until(lambda: edge.server.connections and edge.connection._paused)
            edge.after(1)
            edge.after(19)
            assert len(edge.server.connections) == 1
            edge.after(2)
            await edge.until(lambda: edge.finished)
            assert lent.released == 1
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(len(lent) + 1000), WAIT_S)

    run(test())


def test_a_client_that_takes_something_now_and_then_is_served() -> None:
    async def test() -> None:
        body = b"x" * 20_000_000
        async with H1Edge(
            lambda ctx: Response(200, Fields.of(), Lent(body), len(body)), limits=LIMITS
        ) as edge:
            reader, writer = await edge.connect(limit=65536)
            writer.write(GET)
            got = 0
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            while got < len(body):
                if edge.connection._paused:
                    edge.after(15)
                got += len(
                    await asyncio.wait_for(reader.readexactly(min(2_000_000, len(body) - got)), WAIT_S)
                )
            assert got == len(body)

    run(test())


def test_a_refused_client_that_goes_on_sending_still_gets_its_answer() -> None:
    async def test() -> None:
        async with H1Edge(limits=LIMITS) as edge:
            reader, writer = await edge.connect()
            writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 200_000)
            await writer.drain()
            status, _fields, _body = await read_response(reader)
            assert status == 400
            writer.write(b"y" * 100_000)
            await writer.drain()
            assert await is_closed(reader)
            edge.after(1)
            assert len(edge.server.connections) == 1
            edge.after(2)
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)

    run(test())


def test_drain_closes_idle_connections_and_lets_the_others_finish() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await go
            return text(ctx)

        async with H1Edge(lambda ctx: None, fetch) as edge:
            idle, _writer = await edge.connect()
            busy, busy_writer = await edge.connect()
            busy_writer.write(GET)
            late, late_writer = await edge.connect()
            late_writer.write(GET[:10])
            await edge.until(
                lambda: edge.tasks and edge.server.active == 2 and len(edge.server.connections) == 3
            )
            edge.server.drain()
            assert await is_closed(idle)
            late_writer.write(GET[10:])
            await edge.until(lambda: len(edge.tasks) == 2)
            go.set_result(None)
            for reader in (busy, late):
                status, fields, _body = await read_response(reader)
                assert (status, fields.get(b"connection")) == (200, b"close")
                assert await is_closed(reader)
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)
            assert edge.server.active == 0

    run(test())


def test_wait_empty_returns_at_once_when_there_is_nobody() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)

    run(test())


def test_many_connections_are_swept_in_slices() -> None:
    async def test() -> None:
        async with H1Edge(limits=replace(LIMITS, connections=3000)) as edge:
            from worker.protocol import server as module

            before, module.SWEEP_SLICE = module.SWEEP_SLICE, 10
            try:
                readers = [(await edge.connect())[0] for _ in range(35)]
                await edge.until(lambda: len(edge.server.connections) == 35)
                edge.after(61)
                for reader in readers:
                    assert await is_closed(reader)
            finally:
                module.SWEEP_SLICE = before

    run(test())
