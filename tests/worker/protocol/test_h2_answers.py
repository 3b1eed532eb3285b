"""Answers and bodies on HTTP/2 streams: whole, lent, streamed, cut; with flow control in both directions."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.h1_edge import Lent, Pieces, run, text
from tests.support.h2_edge import H2Edge
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response, Stream
from worker.reasons import Fault, Side
from worker.settings import Limits

BIG = bytes(range(256)) * 4096 * 6  # 6 MiB: more than windows and socket buffers take
INTERNAL_ERROR = 2
CANCEL = 8


def streaming(stream: Stream, status: int = 200, length: int | None = None) -> H2Edge:
    """An edge whose fetch gives this stream."""

    async def fetch(ctx: Context) -> Response:
        return Response(status, Fields.of([(b"X-A", b"b")]), stream, length)

    return H2Edge(lambda ctx: None, fetch)


def fetching(fetch: Callable[[Context], Awaitable[Response]], limits: Limits | None = None) -> H2Edge:
    return H2Edge(lambda ctx: None, fetch, limits=limits)


async def echo(ctx: Context) -> Response:
    """Answers with the request's body, once it is whole."""
    body = ctx.request.body
    pieces = []
    while body is not None and (piece := await body.read()):
        pieces.append(piece)
    whole = b"".join(pieces)
    trailers = body.trailers.items() if body is not None and body.trailers is not None else []
    fields = Fields.of([(b"X-Trailers", repr(trailers).encode())])
    return Response(200, fields, whole, len(whole))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("response", "length"),
    [
        (Response(204, Fields.of()), None),
        (Response(304, Fields.of()), None),
        (Response(304, Fields.of(), None, 1234), "1234"),
        (Response(404, Fields.of()), "0"),
        (Response(599, Fields.of(), b"", 0), "0"),
    ],
)
def test_answers_without_a_body(response: Response, length: str | None, method: str) -> None:
    async def test() -> None:
        async with H2Edge(lambda ctx: response) as edge, await edge.client() as client:
            answer = await client.ask(method=method)
            assert (answer.status, answer.body, answer.ended) == (response.status, b"", True)
            unknown = method == "HEAD" and response.length is None
            assert answer.fields.get("content-length") == (None if unknown else length)

    run(test())


def test_head_gets_the_fields_of_get_and_no_body() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            answer = await client.ask(method="HEAD")
            assert (answer.fields["content-length"], answer.body, answer.ended) == ("4", b"", True)

    run(test())


def test_fields_of_one_connection_are_never_sent_and_names_are_lower_case() -> None:
    fields = Fields.of(
        [(b"Connection", b"close"), (b"Keep-Alive", b"1"), (b"X-Name", b"Value"), (b"Date", b"then")]
    )

    async def test() -> None:
        async with H2Edge(lambda ctx: Response(200, fields, b"x", 1)) as edge, await edge.client() as client:
            answer = await client.ask()
            assert answer.fields == {"x-name": "Value", "date": "then", "content-length": "1"}

    run(test())


@pytest.mark.parametrize("size", [1, 16384, 32 * 1024, 32 * 1024 + 1, 65535, 65536, 100_000, len(BIG)])
@pytest.mark.parametrize("lent", [True, False])
def test_bodies_of_every_size_arrive_whole(size: int, lent: bool) -> None:
    body = Lent(BIG[:size]) if lent else BIG[:size]

    async def test() -> None:
        async with (
            H2Edge(lambda ctx: Response(200, Fields.of(), body, size)) as edge,
            await edge.client() as client,
        ):
            answer = await client.ask()
            assert answer.body == BIG[:size]
            assert answer.fields["content-length"] == str(size)
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].bytes_out > size
            if isinstance(body, Lent):
                assert body.released == 1

    run(test())


