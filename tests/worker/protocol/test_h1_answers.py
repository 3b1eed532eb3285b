"""How answers are framed, in which order they come, and that a broken one is visibly broken."""

import asyncio
import re

import pytest

from tests.support.h1_edge import WAIT_S, H1Edge, Lent, Pieces, read_response, run, text
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response, Stream
from worker.reasons import Fault, Side

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_10 = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
BIG = bytes(range(256)) * 4096 * 6  # 6 MiB: more than socket buffers take


def answering(response: Response) -> H1Edge:
    """An edge whose gate gives this answer."""
    return H1Edge(lambda ctx: response)


def streaming(stream: Stream, status: int = 200, length: int | None = None) -> H1Edge:
    """An edge whose fetch gives this stream."""

    async def fetch(ctx: Context) -> Response:
        return Response(status, Fields.of([(b"X-A", b"b")]), stream, length)

    return H1Edge(lambda ctx: None, fetch)


def test_head_gets_the_fields_of_get_and_no_body() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            got = await edge.exchange(HEAD + GET_CLOSE)
            head, other = got.split(b"\r\n\r\n", 1)
            assert b"Content-Length: 4" in head
            assert other.startswith(b"HTTP/1.1 200 OK\r\n") and other.endswith(b"\r\n\r\nhit\n")
            assert edge.finished[0].bytes_out == len(head) + 4

    run(test())


@pytest.mark.parametrize("request_bytes", [GET_CLOSE, HEAD])
@pytest.mark.parametrize(
    ("response", "line"),
    [
        (Response(204, Fields.of()), None),
        (Response(304, Fields.of()), None),
        (Response(304, Fields.of(), None, 1234), b"1234"),
        (Response(404, Fields.of()), b"0"),
        (Response(599, Fields.of(), b"", 0), b"0"),
    ],
)
def test_answers_without_a_body(response: Response, line: bytes | None, request_bytes: bytes) -> None:
    async def test() -> None:
        async with answering(response) as edge:
            reader, writer = await edge.connect()
            writer.write(request_bytes)
            status, fields, _body = await read_response(reader, head_only=True)
            assert status == response.status
            if not (request_bytes is HEAD and response.body is None and line == b"0"):
                assert fields.get(b"content-length") == line
            assert b"transfer-encoding" not in fields
            if request_bytes is not HEAD:
                assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())


def test_head_tells_the_length_of_a_body_that_is_not_there() -> None:
    async def test() -> None:
        async with answering(Response(200, Fields.of(), None, 777)) as edge:
            reader, writer = await edge.connect()
            writer.write(HEAD)
            _status, fields, _body = await read_response(reader, head_only=True)
            assert fields.get(b"content-length") == b"777"

    run(test())


