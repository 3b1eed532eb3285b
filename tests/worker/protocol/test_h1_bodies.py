"""Request bodies: pulled by their reader, held to a bound, read away when nobody wants them."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run, text
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response, Stream
from worker.protocol.chunked import ChunkedReader, ChunkError
from worker.protocol.flow import DISCARD_BYTES, HIGH_WATER_BYTES
from worker.reasons import Fault
from worker.settings import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
READ_BYTES = 256 * 1024  # the most a transport reads at once


def put(length: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"PUT / HTTP/1.1", b"Host: a", b"Content-Length: %d" % length, *lines, b"", b""])


CHUNKED = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def body_of(ctx: Context) -> Stream:
    assert ctx.request.body is not None
    return ctx.request.body


def no_body(ctx: Context) -> Response | None:
    return text(ctx) if ctx.request.body is None else None


async def sizes(ctx: Context) -> Response:
    """Read the body to its end, tell its size."""
    body = body_of(ctx)
    size = 0
    while piece := await body.read():
        size += len(piece)
    assert await body.read() == b""
    return text(ctx, b"%d of %s" % (size, str(body.length).encode()))


def test_a_large_body_is_passed_on_in_pieces() -> None:
    async def test() -> None:
        async with H1Edge(no_body, sizes) as edge:
            reader, writer = await edge.connect()
            writer.write(put(5_000_000) + b"x" * 5_000_000 + GET)
            assert (await read_response(reader))[2] == b"5000000 of 5000000"
            assert (await read_response(reader))[2] == b"hit\n"
            assert edge.finished[0].bytes_in == 5_000_000

    run(test())


def test_a_chunked_body_has_no_length_but_trailers() -> None:
    async def fetch(ctx: Context) -> Response:
        answer = await sizes(ctx)
        trailers = body_of(ctx).trailers
        assert trailers is not None
        assert trailers.items() == [(b"X-Sum", b"1")]
        return answer

    async def test() -> None:
        async with H1Edge(no_body, fetch) as edge:
            reader, writer = await edge.connect()
            writer.write(CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n" + GET)
            assert (await read_response(reader))[2] == b"6 of None"
            assert (await read_response(reader))[2] == b"hit\n"

    run(test())


@pytest.mark.parametrize("chunked", [True, False])
def test_a_slow_reader_holds_back_the_client(chunked: bool) -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await go
            return await sizes(ctx)

        async with H1Edge(no_body, fetch) as edge:
            reader, writer = await edge.connect()
            total = 16 * 1024 * 1024
            block = b"x" * 65536
            if chunked:
                data = CHUNKED + (b"10000\r\n%b\r\n" % block) * (total // len(block)) + b"0\r\n\r\n"
            else:
                data = put(total) + b"x" * total
            writer.write(data)
            await edge.until(lambda: edge.server.connections and not edge.connection._reading)
            for _ in range(20):
                await asyncio.sleep(0)
            body = edge.connection._body
            assert body is not None
            assert HIGH_WATER_BYTES < body.held <= HIGH_WATER_BYTES + READ_BYTES
            assert body.received == body.held
            go.set_result(None)
            assert (await read_response(reader))[2].startswith(b"%d of" % total)

    run(test())


def test_100_continue_is_sent_when_the_body_is_first_asked_for() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await go
            return await sizes(ctx)

        async with H1Edge(no_body, fetch) as edge:
            reader, writer = await edge.connect()
            writer.write(put(3, b"Expect: 100-continue"))
            await edge.until(lambda: edge.tasks)
            for _ in range(10):
                await asyncio.sleep(0)
            assert edge.connection._expecting
            go.set_result(None)
            interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc" + GET)
            assert (await read_response(reader))[2] == b"3 of 3"
            assert (await read_response(reader))[2] == b"hit\n"

    run(test())


def test_100_continue_is_not_sent_when_the_body_is_there_already() -> None:
    async def test() -> None:
        async with H1Edge(no_body, sizes) as edge:
            reader, writer = await edge.connect()
            writer.write(put(3, b"Expect: 100-continue") + b"abc")
            assert (await read_response(reader))[0] == 200

    run(test())


def test_an_answer_without_100_continue_ends_the_connection() -> None:
    """The client may send the body or not: what comes next could be either."""

    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(put(3, b"Expect: 100-continue"))
            status, fields, _body = await read_response(reader)
            assert (status, fields.get(b"connection")) == (200, b"close")
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())


def test_a_small_body_nobody_reads_is_read_away() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(put(100_000) + b"x" * 1000)
            assert (await read_response(reader))[0] == 200
            writer.write(b"x" * 99_000 + GET)
            assert (await read_response(reader))[0] == 200
            writer.write(CHUNKED + b"5\r\nhel")
            assert (await read_response(reader))[0] == 200
            writer.write(b"lo\r\n0\r\n\r\n" + GET)
            assert (await read_response(reader))[0] == 200
            assert [ctx.request.method for ctx in edge.finished] == [b"PUT", b"GET", b"PUT", b"GET"]

    run(test())


@pytest.mark.parametrize("head", [put(10**8), CHUNKED + b"5f5e100\r\n"])
def test_a_large_body_nobody_reads_ends_the_connection_after_the_answer(head: bytes) -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(head)
            status, fields, _body = await read_response(reader)
            assert status == 200
            if b"Content-Length" in head:
                assert fields.get(b"connection") == b"close"

            async def send_on() -> None:
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(send_on(), WAIT_S)

    run(test())


def test_a_reader_that_closes_the_body_frees_what_is_held() -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            body = body_of(ctx)
            await body.read()
            body.close()
            body.close()
            assert await body.read() == b""
            await go
            return text(ctx)

        async with H1Edge(no_body, fetch) as edge:
            reader, writer = await edge.connect()
            writer.write(put(10**7) + b"x" * 10**7)
            await edge.until(lambda: edge.server.connections and not edge.connection._reading)
            body = edge.connection._body
            assert body is not None
            assert body.held == 0
            assert body.discarded <= DISCARD_BYTES + 2 * READ_BYTES
            go.set_result(None)
            assert (await read_response(reader))[1].get(b"connection") == b"close"

    run(test())


def test_a_body_that_breaks_off_is_an_error_for_its_reader() -> None:
    async def test() -> None:
        errors: list[EdgeError] = []

        async def fetch(ctx: Context) -> Response:
            try:
                return await sizes(ctx)
            except EdgeError as error:
                errors.append(error)
                raise

        async with H1Edge(no_body, fetch) as edge:
            _reader, writer = await edge.connect()
            writer.write(put(100) + b"abc")
            await edge.until(lambda: edge.tasks and edge.connection._body is not None)
            writer.transport.abort()
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)
            await edge.until(lambda: not edge.tasks)
            assert not errors or errors[0].fault is Fault.CLIENT_GONE

    run(test())


def test_a_bad_chunk_late_in_the_body_is_an_error_for_its_reader() -> None:
    async def test() -> None:
        async with H1Edge(no_body, sizes) as edge:
            reader, writer = await edge.connect()
            writer.write(CHUNKED + b"3\r\nabc\r\n")
            await edge.until(lambda: edge.tasks)
            writer.write(b"zzz\r\n" + GET)
            status, fields, body = await read_response(reader)
            assert (status, fields.get(b"connection")) == (400, b"close")
            assert b"bad chunk size" in body
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())


def test_a_body_that_grows_too_large_is_413() -> None:
    async def test() -> None:
        async with H1Edge(no_body, sizes, limits=replace(Limits(), body_bytes=1000)) as edge:
            reader, writer = await edge.connect()
            writer.write(CHUNKED)
            await edge.until(lambda: edge.tasks)
            writer.write(b"1f4\r\n" + b"x" * 500 + b"\r\n")
            writer.write(b"1f5\r\n" + b"x" * 501 + b"\r\n0\r\n\r\n")
            status, fields, _body = await read_response(reader)
            assert (status, fields.get(b"connection")) == (413, b"close")

    run(test())


def test_a_chunked_reader_gives_the_same_however_its_input_is_cut() -> None:
    body = b"5\r\nhello\r\n00A;x=y\r\n" + b"0123456789" + b"\r\n1;z\r\n!\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n"
    for first in range(len(body) + 1):
        for step in (1, 2, 3, 7, len(body)):
            reader = ChunkedReader(1000)
            pieces = [body[:first], *[body[i : i + step] for i in range(first, len(body), step)]]
            got = b""
            for number, piece in enumerate(pieces):
                if number == len(pieces) - 1:
                    piece += b"next"
                got += b"".join(reader.feed(piece))
            assert got == b"hello0123456789!"
            assert reader.ended
            assert reader.rest == b"next"
            assert isinstance(reader.trailers, Fields)
            assert reader.trailers.get(b"x-c") == b"d"


def test_chunk_extensions_are_bounded_in_total() -> None:
    reader = ChunkedReader(1000)
    with pytest.raises(ChunkError, match="extensions"):
        for _ in range(1000):
            reader.feed(b"1;" + b"a" * 100 + b"\r\nx\r\n")


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_a_trailer_section_is_bounded_to_the_byte_however_it_is_cut(step: int) -> None:
    section = b"X-A: " + b"b" * 95
    body = b"0\r\n" + section + b"\r\n\r\n"
    for limit, fits in ((100, True), (99, False)):
        reader = ChunkedReader(limit)
        with nullcontext() if fits else pytest.raises(ChunkError, match="too large"):
            for at in range(0, len(body), step):
                reader.feed(body[at : at + step])
        assert reader.ended == fits


def test_a_trailer_section_that_never_ends_is_refused() -> None:
    reader = ChunkedReader(1000)
    reader.feed(b"0\r\n")
    with pytest.raises(ChunkError, match="too large"):
        for _ in range(11):
            reader.feed(b"X-A: " + b"b" * 100 + b"\r\n")
