"""One request to a real socket and back: bodies of every framing, reuse, retries, forwarding."""

import asyncio

import pytest

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer, chunked, script
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.origin.body import HIGH_WATER_BYTES, Body
from worker.origin.connection import WHOLE_BYTES
from worker.reasons import Fault, Side

MIB = 1024 * 1024


def test_a_small_answer_comes_whole_as_bytes():
    async def main():
        async with fetching(origin.url) as fetch:
            ctx = context(path=b"/a", query=b"x=1")
            response = await fetch(ctx)
            assert (response.status, response.body, response.length) == (200, b"hello", 5)
            assert response.fields.get(b"x-color") == b"blue"
            assert ctx.origin == origin.url
            assert (ctx.forwarded_status, ctx.retries) == (200, 0)
            assert ctx.connect_ns > 0
            assert ctx.first_byte_ns > 0

    with ScriptedOrigin([answer(b"hello", headers="X-Color: blue")]) as origin:
        run(main())
    assert (origin.requests[0].method, origin.requests[0].target) == ("GET", "/a?x=1")


def test_connections_are_kept_and_used_again():
    async def main():
        async with fetching(origin.url) as fetch:
            for _ in range(5):
                ctx = context()
                assert (await fetch(ctx)).body == b"hello"
            assert ctx.connect_ns == 0

    with ScriptedOrigin([answer(b"hello")]) as origin:
        run(main())
    assert (len(origin.requests), origin.connections) == (5, 1)


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"x", headers="Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        answer(b"x") + b"surplus",
        answer(b"x") + answer(b"y"),
        chunked(b"x") + b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["close", "http-1.0", "surplus", "answer-not-asked-for", "surplus-behind-chunks"],
)
def test_a_connection_that_may_not_be_used_again_is_not(reply):
    async def main():
        async with fetching(origin.url) as fetch:
            for _ in range(2):
                assert (await fetch(context())).body == b"x"

    with ScriptedOrigin([reply]) as origin:
        run(main())
    assert origin.connections == 2


def test_http_1_0_with_keep_alive_is_used_again():
    async def main():
        async with fetching(origin.url) as fetch:
            for _ in range(2):
                assert (await fetch(context())).body == b"x"

    reply = b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx"
    with ScriptedOrigin([reply]) as origin:
        run(main())
    assert origin.connections == 1


def test_the_last_used_connection_is_taken_first():
    async def main():
        async with fetching(origin.url) as fetch:
            first, second = await asyncio.gather(fetch(context(path=b"/1")), fetch(context(path=b"/2")))
            assert (first.body, second.body) == (b"x", b"x")
            newest = fetch.pool.idle[-1]
            await fetch(context())
            assert fetch.pool.idle[-1] is newest

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())
    assert origin.connections == 2


def test_no_more_idle_connections_are_kept_than_configured():
    async def main():
        async with fetching(origin.url, keepalive_connections=2) as fetch:
            await asyncio.gather(*(fetch(context()) for _ in range(6)))
            assert len(fetch.pool.idle) == 2
            await until(lambda: len(fetch.pool.connections) == 2)

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


def test_idle_connections_expire():
    async def main():
        async with fetching(origin.url, keepalive_s=0.1) as fetch:
            await fetch(context())
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())
        origin.wait_for(lambda o: o.open_connections == 0)


def test_the_origins_own_keep_alive_timeout_is_respected():
    async def main():
        async with fetching(origin.url) as fetch:
            await fetch(context())
            await until(lambda: not fetch.pool.connections)

    reply = answer(b"x", headers=["Connection: keep-alive", "Keep-Alive: timeout=1, max=100"])
    with ScriptedOrigin([reply]) as origin:
        run(main())


def test_unsolicited_bytes_on_an_idle_connection_end_it():
    async def main():
        async with fetching(origin.url) as fetch:
            await fetch(context())
            origin.release()
            await until(lambda: not fetch.pool.connections)
            assert (await fetch(context())).body == b"x"

    unasked = script(answer(b"x"), "stall", answer(b"evil"))
    with ScriptedOrigin([unasked, answer(b"x")]) as origin:
        run(main())
    assert origin.connections == 2


def test_more_connections_than_the_limit_are_refused():
    async def main():
        async with fetching(origin.url, connections=1, queue=0) as fetch:
            first = asyncio.create_task(fetch(context()))
            await until(lambda: len(origin.requests) == 1)
            with pytest.raises(EdgeError) as caught:
                await fetch(context())
            assert (caught.value.status, caught.value.fault) == (503, Fault.CONNECTION_LIMIT)
            assert caught.value.retryable
            origin.release()
            assert (await first).body == b"x"

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