def test_a_date_is_added_only_where_there_is_none() -> None:
    async def test() -> None:
        stored = Fields.trusted(b"date: Mon, 01 Jan 2024 00:00:00 GMT\r\n")
        for fields, pattern in [
            (stored, rb"\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
            (Fields.of(), rb"\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n"),
        ]:
            async with answering(Response(200, fields, b"x")) as edge:
                got = await edge.exchange(GET_CLOSE)
                assert len(re.findall(pattern, got)) == 1
                assert got.lower().count(b"\r\ndate:") == 1

    run(test())


def test_1_0_clients_that_ask_for_it_keep_the_connection_and_are_told() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            for _ in range(2):
                writer.write(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
                _status, fields, _body = await read_response(reader)
                assert fields.get(b"connection") == b"keep-alive"

    run(test())


def test_a_stream_of_known_length_is_sent_with_it() -> None:
    async def test() -> None:
        stream = Pieces(b"abc", b"de", length=5)
        async with streaming(stream) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            status, fields, body = await read_response(reader)
            assert (status, body, fields.get(b"content-length")) == (200, b"abcde", b"5")
            await edge.until(lambda: edge.finished)
            assert stream.closed
            assert edge.finished[0].status == 200

    run(test())


def test_a_stream_of_unknown_length_is_chunked_and_the_connection_lives_on() -> None:
    async def test() -> None:
        big = b"x" * 100_000
        async with H1Edge(lambda ctx: None) as edge:

            async def fetch(ctx: Context) -> Response:
                return Response(200, Fields.of(), Pieces(b"abc", big, b"d"))

            edge.fetch = fetch
            reader, writer = await edge.connect()
            for _ in range(2):
                writer.write(GET)
                status, fields, body = await read_response(reader)
                assert status == 200
                assert fields.get(b"transfer-encoding") == b"chunked"
                assert b"content-length" not in fields
                assert body == b"abc" + big + b"d"

    run(test())


def test_the_head_of_a_slow_stream_does_not_wait_for_its_body() -> None:
    async def test() -> None:
        gate = asyncio.get_running_loop().create_future()
        async with streaming(Pieces(gate, b"late", length=4)) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            gate.set_result(None)
            assert await asyncio.wait_for(reader.readexactly(4), WAIT_S) == b"late"

    run(test())


def test_a_1_0_client_gets_a_stream_of_unknown_length_until_the_end_of_the_connection() -> None:
    async def test() -> None:
        async with streaming(Pieces(b"abc", b"de")) as edge:
            got = await edge.exchange(GET_10)
            head, body = got.split(b"\r\n\r\n", 1)
            assert body == b"abcde"
            assert b"chunked" not in head and b"Content-Length" not in head
            assert b"Connection: close" in head

    run(test())


@pytest.mark.parametrize("wanted", [True, False])
def test_trailers_are_passed_on_if_the_client_asks_for_them(wanted: bool) -> None:
    async def test() -> None:
        trailers = Fields.of([(b"X-Sum", b"42")])
        async with streaming(Pieces(b"abc", trailers=trailers)) as edge:
            te = b"TE: deflate, trailers\r\nConnection: TE, close" if wanted else b"Connection: close"
            got = await edge.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % te)
            assert got.endswith(b"0\r\nX-Sum: 42\r\n\r\n" if wanted else b"c\r\n0\r\n\r\n")

    run(test())


BROKEN = EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, "broke off")


@pytest.mark.parametrize(
    ("pieces", "length"),
    [
        ((b"abc", BROKEN), None),
        ((b"abc", BROKEN), 100),
        ((b"abc", RuntimeError("a bug")), None),
        ((b"abc",), 100),
        ((b"abc", b"def"), 4),
    ],
    ids=["error, chunked", "error, length", "bug", "too short", "too long"],
)
def test_a_stream_that_fails_is_visibly_cut(pieces: tuple[object, ...], length: int | None) -> None:
    async def test() -> None:
        waiting = asyncio.get_running_loop().create_future()
        stream = Pieces(pieces[0], waiting, *pieces[1:], length=length)
        async with streaming(stream) as edge:
            reader, writer = await edge.connect()
            writer.write(GET + GET)
            got = await asyncio.wait_for(reader.readuntil(b"abc"), WAIT_S)
            waiting.set_result(None)
            try:
                got += await asyncio.wait_for(reader.read(), WAIT_S)
            except ConnectionError:
                pass
            head, body = got.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert b"0\r\n\r\n" not in body
            if length is not None:
                assert len(body) < length
            await edge.until(lambda: edge.finished)
            assert stream.closed
            assert edge.finished[0].error is not None

    run(test())


def test_a_cut_is_visible_even_where_the_end_of_the_connection_is_the_end_of_the_body() -> None:
    async def test() -> None:
        waiting = asyncio.get_running_loop().create_future()
        async with streaming(Pieces(b"abc", waiting, BROKEN)) as edge:
            reader, writer = await edge.connect()
            writer.write(GET_10)
            await asyncio.wait_for(reader.readuntil(b"abc"), WAIT_S)
            waiting.set_result(None)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), WAIT_S)

    run(test())