def test_a_lent_body_is_given_back_when_its_client_leaves() -> None:
    lent = Lent(BIG)

    async def test() -> None:
        async with H2Edge(lambda ctx: Response(200, Fields.of(), lent, len(BIG))) as edge:
            async with await edge.client(reading=False) as client:
                stream = client.begin()
                await client.until(lambda: len(client.answers[stream].body) == 65535)
                assert lent.released == 0
            await edge.until(lambda: edge.finished)
            assert lent.released == 1

    run(test())


def test_one_client_stream_that_is_not_read_does_not_hold_up_another() -> None:
    def gate(ctx: Context) -> Response:
        body = BIG if ctx.request.path == b"/big" else b"small"
        return Response(200, Fields.of(), body, len(body))

    async def test() -> None:
        async with H2Edge(gate) as edge, await edge.client(reading=False, window=20_000) as client:
            big = client.begin("/big")
            await client.until(lambda: len(client.answers[big].body) == 20_000)
            assert (await client.ask("/small")).body == b"small"
            client.h2.reset_stream(big, CANCEL)
            client.flush()
            await edge.until(lambda: len(edge.finished) == 2)

    run(test())


@pytest.mark.parametrize("length", [None, 9])
def test_a_stream_arrives_piece_by_piece(length: int | None) -> None:
    async def test() -> None:
        later = asyncio.get_running_loop().create_future()
        pieces = Pieces(b"abc", later, b"def", b"ghi", length=length)
        async with streaming(pieces) as edge, await edge.client() as client:
            stream = client.begin()
            await client.until(lambda: client.answers[stream].body == b"abc")
            assert not client.answers[stream].ended
            later.set_result(None)
            answer = await client.answer(stream)
            assert (answer.body, answer.ended, answer.reset) == (b"abcdefghi", True, None)
            assert answer.fields.get("content-length") == (None if length is None else "9")
            await edge.until(lambda: edge.finished)
            assert pieces.closed and edge.finished[0].error is None

    run(test())


def test_a_slow_client_slows_the_reading_of_the_origin() -> None:
    async def test() -> None:
        pieces = Pieces(*[b"x" * 65536] * 100)
        async with streaming(pieces) as edge, await edge.client(reading=False) as client:
            stream = client.begin()
            await client.until(lambda: len(client.answers[stream].body) == 65535)
            await asyncio.sleep(0.05)
            assert pieces.read_bytes <= 4 * 65536
            client.h2.increment_flow_control_window(10 * 1024**2)
            client.h2.increment_flow_control_window(10 * 1024**2, stream)
            client.flush()
            assert len((await client.answer(stream)).body) == 6_553_600

    run(test())


@pytest.mark.parametrize("asks", [True, False])
def test_trailers_are_sent_to_who_asks_for_them(asks: bool) -> None:
    async def test() -> None:
        pieces = Pieces(b"abc", trailers=Fields.of([(b"Grpc-Status", b"0")]))
        async with streaming(pieces) as edge, await edge.client() as client:
            answer = await client.ask("/", [("te", "trailers")] if asks else [])
            assert answer.body == b"abc" and answer.ended
            assert answer.trailers == ({"grpc-status": "0"} if asks else {})

    run(test())


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        (Pieces(b"abc", EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE)), b"abc"),
        (Pieces(b"abc", RuntimeError("on purpose")), b"abc"),
        (Pieces(b"abc", length=5), b"abc"),
        (Pieces(b"abcdef", length=5), b""),
    ],
)
def test_a_broken_answer_is_visibly_broken_and_others_go_on(pieces: Pieces, sent: bytes) -> None:
    """What was there before the break arrives, although its reset follows in the same turn of the loop."""

    async def fetch(ctx: Context) -> Response:
        if ctx.request.path == b"/":
            return Response(200, Fields.of(), pieces)
        return text(ctx)

    async def test() -> None:
        async with fetching(fetch) as edge, await edge.client() as client:
            answer = await client.ask("/")
            assert (answer.status, answer.body) == (200, sent)
            assert (answer.ended, answer.reset) == (False, INTERNAL_ERROR)
            assert (await client.ask("/other")).status == 200
            assert edge.finished[0].error is not None

    run(test())