@pytest.mark.parametrize(
    ("method", "reply", "status", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, 5),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, 7),
    ],
    ids=["head", "head-chunked", "204", "304"],
)
def test_answers_that_have_no_body_end_with_their_head(method, reply, status, length):
    async def main():
        async with fetching(origin.url) as fetch:
            for _ in range(2):
                response = await fetch(context(method))
                assert (response.status, response.body, response.length) == (status, None, length)

    with ScriptedOrigin([reply]) as origin:
        run(main())
    assert origin.connections == 1


def test_an_empty_body_is_empty_bytes():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            assert (response.body, response.length) == (b"", 0)

    with ScriptedOrigin([answer(b"")]) as origin:
        run(main())


def test_get_may_be_asked_for_head():
    async def main():
        async with fetching(origin.url) as fetch:
            assert (await fetch(context(b"HEAD"), method=b"GET")).body == b"hello"

    with ScriptedOrigin([answer(b"hello")]) as origin:
        run(main())
    assert origin.requests[0].method == "GET"


def test_validators_replace_the_clients_own_conditions():
    async def main():
        async with fetching(origin.url) as fetch:
            theirs = [(b"If-None-Match", b'"theirs"'), (b"Range", b"bytes=0-1"), (b"Accept", b"*/*")]
            ctx = context(fields=theirs)
            extra = Fields.of([(b"If-None-Match", b'"ours"')])
            assert (await fetch(ctx, extra, (b"if-none-match", b"range"))).status == 304

    with ScriptedOrigin([b"HTTP/1.1 304 Not Modified\r\n\r\n"]) as origin:
        run(main())
    headers = origin.requests[0].headers
    assert headers["if-none-match"] == '"ours"'
    assert headers["accept"] == "*/*"
    assert "range" not in headers


@pytest.mark.parametrize("size", [WHOLE_BYTES, WHOLE_BYTES + 1])
def test_bodies_up_to_64_kib_are_awaited_whole_and_larger_ones_streamed(size):
    async def main():
        async with fetching(origin.url) as fetch:
            task = asyncio.create_task(fetch(context()))
            origin_stalled = asyncio.to_thread(origin.wait_for, lambda o: o.stalled == 1)
            await origin_stalled
            if size <= WHOLE_BYTES:
                await asyncio.sleep(0.05)
                assert not task.done()
                origin.release()
                assert (await task).body == body
            else:
                response = await task
                assert isinstance(response.body, Body)
                assert response.length == response.body.length == size
                origin.release()
                assert await read_all(response.body) == body
            assert len(fetch.pool.idle) == 1

    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    whole = answer(body)
    with ScriptedOrigin([script(whole[:-10], "stall", whole[-10:])]) as origin:
        run(main())


def test_a_chunked_answer_is_streamed_with_its_trailers():
    async def main():
        async with fetching(origin.url) as fetch:
            for _ in range(2):
                response = await fetch(context())
                assert response.length is None
                body = response.body
                assert isinstance(body, Body)
                assert await read_all(body) == b"a" * 10 + b"b" * 70000
                assert body.trailers is not None
                assert body.trailers.items() == [(b"X-Sum", b"17")]

    trailers = ["X-Sum: 17", "Set-Cookie: a=b"]
    with ScriptedOrigin([chunked(b"a" * 10, b"b" * 70000, trailers=trailers)]) as origin:
        run(main())
    assert origin.connections == 1


def test_a_chunked_answer_that_is_here_at_once_comes_as_bytes():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            assert (response.body, response.length) == (b"hello world", 11)

    with ScriptedOrigin([chunked(b"hello ", b"world")]) as origin:
        run(main())


def test_an_answer_without_a_length_ends_with_its_connection():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            assert response.length is None
            assert await read_all(response.body) == b"hello world"
            assert not fetch.pool.idle

    with ScriptedOrigin([script(b"HTTP/1.1 200 OK\r\n\r\nhello ", 0.02, b"world", "close")]) as origin:
        run(main())


def test_an_answer_in_single_bytes_is_understood():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            assert await read_all(response.body) == b"hello"
            assert response.fields.get(b"x-a") == b"b"

    whole = chunked(b"he", b"llo", headers=["X-A: b"], trailers=["T: u"])
    steps = [step for i in range(len(whole)) for step in (whole[i : i + 1], 0.001)]
    with ScriptedOrigin([script(*steps)]) as origin:
        run(main())


def test_closing_an_unread_stream_closes_its_connection():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            response.body.close()
            response.body.close()
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([script(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "stall")]) as origin:
        run(main())


