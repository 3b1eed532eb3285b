"""Whatever an HTTP/2 origin does wrong becomes the right EdgeError, on its own stream where that is possible,
and a request is sent again only where that is safe."""

import asyncio

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.scripted_h2_origin import H2Origin, H2Request, H2Wire
from worker.errors import EdgeError
from worker.origin.h2 import connection as h2_connection
from worker.reasons import Fault, Side

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, CALM = 0, 1, 2, 7, 8, 11
LENGTH = ("content-length", "1000000")


async def failure(fetch, ctx=None) -> EdgeError:
    """The error of a fetch, or of reading its body."""
    with pytest.raises(EdgeError) as caught:
        await read_all((await fetch(ctx or context())).body)
    assert str(fetch.settings.port) in caught.value.detail
    return caught.value


async def hello(wire: H2Wire, request: H2Request) -> None:
    await wire.whole(request)
    await wire.answer(request, b"hello")


# one stream


@pytest.mark.parametrize(
    ("code", "begun", "status", "fault"),
    [
        (NO_ERROR, False, 502, Fault.TERMINATED),
        (PROTOCOL_ERROR, False, 502, Fault.TERMINATED),
        (INTERNAL_ERROR, False, 502, Fault.TERMINATED),
        (CANCEL, False, 502, Fault.TERMINATED),
        (CALM, False, 502, Fault.TERMINATED),
        (0x4711, False, 502, Fault.TERMINATED),
        (NO_ERROR, True, 502, Fault.INCOMPLETE),
        (INTERNAL_ERROR, True, 502, Fault.INCOMPLETE),
        (REFUSED_STREAM, True, 502, Fault.INCOMPLETE),
    ],
)
def test_a_reset_ends_its_own_stream(code, begun, status, fault):
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/good":
            await wire.stall()
            await wire.answer(request, b"good")
            return
        if begun:
            await wire.head(request, [LENGTH])
            await wire.data(request, b"some")
        await wire.reset(request, code)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            good = asyncio.create_task(fetch(context(path=b"/good")))
            await until(lambda: origin.stalled == 1)
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (status, Side.ORIGIN, fault)
            assert not error.retryable
            origin.release()
            assert (await good).body == b"good"
        assert origin.connections == 1

    with H2Origin(script) as origin:
        run(main())
    assert len(origin.requests) == 2


@pytest.mark.parametrize(
    "pairs",
    [
        [(":status", "200"), ("X-Upper", "a")],
        [(":status", "200"), ("connection", "close")],
        [(":status", "200"), ("keep-alive", "timeout=5")],
        [(":status", "200"), ("proxy-connection", "x")],
        [(":status", "200"), ("transfer-encoding", "chunked")],
        [(":status", "200"), ("upgrade", "h3")],
        [(":status", "200"), ("x a", "b")],
        [(":status", "200"), ("x-a", "b\x00c")],
        [(":status", "200"), ("x-a", "b\r\nx-c: d")],
        [(":status", "200"), ("te", "gzip")],
        [(":status", "200"), ("content-length", "-1")],
        [(":status", "200"), ("content-length", "1"), ("content-length", "1")],
        [(":status", "200"), (":status", "200")],
        [(":status", "200"), (":path", "/")],
        [(":status", "200"), ("x-a", "b"), (":status", "200")],
        [(":status", "2000")],
        [(":status", "20")],
        [(":status", "abc")],
        [(":status", "000")],
        [(":status", "101")],
        [("x-a", "b")],
    ],
    ids=lambda pairs: " ".join(f"{name}={value!r}" for name, value in pairs),
)
def test_a_head_that_breaks_the_rules(pairs):
    async def script(wire: H2Wire, request: H2Request) -> None:
        block = wire.h2.encoder.encode(pairs)
        await wire.raw(HeadersFrame(request.stream, block, flags=["END_HEADERS"]))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.PROTOCOL)
            await until(lambda: fetch.in_flight() == 0)
            await asyncio.to_thread(origin.wait_for, lambda o: o.requests[0].reset == PROTOCOL_ERROR)

    with H2Origin(script) as origin:
        run(main())


@pytest.mark.parametrize(
    ("head", "then"),
    [
        ([("content-length", "5")], [b"four"]),
        ([("content-length", "3")], [b"four"]),
        ([("content-length", "300000")], [b"four"]),
        ([], [b"x", [(":status", "200")]]),
        ([], [b"x", [("x-a", "b\x00")]]),
        ([], [b"x", [("connection", "x")]]),
        ([], [b"x", [("content-length", "1")]]),
    ],
    ids=["short", "long", "far too short", "status behind", "control behind", "hop behind", "length behind"],
)
def test_a_body_that_breaks_the_rules(head, then):
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request, head)
        await wire.raw(DataFrame(request.stream, then[0], flags=["END_STREAM"] if len(then) == 1 else []))
        if len(then) > 1:
            block = wire.h2.encoder.encode(then[1])
            await wire.raw(HeadersFrame(request.stream, block, flags=["END_HEADERS", "END_STREAM"]))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.PROTOCOL)
            assert (await fetch(context(path=b"/good"))).body == b"hello"

    async def either(wire: H2Wire, request: H2Request) -> None:
        await (hello if request.path == "/good" else script)(wire, request)

    with H2Origin(either) as origin:
        run(main())
    assert origin.connections == 1