def test_interim_answers_come_before_the_final_one() -> None:
    async def test() -> None:
        async with H2Edge(lambda ctx: None, echo) as edge, await edge.client() as client:
            exchanges = []

            async def fetch(ctx: Context) -> Response:
                (exchange,) = edge.h2_connection._session.streams.values()
                exchanges.append(exchange)
                exchange.inform(ctx, 103, Fields.of([(b"Link", b"</a.css>; rel=preload")]))
                return text(ctx)

            edge.fetch = fetch
            answer = await client.ask()
            assert answer.interim == [(103, {"link": "</a.css>; rel=preload"})]
            assert answer.status == 200

    run(test())


def test_the_body_is_asked_for_by_100_continue_when_somebody_reads_it() -> None:
    async def test() -> None:
        async with fetching(echo) as edge, await edge.client() as client:
            stream = client.begin(method="POST", fields=[("expect", "100-continue")], end=False)
            await client.until(lambda: client.answers[stream].interim)
            assert client.answers[stream].interim == [(100, {})]
            await client.upload(stream, [b"abc"])
            assert (await client.answer(stream)).body == b"abc"

    run(test())


@pytest.mark.parametrize("size", [0, 1, 65535, len(BIG)])
@pytest.mark.parametrize("announced", [True, False])
def test_request_bodies_of_every_size_arrive_whole(size: int, announced: bool) -> None:
    async def test() -> None:
        async with fetching(echo) as edge, await edge.client() as client:
            fields = [("content-length", str(size))] if announced else []
            stream = client.begin(method="POST", fields=fields, end=False)
            await client.upload(stream, [BIG[:size]])
            assert (await client.answer(stream)).body == BIG[:size]
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].bytes_in == size

    run(test())


def test_request_trailers_reach_the_reader() -> None:
    async def test() -> None:
        async with fetching(echo) as edge, await edge.client() as client:
            stream = client.begin(method="POST", end=False)
            await client.upload(stream, [b"abc"], trailers=[("x-checksum", "1")])
            answer = await client.answer(stream)
            assert (answer.body, answer.fields["x-trailers"]) == (b"abc", "[(b'x-checksum', b'1')]")

    run(test())


@pytest.mark.parametrize("name", ["host", "content-length", "transfer-encoding", "x y", "X"])
def test_bad_trailers_reset_the_stream(name: str) -> None:
    async def test() -> None:
        async with fetching(echo) as edge, await edge.client(checks=False) as client:
            stream = client.begin(method="POST", end=False)
            await client.upload(stream, [b"abc"], trailers=[(name, "1")])
            answer = await client.answer(stream)
            assert (answer.status, answer.reset) == (0, 1)

    run(test())


@pytest.mark.parametrize(("announced", "sent"), [(5, 3), (3, 5), (3, 0)])
def test_a_body_that_belies_its_content_length_resets_the_stream(announced: int, sent: int) -> None:
    async def test() -> None:
        async with fetching(echo) as edge, await edge.client() as client:
            stream = client.begin(method="POST", fields=[("content-length", str(announced))], end=False)
            await client.upload(stream, [b"x" * sent])
            answer = await client.answer(stream)
            assert (answer.status, answer.reset) == (0, 1)
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].error is not None

    run(test())