def test_closing_a_stream_that_has_arrived_keeps_its_connection():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            origin.release()
            await until(lambda: len(fetch.pool.idle) == 1)
            response.body.close()
            assert (await fetch(context())).status == 200

    whole = answer(b"x" * 100_000)
    with ScriptedOrigin([script(whole[:50_000], "stall", whole[50_000:]), answer()]) as origin:
        run(main())
    assert origin.connections == 1


def test_a_large_answer_is_held_back_while_its_reader_is_slow():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            body = response.body
            assert isinstance(body, Body)
            most = 0
            for _ in range(20):
                await asyncio.sleep(0.01)
                most = max(most, body.buffered)
            # The rest is in the kernel's buffers, or still with the origin.
            assert origin.sent_bytes < 48 * MIB
            total = 0
            while piece := await body.read():
                total += len(piece)
                most = max(most, body.buffered)
            assert total == 64 * MIB
            assert HIGH_WATER_BYTES < most <= 2 * HIGH_WATER_BYTES + 1024
            assert (await fetch(context())).status == 204

    async def flood(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await wire.write(bytes(MIB))

    with ScriptedOrigin([flood, b"HTTP/1.1 204 No Content\r\n\r\n"]) as origin:
        run(main())
    assert origin.connections == 1


@pytest.mark.parametrize("length", [32 * MIB, None], ids=["counted", "chunked"])
def test_a_large_request_body_is_pulled_only_as_fast_as_the_origin_takes_it(length):
    async def main():
        async with fetching(origin.url) as fetch:
            upload = Upload((bytes(64 * 1024) for _ in range(512)), length)
            task = asyncio.create_task(fetch(context(b"POST", body=upload)))
            await asyncio.to_thread(origin.wait_for, lambda o: o.stalled == 1)
            await asyncio.sleep(0.2)
            assert upload.read_bytes < 24 * MIB
            origin.release()
            assert (await task).body == b"done"
            assert upload.read_bytes == 32 * MIB
            await until(lambda: upload.closed)
            assert len(fetch.pool.idle) == 1

    async def slow(wire: Wire) -> None:
        await wire.stall()
        ending = b"0\r\n\r\n" if length is None else b""
        wanted = 32 * MIB + 512 * len(b"10000\r\n\r\n") + len(ending) if length is None else 32 * MIB
        while wire.read_bytes < wanted:
            assert await wire.read()
        await wire.write(answer(b"done"))

    with ScriptedOrigin([slow], read_body=False) as origin:
        run(main())
    headers = origin.requests[0].headers
    if length is None:
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers
    else:
        assert headers["content-length"] == str(length)
        assert "transfer-encoding" not in headers


def test_request_trailers_are_forwarded_without_the_forbidden_ones():
    async def main():
        async with fetching(origin.url) as fetch:
            trailers = Fields.of([(b"X-Sum", b"9"), (b"Authorization", b"Basic x"), (b"Host", b"evil")])
            upload = Upload([b"ab", b"c"], None, trailers)
            assert (await fetch(context(b"PUT", body=upload))).status == 200

    with ScriptedOrigin([answer()]) as origin:
        run(main())
    assert origin.requests[0].body == b"abc"
    assert origin.requests[0].trailers == {"x-sum": "9"}


def test_expect_is_not_forwarded_and_100_is_ignored():
    async def main():
        async with fetching(origin.url) as fetch:
            upload = Upload([b"abc"], 3)
            response = await fetch(context(b"POST", fields=[(b"Expect", b"100-continue")], body=upload))
            assert (response.status, response.body) == (200, b"ok")

    with ScriptedOrigin([b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"ok")]) as origin:
        run(main())
    assert "expect" not in origin.requests[0].headers


def test_early_hints_are_told_and_the_final_answer_follows():
    async def main():
        async with fetching(origin.url) as fetch:
            told: list[tuple[int, list[tuple[bytes, bytes]]]] = []
            ctx = context()
            ctx.inform = lambda _ctx, status, fields: told.append((status, fields.items()))
            response = await fetch(ctx)
            assert response.body == b"ok"
            assert told == [(103, [(b"Link", b"</a.css>")])]
            assert (await fetch(context())).body == b"ok"

    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    with ScriptedOrigin([hints + answer(b"ok")]) as origin:
        run(main())


def test_an_early_answer_wins_over_the_rest_of_the_request():
    async def main():
        async with fetching(origin.url) as fetch:
            upload = Upload([b"a" * 1000], 2000)
            upload.gate = asyncio.Event()  # the client never sends the rest
            response = await fetch(context(b"POST", body=upload))
            assert (response.status, response.body) == (413, b"too large")
            await until(lambda: upload.closed)
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([answer(b"too large", "413 Content Too Large")], read_body=False) as origin:
        run(main())