@pytest.mark.parametrize("size", [0, 1, 20_000, len(BIG)])
def test_a_stored_body_is_sent_whole_and_given_back_once(size: int) -> None:
    async def test() -> None:
        lent = Lent(BIG[:size])
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, size)) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            _status, fields, body = await read_response(reader)
            assert fields.get(b"content-length") == b"%d" % size
            assert body == BIG[:size]
            await edge.until(lambda: edge.finished)
            assert lent.released == 1
            assert edge.finished[0].bytes_out > size
            writer.write(HEAD)
            await read_response(reader, head_only=True)
            await edge.until(lambda: len(edge.finished) == 2)
            assert lent.released == 2

    run(test())


def test_a_stored_body_stays_lent_until_the_client_has_taken_it() -> None:
    async def test() -> None:
        lent = Lent(BIG)
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(BIG))) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            await edge.until(lambda: edge.connection._paused)
            assert lent.released == 0
            assert not edge.finished
            transport = edge.connection._transport
            assert transport is not None
            assert transport.get_write_buffer_size() <= 256 * 1024
            body = await asyncio.wait_for(reader.readexactly(len(BIG)), WAIT_S)
            assert body == BIG
            await edge.until(lambda: edge.finished)
            assert lent.released == 1

    run(test())


def test_a_stored_body_is_given_back_when_the_client_leaves() -> None:
    async def test() -> None:
        lent = Lent(BIG)
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(BIG))) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            writer.transport.abort()
            await edge.until(lambda: edge.finished)
            assert lent.released == 1

    run(test())


def test_a_slow_client_holds_back_the_stream() -> None:
    async def test() -> None:
        piece = b"y" * 65536
        stream = Pieces(*[piece] * 512)
        async with streaming(stream) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            await edge.until(lambda: edge.connection._paused)
            read = stream.read_bytes
            for _ in range(20):
                await asyncio.sleep(0)
            assert stream.read_bytes == read < 512 * len(piece)
            transport = edge.connection._transport
            assert transport is not None
            assert transport.get_write_buffer_size() <= len(piece) + 64
            got = b""
            while not got.endswith(b"\r\n0\r\n\r\n"):
                more = await asyncio.wait_for(reader.read(1 << 20), WAIT_S)
                assert more
                got = (got + more)[-16:]
            assert stream.read_bytes == 512 * len(piece)

    run(test())


def test_pipelined_answers_come_in_the_order_of_their_requests() -> None:
    async def test() -> None:
        first = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await first
            return text(ctx, b"slow\n")

        async with H1Edge(lambda ctx: None if ctx.request.path == b"/slow" else text(ctx), fetch) as edge:
            reader, writer = await edge.connect()
            writer.write(
                GET.replace(b"/ ", b"/slow ") + GET.replace(b"/ ", b"/a ") + GET.replace(b"/ ", b"/b ")
            )
            await edge.until(lambda: edge.tasks)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not edge.finished
            first.set_result(None)
            paths = [(await read_response(reader))[1].get(b"x-path") for _ in range(3)]
            assert paths == [b"/slow", b"/a", b"/b"]

    run(test())


def test_reading_stops_when_too_much_is_read_ahead_and_goes_on() -> None:
    async def test() -> None:
        first = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            await first
            return text(ctx)

        async with H1Edge(lambda ctx: None if ctx.request.path == b"/slow" else text(ctx), fetch) as edge:
            reader, writer = await edge.connect()
            writer.write(GET.replace(b"/ ", b"/slow ") + GET * 63)
            await edge.until(lambda: edge.tasks)
            assert edge.connection._reading
            writer.write(GET * 10)
            await edge.until(lambda: not edge.connection._reading)
            for _ in range(20):
                writer.write(GET * 1000)
            for _ in range(20):
                await asyncio.sleep(0)
            assert edge.connection._buffer.count(GET) <= 73
            first.set_result(None)
            for _ in range(1 + 63 + 10 + 20_000):
                status, _fields, body = await read_response(reader)
                assert (status, body) == (200, b"hit\n")

    run(test())


