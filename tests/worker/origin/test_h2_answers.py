"""Requests to an HTTP/2 origin as it sees them, and its answers as they come back."""

import asyncio

import pytest

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.scripted_h2_origin import H2Origin, H2Request, H2Wire
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Stream
from worker.origin.h2.body import StreamBody
from worker.reasons import Fault, Side

CANCEL = 8


async def hello(wire: H2Wire, request: H2Request) -> None:
    await wire.answer(request, b"hello", [("x-a", "b")])


async def echo(wire: H2Wire, request: H2Request) -> None:
    body = await wire.whole(request)
    await wire.head(request)
    await wire.data(request, body)
    await wire.trailers(request, [("x-size", str(len(body)))])


def test_a_request_becomes_pairs():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            sent = [
                (b"X-Mixed-Case", b" spaced "),
                (b"Cookie", b"a=1"),
                (b"Connection", b"X-Hop"),
                (b"X-Hop", b"1"),
            ]
            response = await fetch(context(path=b"/a", query=b"b=c", fields=sent, host=b"example.org:81"))
            assert (response.status, response.body, response.length) == (200, b"hello", 5)
            assert response.fields.items() == [(b"x-a", b"b")]

    with H2Origin(hello) as origin:
        run(main())
    (request,) = origin.requests
    assert request.pairs[:4] == [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "example.org:81"),
        (":path", "/a?b=c"),
    ]
    assert request.fields["x-mixed-case"] == "spaced"
    assert request.fields["cookie"] == "a=1"
    assert request.fields["via"] == "1.1 edge-test"
    assert request.fields["x-forwarded-for"] == "192.0.2.7"
    assert not {"connection", "x-hop", "host", "te", "content-length"} & set(request.fields)
    assert request.ended


def test_all_requests_share_a_connection():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            for _ in range(3):
                answers = await asyncio.gather(*(fetch(context(path=b"/%d" % n)) for n in range(50)))
                assert {answer.body for answer in answers} == {b"hello"}
            assert fetch.in_flight() == 0

    with H2Origin(hello) as origin:
        run(main())
    assert origin.connections == 1
    assert len(origin.requests) == 150


@pytest.mark.parametrize("length", [200_000, None], ids=["counted", "uncounted"])
def test_bodies_and_trailers_go_both_ways(length):
    data = bytes(range(250)) * 800

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            trailers = Fields.of([(b"x-sum", b"1"), (b"content-type", b"no/place")])
            upload = Upload([data[at : at + 7777] for at in range(0, len(data), 7777)], length, trailers)
            response = await fetch(context(b"POST", fields=[(b"TE", b"trailers")], body=upload))
            assert await read_all(response.body) == data
            assert isinstance(response.body, StreamBody)
            assert response.body.trailers is not None
            assert response.body.trailers.items() == [(b"x-size", b"200000")]
            await until(lambda: upload.closed)

    with H2Origin(echo) as origin:
        run(main())
    (request,) = origin.requests
    assert request.fields["te"] == "trailers"
    assert request.fields.get("content-length") == (None if length is None else "200000")
    assert request.trailers == ({"x-sum": "1"} if length is None else {})


def test_an_answer_comes_while_the_request_still_goes():
    """What gRPC calls bidirectional: each piece of the answer is awaited before the next of the request."""

    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request)
        seen = 0
        while not request.ended:
            await wire.until(lambda seen=seen: len(request.body) > seen or request.ended)
            await wire.data(request, bytes(request.body[seen:]))
            seen = len(request.body)
        await wire.trailers(request, [("x-end", "1")])

    class Talk(Upload):
        """A body whose next piece is there when the last one has come back."""

        def __init__(self) -> None:
            super().__init__([])
            self.queue: asyncio.Queue[bytes] = asyncio.Queue()

        async def read(self) -> bytes:
            return await self.queue.get()

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            talk = Talk()
            response = await fetch(context(b"POST", body=talk))
            body: Stream = response.body  # type: ignore[assignment]
            for number in range(20):
                talk.queue.put_nowait(b"ping %d" % number)
                assert await body.read() == b"ping %d" % number
            talk.queue.put_nowait(b"")
            assert await body.read() == b""
            assert body.trailers is not None

    with H2Origin(script) as origin:
        run(main())