def test_request_and_answer_may_stream_at_the_same_time():
    async def main():
        async with fetching(origin.url) as fetch:
            upload = Upload([b"one"])
            upload.gate = asyncio.Event()
            response = await fetch(context(b"POST", body=upload))
            assert await response.body.read() == b"half"
            upload.gate.set()
            assert await read_all(response.body) == b" and half"

    async def echo(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        seen = b""
        while not seen.endswith(b"0\r\n\r\n"):
            seen += await wire.read()
        await wire.write(b"9\r\n and half\r\n0\r\n\r\n")

    with ScriptedOrigin([echo], read_body=False) as origin:
        run(main())


def test_a_client_that_breaks_off_its_body_ends_the_exchange():
    async def main():
        async with fetching(origin.url) as fetch:
            upload = Upload([b"abc"], 10)
            upload.error = EdgeError(400, Side.CLIENT, Fault.CLIENT_GONE)
            with pytest.raises(EdgeError) as caught:
                await fetch(context(b"POST", body=upload))
            assert caught.value.fault is Fault.CLIENT_GONE
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([answer()]) as origin:
        run(main())
    assert origin.requests == []


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abcdef"]], ids=["shorter", "longer"])
def test_a_request_body_of_another_length_than_announced_never_passes(pieces):
    async def main():
        async with fetching(origin.url) as fetch:
            with pytest.raises(EdgeError) as caught:
                await fetch(context(b"POST", body=Upload(pieces, 5)))
            assert (caught.value.status, caught.value.side) == (400, Side.CLIENT)

    with ScriptedOrigin([answer()]) as origin:
        run(main())
    assert origin.requests == []


def test_a_cancelled_fetch_closes_its_connection():
    async def main():
        async with fetching(origin.url) as fetch:
            task = asyncio.create_task(fetch(context()))
            await until(lambda: origin.stalled == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([script("stall")]) as origin:
        run(main())


@pytest.mark.parametrize("soon", [False, True], ids=["just-before", "just-after"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_fetch_cancelled_when_its_answer_comes_leaves_the_next_one_alone(soon, streamed):
    async def main():
        async with fetching(origin.url) as fetch:
            loop = asyncio.get_running_loop()

            def cancel(ctx: Context, status: int, fields: Fields) -> None:
                # The hints and the answer came in one read: what is scheduled here runs before the fetch
                # wakes up, when its answer is there already.
                if soon:
                    loop.call_soon(task.cancel)
                else:
                    task.cancel()

            ctx = context()
            ctx.inform = cancel
            task = loop.create_task(fetch(ctx))
            with pytest.raises(asyncio.CancelledError):
                await task
            if streamed:
                await until(lambda: not fetch.pool.connections)
            else:
                assert len(fetch.pool.idle) == 1
            assert (await fetch(context())).body == b"x"

    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    stream = script(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "stall")
    with ScriptedOrigin([stream if streamed else hints + answer(b"x"), answer(b"x")]) as origin:
        run(main())
    assert origin.connections == (2 if streamed else 1)


def test_draining_lets_exchanges_finish_and_keeps_no_connection():
    async def main():
        async with fetching(origin.url) as fetch:
            task = asyncio.create_task(fetch(context()))
            await until(lambda: origin.stalled == 1)
            fetch.close()
            closed = asyncio.create_task(fetch.wait_closed())
            await asyncio.sleep(0.05)
            assert not closed.done()
            origin.release()
            assert (await task).body == b"x"
            await closed
            assert (await fetch(context())).body == b"x"
            await fetch.wait_closed()

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


def test_connect_is_refused():
    async def main():
        async with fetching("http://127.0.0.1:9") as fetch:
            with pytest.raises(EdgeError) as caught:
                await fetch(context(b"CONNECT"))
            assert caught.value.status == 501

    run(main())


def test_a_request_that_was_here_before_is_refused():
    async def main():
        async with fetching(origin.url) as fetch:
            with pytest.raises(EdgeError) as caught:
                await fetch(context(fields=[(b"CDN-Loop", b"other, edge-test; id=1")]))
            error = caught.value
            assert (error.status, error.side, error.fault) == (508, Side.CLIENT, Fault.LOOP)
            await fetch(context(fields=[(b"CDN-Loop", b"other")]))

    with ScriptedOrigin([answer()]) as origin:
        run(main())
    assert len(origin.requests) == 1
    assert origin.requests[0].headers["cdn-loop"] == "other, edge-test"