def test_an_upload_that_nobody_reads_is_held_to_its_window_while_others_go_on() -> None:
    async def test() -> None:
        go = asyncio.Event()

        async def fetch(ctx: Context) -> Response:
            if ctx.request.path == b"/slow":
                await go.wait()
            return await echo(ctx)

        async with fetching(fetch) as edge, await edge.client() as client:
            slow = [client.begin("/slow", method="POST", end=False) for _ in range(10)]
            uploads = [asyncio.create_task(client.upload(stream, [BIG[:200_000]])) for stream in slow]
            await edge.until(lambda: all(client.h2.local_flow_control_window(s) == 0 for s in slow))
            other = client.begin("/other", method="POST", end=False)
            await client.upload(other, [BIG])
            assert (await client.answer(other)).body == BIG
            assert all(ctx.request.path == b"/other" for ctx in edge.finished)
            go.set()
            for stream in slow:
                assert (await client.answer(stream)).body == BIG[:200_000]
            await asyncio.gather(*uploads)

    run(test())


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_above_the_limit_is_answered_413(announced: bool) -> None:
    async def test() -> None:
        async with fetching(echo, Limits(body_bytes=1000)) as edge, await edge.client() as client:
            fields = [("content-length", "2000")] if announced else []
            stream = client.begin(method="POST", fields=fields, end=False)
            client.h2.send_data(stream, b"x" * 2000)
            client.flush()
            answer = await client.answer(stream)
            assert answer.status == 413
            await client.until(lambda: answer.reset is not None)
            assert answer.reset == 0  # NO_ERROR: the rest is not wanted
            assert (await client.ask()).status == 200

    run(test())


def test_an_early_answer_ends_the_stream_of_an_unfinished_request() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            stream = client.begin(method="POST", end=False)
            answer = await client.answer(stream)
            assert answer.status == 200
            await client.until(lambda: answer.reset is not None)
            assert answer.reset == 0

    run(test())


def test_a_reset_by_the_client_cancels_the_task_of_that_stream_only() -> None:
    async def test() -> None:
        cancelled = []
        go = asyncio.Event()

        async def fetch(ctx: Context) -> Response:
            try:
                await go.wait()
            except asyncio.CancelledError:
                cancelled.append(ctx.request.path)
                raise
            return text(ctx)

        async with fetching(fetch) as edge, await edge.client() as client:
            one, other = client.begin("/1"), client.begin("/2")
            await edge.until(lambda: len(edge.tasks) == 2)
            client.h2.reset_stream(one, CANCEL)
            client.flush()
            await edge.until(lambda: cancelled)
            go.set()
            assert (await client.answer(other)).status == 200
            assert cancelled == [b"/1"]
            assert [ctx.error.status for ctx in edge.finished if ctx.error] == [499]

    run(test())


@pytest.mark.parametrize("path", [b"/head", b"/body", b"/upload"])
def test_every_task_ends_with_the_connection(path: bytes) -> None:
    async def test() -> None:
        never = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            if path == b"/head":
                await never
            if path == b"/upload":
                return await echo(ctx)
            return Response(200, Fields.of(), Pieces(b"abc", never))

        async with fetching(fetch) as edge:
            async with await edge.client() as client:
                for _ in range(3):
                    client.begin(path.decode(), method="POST", end=path != b"/upload")
                await edge.until(lambda: len(edge.tasks) == 3)
            await edge.until(lambda: not edge.tasks)
            assert len(edge.finished) == 3
            assert all(
                ctx.error is not None and ctx.error.fault is Fault.CLIENT_GONE for ctx in edge.finished
            )
            await edge.until(lambda: not edge.server.connections)
            never.cancel()

    run(test())


def test_a_body_in_frames_of_one_byte_is_held_in_few_pieces() -> None:
    async def test() -> None:
        async def fetch(ctx: Context) -> Response:
            body = ctx.request.body
            assert body is not None
            await edge.until(lambda: body.received == 10_000)  # type: ignore[union-attr]
            sizes = []
            while piece := await body.read():
                sizes.append(len(piece))
            return Response(200, Fields.of(), str(len(sizes)).encode(), None)

        async with fetching(fetch) as edge, await edge.client() as client:
            stream = client.begin(method="POST", end=False)
            await client.upload(stream, [BIG[at : at + 1] for at in range(10_000)])
            assert int((await client.answer(stream)).body) <= 20

    run(test())