@pytest.mark.parametrize(
    ("method", "status", "length", "expected"),
    [
        (b"HEAD", "200", "300000", (200, None, 300000)),
        (b"HEAD", "200", None, (200, None, None)),
        (b"GET", "204", None, (204, None, None)),
        (b"GET", "304", "5", (304, None, 5)),
        (b"GET", "200", "0", (200, b"", 0)),
        (b"GET", "200", None, (200, b"", 0)),
    ],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["in the head", "behind the head"])
def test_answers_without_a_body(method, status, length, expected, at_once):
    async def script(wire: H2Wire, request: H2Request) -> None:
        fields = [] if length is None else [("content-length", length)]
        await wire.head(request, fields, status, end=at_once)
        if not at_once:
            await wire.data(request, b"", end=True)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            response = await fetch(context(method))
            body = await read_all(response.body) if expected[1] == b"" else response.body
            assert (response.status, body) == expected[:2]
            assert response.length == expected[2] or (not at_once and length is None and expected[2] == 0)
            await until(lambda: fetch.in_flight() == 0)

    with H2Origin(script) as origin:
        run(main())


def test_early_hints_are_passed_on_and_a_continue_is_not():
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request, status="100")
        await wire.head(request, [("link", "</a.css>")], "103")
        await wire.answer(request, b"x")

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            ctx, seen = context(), []
            ctx.inform = lambda _, status, fields: seen.append((status, fields.items()))
            assert (await fetch(ctx)).body == b"x"
            assert seen == [(103, [(b"link", b"</a.css>")])]

    with H2Origin(script) as origin:
        run(main())


def test_an_early_answer_ends_the_upload():
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.answer(request, b"too large", status="413")
        await wire.reset(request, 0)

    async def quiet(wire: H2Wire, request: H2Request) -> None:
        await wire.answer(request, b"too large", status="413")

    async def main(origin):
        async with fetching(origin.url, protocol="h2") as fetch:
            upload = Upload((bytes(16384) for _ in range(100_000)), 16384 * 100_000)
            response = await fetch(context(b"PUT", body=upload))
            assert (response.status, response.body) == (413, b"too large")
            await until(lambda: upload.closed and fetch.in_flight() == 0)
            assert upload.read_bytes < 16384 * 1000
            assert (await fetch(context(b"PUT", body=Upload([b"x"], 1)))).status == 413
        assert origin.connections == 1

    for each in (script, quiet):
        with H2Origin(each) as origin:
            run(main(origin))
            if each is quiet:
                origin.wait_for(lambda origin: origin.requests[0].reset == CANCEL)


def test_whoever_leaves_has_the_stream_reset():
    async def endless(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request)
        while request.reset is None:
            await wire.data(request, bytes(16384))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            response = await fetch(context())
            assert isinstance(response.body, StreamBody)
            assert await response.body.read()
            response.body.close()
            await until(lambda: fetch.in_flight() == 0)
            waiting = asyncio.create_task(fetch(context(path=b"/stall")))
            await until(lambda: len(origin.requests) == 2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until(lambda: fetch.in_flight() == 0)
            await asyncio.to_thread(origin.wait_for, lambda o: [r.reset for r in o.requests] == [CANCEL] * 2)

    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/stall":
            await wire.stall()
        else:
            await endless(wire, request)

    with H2Origin(script) as origin:
        run(main())


def test_a_request_body_that_breaks_off_resets_the_stream():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            upload = Upload([b"half"])
            upload.error = EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE)
            with pytest.raises(EdgeError) as caught:
                await fetch(context(b"POST", body=upload))
            assert caught.value.fault is Fault.CLIENT_GONE
            for length, word in ((3, "more"), (5, "fewer")):
                with pytest.raises(EdgeError) as caught:
                    await fetch(context(b"POST", body=Upload([b"four"], length)))
                assert (caught.value.status, caught.value.side) == (400, Side.CLIENT)
                assert word in caught.value.detail
            await until(lambda: fetch.in_flight() == 0)
            assert (await fetch(context(b"POST", body=Upload([b"x"])))).status == 200
        assert origin.connections == 1

    with H2Origin(echo) as origin:
        run(main())