def test_too_many_interim_answers():
    async def script(wire: H2Wire, request: H2Request) -> None:
        for _ in range(40):
            await wire.head(request, status="103")

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.PROTOCOL)
            assert "interim" in error.detail

    with H2Origin(script) as origin:
        run(main())


def test_a_head_that_is_too_large_ends_its_stream_and_a_huge_one_the_connection():
    async def script(wire: H2Wire, request: H2Request) -> None:
        count = int(request.path[1:])
        await wire.head(request, [(f"x-{n}", "y" * 1000) for n in range(count)], end=True)

    async def main():
        async with fetching(origin.url, protocol="h2", header_bytes=16_000) as fetch:
            assert (await fetch(context(path=b"/10"))).status == 200
            error = await failure(fetch, context(path=b"/20"))
            assert (error.status, error.fault) == (502, Fault.RESPONSE_HEADER_SIZE)
            assert (await fetch(context(path=b"/10"))).status == 200
            assert origin.connections == 1
            error = await failure(fetch, context(path=b"/200"))
            assert (error.status, error.fault) == (502, Fault.PROTOCOL)
            assert (await fetch(context(path=b"/10"))).status == 200
            assert origin.connections == 2

    with H2Origin(script) as origin:
        run(main())


@pytest.mark.parametrize(
    "frames",
    [
        lambda r: [HeadersFrame(r.stream), *(ContinuationFrame(r.stream) for _ in range(100))],
        lambda r: [PingFrame(0, bytes(8)) for _ in range(5000)],
        lambda r: [SettingsFrame(0) for _ in range(5000)],
        lambda r: [DataFrame(r.stream) for _ in range(5000)],
    ],
    ids=["CONTINUATION", "PING", "SETTINGS", "empty DATA"],
)
def test_a_flood_of_frames_ends_the_connection(frames):
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/good":
            await hello(wire, request)
            return
        if isinstance(frames(request)[0], DataFrame):
            await wire.head(request)
        await wire.raw(*frames(request))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.PROTOCOL)
            assert (await fetch(context(path=b"/good"))).body == b"hello"
        assert origin.connections == 2

    with H2Origin(script) as origin:
        run(main())
        origin.wait_for(lambda origin: not origin.open_connections)


@pytest.mark.parametrize("length", [LENGTH, None], ids=["announced", "unannounced"])
def test_a_body_larger_than_allowed(length):
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request, [length] if length else [])
        await wire.data(request, bytes(1_000_000), end=True)

    async def main():
        async with fetching(origin.url, protocol="h2", response_bytes=100_000) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.RESPONSE_BODY_SIZE)
            assert "`max_response`" in error.detail

    with H2Origin(script) as origin:
        run(main())


# what was not begun with is asked again


def test_a_refused_request_is_sent_again_body_and_all():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if len(origin.requests) == 1:
            await wire.until(lambda: len(request.body) >= 30_000)
            await wire.reset(request, REFUSED_STREAM)
        else:
            await wire.answer(request, await wire.whole(request))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            ctx = context(b"POST", body=Upload([b"a" * 20_000, b"b" * 20_000]))
            assert (await fetch(ctx)).body == b"a" * 20_000 + b"b" * 20_000
            assert ctx.retries == 1

    with H2Origin(script) as origin:
        run(main())
    assert len(origin.requests) == 2


def test_a_request_that_is_refused_twice_or_too_late_fails():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/large":
            await wire.until(lambda: len(request.body) > 100_000)
        await wire.reset(request, REFUSED_STREAM)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (503, Side.ORIGIN, Fault.UNAVAILABLE)
            assert error.retryable  # by another server of its group
            assert len(origin.requests) == 2
            upload = Upload(bytes(10_000) for _ in range(100))
            error = await failure(fetch, context(b"POST", b"/large", body=upload))
            assert (error.status, error.fault, error.retryable) == (503, Fault.UNAVAILABLE, False)
            assert len(origin.requests) == 3
            await until(lambda: upload.closed)

    with H2Origin(script) as origin:
        run(main())