def test_a_client_that_does_not_take_its_answers_gets_no_more_requests_handled() -> None:
    async def test() -> None:
        big = b"z" * 30_000
        async with H1Edge(lambda ctx: text(ctx, big)) as edge:
            reader, writer = await edge.connect(limit=1024)
            count = 2000
            writer.write(GET * count)
            await edge.until(lambda: edge.server.connections and edge.connection._paused)
            handled = len(edge.finished)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(edge.finished) - handled <= 1
            assert handled < count
            for _ in range(count):
                assert (await read_response(reader))[2] == big
            assert len(edge.finished) == count

    run(test())


def test_interim_answers_reach_1_1_clients_only() -> None:
    async def test() -> None:
        def gate(ctx: Context) -> Response:
            edge.connection.inform(ctx, 103, Fields.of([(b"Link", b"</a.css>; rel=preload")]))
            return text(ctx)

        async with H1Edge(gate) as edge:
            early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
            assert (await edge.exchange(GET_CLOSE)).startswith(early)
            assert (await edge.exchange(GET_10)).startswith(b"HTTP/1.1 200 OK\r\n")

    run(test())


def test_a_client_that_leaves_ends_the_work_for_it() -> None:
    async def test() -> None:
        cancelled = asyncio.Event()

        async def fetch(ctx: Context) -> Response:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        async with H1Edge(lambda ctx: None, fetch) as edge:
            for leave in ("close", "abort"):
                cancelled.clear()
                _reader, writer = await edge.connect()
                writer.write(GET)
                await edge.until(lambda: edge.tasks)
                getattr(writer.transport, leave)()
                await asyncio.wait_for(cancelled.wait(), WAIT_S)
                await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)
            faults = [ctx.error and ctx.error.fault for ctx in edge.finished]
            assert faults == [Fault.CLIENT_GONE] * 2, "the log and the counters know of it"

    run(test())


def test_a_client_that_leaves_before_the_work_for_it_has_begun_is_told_of() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()

        def gate(
            ctx: Context,
        ) -> None:  # what it asks for comes before the first step of the task that follows
            loop.call_soon(edge.connection.eof_received)

        async def never(ctx: Context) -> Response:
            return await loop.create_future()

        async with H1Edge(gate, never) as edge:
            _reader, writer = await edge.connect()
            writer.write(GET)
            await edge.until(lambda: edge.finished)
            assert [ctx.error and ctx.error.fault for ctx in edge.finished] == [Fault.CLIENT_GONE]

    run(test())


def test_a_client_that_leaves_ends_the_stream_to_it() -> None:
    async def test() -> None:
        never = asyncio.get_running_loop().create_future()
        stream = Pieces(b"abc", never)
        async with streaming(stream) as edge:
            reader, writer = await edge.connect()
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"abc"), WAIT_S)
            writer.transport.abort()
            await edge.until(lambda: edge.finished)
            assert stream.closed
            error = edge.finished[0].error
            assert error is not None and error.fault is Fault.CLIENT_GONE

    run(test())


def test_an_answer_that_has_begun_is_finished_for_a_client_that_half_closes() -> None:
    async def test() -> None:
        async with H1Edge(lambda ctx: Response(200, Fields.of(), Lent(BIG), len(BIG))) as edge:
            reader, writer = await edge.connect(limit=1024)
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), WAIT_S) == BIG

    run(test())


def test_an_answer_that_comes_too_late_harms_nobody() -> None:
    """A fetch that survives its cancellation must not write into another request's answer."""

    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            try:
                await asyncio.shield(go)
            except asyncio.CancelledError:
                await go
            return text(ctx, b"late\n")

        async with H1Edge(lambda ctx: None, fetch) as edge:
            _reader, writer = await edge.connect()
            writer.write(GET)
            await edge.until(lambda: edge.tasks)
            writer.transport.abort()
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)
            go.set_result(None)
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].status == 0

    run(test())