def test_behind_a_goaway_streams_end_and_what_it_does_not_name_is_asked_elsewhere():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/second" and request.connection == 1:
            await wire.until(lambda: request.body)
            await wire.goaway(last=1)
            first = wire.requests[1]
            await wire.data(first, b" and late", end=True)
        elif request.path == "/first":
            await wire.head(request)
            await wire.data(request, b"early")
        else:
            await wire.answer(request, await wire.whole(request))

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            first = await fetch(context(path=b"/first"))
            ctx = context(b"POST", b"/second", body=Upload([b"once more"]))
            second = await fetch(ctx)
            assert second.body == b"once more"
            assert ctx.retries == 1
            assert await read_all(first.body) == b"early and late"
            await until(lambda: origin.open_connections == 1)

    with H2Origin(script) as origin:
        run(main())
    assert [request.connection for request in origin.requests] == [1, 1, 2]


def test_a_graceful_goaway_lets_all_end_and_takes_nothing_new():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.connection == 1:
            await wire.goaway(last=2**31 - 1, words=b"restart")
            await wire.stall()
        await wire.answer(request, b"%d" % request.connection)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            first = asyncio.create_task(fetch(context()))
            await until(lambda: origin.stalled == 1)
            await until(lambda: not fetch.pool.connections[0].room)
            assert (await fetch(context())).body == b"2"
            origin.release()
            assert (await first).body == b"1"
            await until(lambda: origin.open_connections == 1)

    with H2Origin(script) as origin:
        run(main())


def test_an_origin_that_always_goes_away_is_not_asked_for_ever():
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.goaway(last=0, code=CALM, words=b"too_many_pings")

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.TERMINATED)
            assert "too_many_pings" in error.detail

    with H2Origin(script) as origin:
        run(main())
    assert len(origin.requests) == 2


# connections


def test_a_lost_connection_fails_what_was_on_it_and_only_a_stale_one_is_asked_again():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/begun":
            await wire.head(request, [LENGTH])
        elif request.path == "/cut":
            wire.cut()
        elif request.path == "/stale" and request.connection == 1:
            wire.cut()
        else:
            await hello(wire, request)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            assert (await fetch(context())).body == b"hello"
            ctx = context(path=b"/stale")
            assert (await fetch(ctx)).body == b"hello"
            assert ctx.retries == 1
            begun = await fetch(context(path=b"/begun"))
            error = await failure(fetch, context(b"POST", b"/cut", body=Upload([b"x"])))
            assert (error.status, error.fault, error.retryable) == (502, Fault.TERMINATED, False)
            with pytest.raises(EdgeError) as caught:
                await read_all(begun.body)
            assert caught.value.fault is Fault.INCOMPLETE
            await until(lambda: not fetch.pool.connections)

    with H2Origin(script) as origin:
        run(main())


async def silent(wire: H2Wire) -> None:
    await wire.reader.read(100)
    await wire.stall()


async def http1(wire: H2Wire) -> None:
    await wire.reader.read(100)
    await wire.raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await wire.stall()


async def closing(wire: H2Wire) -> None:
    wire.cut()


async def going(wire: H2Wire) -> None:
    await wire.raw(SettingsFrame(0))
    await wire.goaway(0)


async def closed_to_all(wire: H2Wire) -> None:
    await wire.raw(SettingsFrame(0, settings={3: 0}))
    await wire.stall()


@pytest.mark.parametrize(
    ("on_connect", "status", "fault"),
    [
        (silent, 504, Fault.CONNECT_TIMEOUT),
        (http1, 502, Fault.PROTOCOL),
        (closing, 502, Fault.TERMINATED),
        (going, 502, Fault.TERMINATED),
        (closed_to_all, 503, Fault.CONNECTION_LIMIT),
    ],
)
def test_what_is_no_http2_is_no_connection(on_connect, status, fault):
    async def main():
        limit_s = 0.3 if fault is Fault.CONNECT_TIMEOUT else 30
        async with fetching(origin.url, protocol="h2", connect_timeout_s=limit_s, retries=0) as fetch:
            errors = await asyncio.gather(*(failure(fetch) for _ in range(3)))
            for error in errors:
                assert (error.status, error.side, error.fault) == (status, Side.ORIGIN, fault)
                assert error.retryable
            await until(lambda: not fetch.pool.dialing)

    with H2Origin(hello, on_connect=on_connect) as origin:
        run(main())


def test_a_server_that_is_not_there():
    async def main():
        async with fetching("http://127.0.0.1:9", protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.CONNECT_REFUSED)
            assert error.retryable

    run(main())


def test_a_stuck_stream_fails_alone():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/stuck":
            await wire.stall()
        elif request.path == "/half":
            await wire.head(request, [LENGTH])
            await wire.stall()
        else:
            await hello(wire, request)

    async def main():
        async with fetching(origin.url, protocol="h2", first_byte_timeout_s=0.5, idle_timeout_s=0.5) as fetch:
            stuck, half = (
                asyncio.create_task(failure(fetch, context(path=p))) for p in (b"/stuck", b"/half")
            )
            while not (stuck.done() and half.done()):
                assert (await fetch(context())).body == b"hello"
                await asyncio.sleep(0.01)
            assert (stuck.result().status, stuck.result().fault) == (504, Fault.RESPONSE_TIMEOUT)
            assert (half.result().status, half.result().fault) == (504, Fault.READ_TIMEOUT)
        assert origin.connections == 1

    with H2Origin(script) as origin:
        run(main())


def test_a_silent_connection_gets_no_new_requests():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.connection == 1:
            wire.reading.clear()
            await wire.stall()
        await hello(wire, request)

    async def main():
        async with fetching(origin.url, protocol="h2", first_byte_timeout_s=0.3) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (504, Fault.RESPONSE_TIMEOUT)
            assert (await fetch(context())).body == b"hello"
        assert origin.connections == 2

    with H2Origin(script) as origin:
        run(main())


def test_a_peer_that_answers_no_ping_is_dead(monkeypatch):
    monkeypatch.setattr(h2_connection, "PING_AFTER_S", 0.2)
    monkeypatch.setattr(h2_connection, "PING_WAIT_S", 0.2)

    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/dead":
            wire.reading.clear()
        await wire.stall()
        await hello(wire, request)

    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch, context(path=b"/dead"))
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.TERMINATED)
            assert "PING" in error.detail
            await until(lambda: not fetch.pool.connections)
            alive = asyncio.create_task(fetch(context(path=b"/alive")))
            await until(lambda: bool(fetch.pool.connections) and fetch.pool.connections[0].pinged_ns > 0)
            await until(lambda: fetch.pool.connections[0].heard_ns > fetch.pool.connections[0].pinged_ns)
            await asyncio.sleep(0.6)  # silent again, and not asked again: many PINGs are an attack
            assert fetch.pool.connections[0].heard_ns > fetch.pool.connections[0].pinged_ns
            origin.release()
            assert (await alive).body == b"hello"

    with H2Origin(script) as origin:
        run(main())
    assert origin.connections == 2


# flow control


def test_a_client_that_reads_nothing_holds_a_window_and_no_connection():
    async def script(wire: H2Wire, request: H2Request) -> None:
        if request.path == "/good":
            await wire.answer(request, b"good")
        else:
            await wire.head(request)
            await wire.data(request, bytes(2_000_000), end=True)

    async def main():
        async with fetching(origin.url, protocol="h2", idle_timeout_s=0.2) as fetch:
            slow = [await fetch(context()) for _ in range(5)]
            window = 5 * h2_connection.WINDOW_BYTES
            await until(lambda: origin.sent_bytes == window)
            assert (await fetch(context(path=b"/good"))).body == b"good"
            await asyncio.sleep(0.5)  # it is not the origin who is slow
            assert origin.sent_bytes == window + len(b"good")
            for response in slow:
                assert len(await read_all(response.body)) == 2_000_000
        assert origin.connections == 1

    with H2Origin(script) as origin:
        run(main())


def test_an_origin_that_gives_no_window_stops_the_upload_and_then_fails_it():
    async def main():
        async with fetching(origin.url, protocol="h2", idle_timeout_s=0.5) as fetch:
            upload = Upload(bytes(10_000) for _ in range(1000))
            error = await failure(fetch, context(b"POST", body=upload))
            assert (error.status, error.fault) == (504, Fault.WRITE_TIMEOUT)
            assert upload.read_bytes <= 65_535 + 2 * 10_000
            await until(lambda: upload.closed)

    with H2Origin(hello, gives_windows=False) as origin:
        run(main())
    assert origin.read_bytes == 65_535


def test_an_origin_that_reads_nothing_stops_the_upload():
    async def script(wire: H2Wire, request: H2Request) -> None:
        wire.reading.clear()
        await wire.stall()

    async def main():
        async with fetching(origin.url, protocol="h2", idle_timeout_s=0.5) as fetch:
            upload = Upload(bytes(100_000) for _ in range(1000))
            error = await failure(fetch, context(b"POST", body=upload))
            assert error.status == 504
            assert upload.read_bytes < 20_000_000

    with H2Origin(script, settings={4: 2**31 - 1}) as origin:
        run(main())


def test_the_whole_time_is_limited():
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.head(request)
        while request.reset is None:
            await wire.data(request, b"x")
            await asyncio.sleep(0.02)

    async def main():
        async with fetching(origin.url, protocol="h2", total_timeout_s=0.3) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (504, Fault.RESPONSE_TIMEOUT)
            assert "`total_timeout`" in error.detail

    with H2Origin(script) as origin:
        run(main())
