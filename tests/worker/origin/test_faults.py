"""Whatever an origin does wrong becomes the right EdgeError, and a retry happens only where it is safe."""

import asyncio
import socket
from contextlib import suppress

import pytest

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer, chunked, script
from worker.errors import EdgeError
from worker.origin.body import Body
from worker.reasons import Fault, Side

HEAD = b"HTTP/1.1 200 OK\r\n"
LARGE = HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(1000)


def shown(value: object) -> str:
    """A parameter as part of a test's name."""
    if isinstance(value, list):
        return " ".join(map(shown, value))
    return repr(value[-30:])[2:-1] if isinstance(value, bytes) else str(value)


async def failure(fetch, ctx=None) -> EdgeError:
    """The error of a fetch, or of reading its body."""
    with pytest.raises(EdgeError) as caught:
        await read_all((await fetch(ctx or context())).body)
    assert str(fetch.settings.port) in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    ("steps", "status", "fault"),
    [
        (["close"], 502, Fault.TERMINATED),
        (["reset"], 502, Fault.TERMINATED),
        ([HEAD, "close"], 502, Fault.INCOMPLETE),
        ([HEAD + b"X-A: ", "reset"], 502, Fault.INCOMPLETE),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n", "close"], 502, Fault.INCOMPLETE),
        ([answer(b"hello")[:-1], "close"], 502, Fault.INCOMPLETE),
        ([answer(b"hello")[:-1], "reset"], 502, Fault.INCOMPLETE),
        ([LARGE, "close"], 502, Fault.INCOMPLETE),
        ([LARGE, 0.05, "reset"], 502, Fault.INCOMPLETE),
        ([chunked(b"hello")[:-1], "close"], 502, Fault.INCOMPLETE),
        ([chunked(b"hello")[:-7], "reset"], 502, Fault.INCOMPLETE),
        ([HEAD + b"\r\nhello", 0.05, "reset"], 502, Fault.INCOMPLETE),
        (["stall"], 504, Fault.RESPONSE_TIMEOUT),
        ([HEAD, "stall"], 504, Fault.RESPONSE_TIMEOUT),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", "stall"], 504, Fault.RESPONSE_TIMEOUT),
        ([answer(b"hello")[:-1], "stall"], 504, Fault.READ_TIMEOUT),
        ([LARGE, "stall"], 504, Fault.READ_TIMEOUT),
        ([chunked(b"hello")[:-1], "stall"], 504, Fault.READ_TIMEOUT),
        ([HEAD + b"\r\nhello", "stall"], 504, Fault.READ_TIMEOUT),
    ],
    ids=shown,
)
def test_an_origin_that_breaks_off_or_stalls(steps, status, fault):
    async def main():
        # Only the limit that is to strike is short, so that a slow machine cannot hit the other.
        first_byte_s = 0.3 if fault is Fault.RESPONSE_TIMEOUT else 30
        idle_s = 0.3 if fault is Fault.READ_TIMEOUT else 30
        async with fetching(origin.url, first_byte_timeout_s=first_byte_s, idle_timeout_s=idle_s) as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (status, Side.ORIGIN, fault)
            assert not error.retryable
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([script(*steps)]) as origin:
        run(main())
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (b"garbage garbage garbage", Fault.PROTOCOL),
        (b"\x16\x03\x01\x02\x00\x01\x00", Fault.PROTOCOL),
        (b"HTTP/2 200 OK\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 20 OK\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1  200 OK\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\nA: b\n\n", Fault.PROTOCOL),
        (b"HTTP/1.1 200 O\x00K\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", Fault.PROTOCOL),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"Content-Length: -1\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"Content-Length: 1, 1\r\n\r\nx", Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"A : b\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"A: b\r\n c\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"A: b\x00\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"no colon\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + answer(), Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\x00\r\n\r\n", Fault.PROTOCOL),
        (HEAD + b"A: b\r\n" * 20_000 + b"\r\n", Fault.RESPONSE_HEADER_SIZE),
        (HEAD + b"A: " + b"b" * 70_000, Fault.RESPONSE_HEADER_SIZE),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 50_000, Fault.PROTOCOL),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300_000, Fault.PROTOCOL),
    ],
    ids=shown,
)
def test_an_answer_that_breaks_the_rules(reply, fault):
    async def main():
        async with fetching(origin.url) as fetch:
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, fault)
            await until(lambda: not fetch.pool.connections)

    # The stall shows that the fault is seen when it is there, not when the origin closes.
    with ScriptedOrigin([script(reply, "stall")]) as origin:
        run(main())


def test_an_endless_head_is_cut_at_the_limit():
    async def main():
        async with fetching(origin.url, header_bytes=8192) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.RESPONSE_HEADER_SIZE)

    async def endless(wire: Wire) -> None:
        await wire.write(HEAD)
        while True:
            await wire.write(b"X-Endless: yes\r\n" * 10)

    with ScriptedOrigin([endless]) as origin:
        run(main())


def test_bytes_before_a_broken_end_are_delivered_first():
    async def main():
        async with fetching(origin.url) as fetch:
            response = await fetch(context())
            assert isinstance(response.body, Body)
            assert await response.body.read() == bytes(1000)
            origin.release()
            with pytest.raises(EdgeError) as caught:
                await response.body.read()
            assert caught.value.fault is Fault.INCOMPLETE
            with pytest.raises(EdgeError):
                await response.body.read()

    with ScriptedOrigin([script(LARGE, "stall", "close")]) as origin:
        run(main())


def test_a_slow_reader_is_not_taken_for_a_stalled_origin():
    async def main():
        async with fetching(origin.url, idle_timeout_s=0.5) as fetch:
            response = await fetch(context())
            await asyncio.sleep(1.2)
            assert len(await read_all(response.body)) == 8_000_000

    with ScriptedOrigin([answer(bytes(8_000_000))]) as origin:
        run(main())


def test_an_origin_that_takes_no_request_body_times_out():
    async def main():
        async with fetching(origin.url, idle_timeout_s=0.3) as fetch:
            upload = Upload((bytes(65536) for _ in range(1024)), 65536 * 1024)
            error = await failure(fetch, context(b"PUT", body=upload))
            assert (error.status, error.fault) == (504, Fault.WRITE_TIMEOUT)
            assert "request body" in error.detail
            await until(lambda: upload.closed)

    with ScriptedOrigin([script("stall")], read_body=False) as origin:
        run(main())


def test_the_time_for_the_first_byte_starts_when_the_request_has_left():
    async def main():
        async with fetching(origin.url, first_byte_timeout_s=0.5) as fetch:
            upload = Upload([b"abc"])
            upload.gate = asyncio.Event()
            task = asyncio.create_task(fetch(context(b"POST", body=upload)))
            await asyncio.sleep(1)
            assert not task.done()
            upload.gate.set()
            assert (await task).body == b"x"

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


# connecting


def test_a_refused_connection_is_tried_again_as_often_as_configured():
    port = free_port()

    async def main(retries: int):
        async with fetching(f"http://127.0.0.1:{port}", retries=retries) as fetch:
            ctx = context(b"POST", body=Upload([b"abc"], 3))
            error = await failure(fetch, ctx)
            assert (error.status, error.side, error.fault) == (502, Side.ORIGIN, Fault.CONNECT_REFUSED)
            assert error.retryable
            assert ctx.retries == retries
            assert ctx.request.body.read_bytes == 0

    run(main(0))
    run(main(2))


def test_a_connection_that_does_not_come_about_in_time():
    # A full accept queue: Linux then ignores further connection requests.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)

            async def main():
                url = f"http://127.0.0.1:{address[1]}"
                async with fetching(url, connect_timeout_s=0.3, retries=0) as fetch:
                    error = await failure(fetch)
                    assert (error.status, error.fault) == (504, Fault.CONNECT_TIMEOUT)
                    assert error.retryable

            run(main())
        finally:
            for filler in fillers:
                filler.close()


def test_a_cancelled_connect_leaves_nothing_behind():
    async def main():
        async with fetching(origin.url) as fetch:
            for turns in range(6):
                task = asyncio.create_task(fetch(context()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            fetch.close()
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([answer()]) as origin:
        run(main())
        origin.wait_for(lambda o: o.open_connections == 0)


# retries


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
def test_a_dead_reused_connection_is_replaced_for_idempotent_requests(method, end):
    async def main():
        async with fetching(origin.url, retries=0) as fetch:
            await fetch(context())
            ctx = context(method)
            assert (await fetch(ctx)).status == 204
            assert ctx.retries == 1

    with ScriptedOrigin([answer(b"x"), script(end), b"HTTP/1.1 204 No Content\r\n\r\n"]) as origin:
        run(main())
    assert [r.connection for r in origin.requests] == [1, 1, 2]


@pytest.mark.parametrize(
    ("method", "body"),
    [(b"POST", None), (b"POST", b"abc"), (b"PUT", b"abc"), (b"PATCH", None), (b"PROPFIND", None)],
)
def test_what_could_have_been_acted_upon_is_not_sent_twice(method, body):
    async def main():
        async with fetching(origin.url, retries=3) as fetch:
            await fetch(context())
            upload = None if body is None else Upload([body], len(body))
            ctx = context(method, body=upload)
            error = await failure(fetch, ctx)
            assert (error.status, error.fault, ctx.retries) == (502, Fault.TERMINATED, 0)

    with ScriptedOrigin([answer(b"x"), script("close")]) as origin:
        run(main())
    assert len(origin.requests) == 2


def test_a_second_death_is_not_retried():
    async def main():
        async with fetching(origin.url, retries=3) as fetch:
            await asyncio.gather(*(fetch(context()) for _ in range(3)))
            ctx = context()
            assert (await failure(fetch, ctx)).fault is Fault.TERMINATED
            assert ctx.retries == 1

    with ScriptedOrigin([answer(b"x")] * 3 + [script("close")]) as origin:
        run(main())
    assert [r.connection for r in origin.requests[3:]][-1] == 4  # the retry did not take another idle one
    assert len(origin.requests) == 5


def test_an_answer_that_had_begun_is_not_asked_for_again():
    async def main():
        async with fetching(origin.url) as fetch:
            await fetch(context())
            assert (await failure(fetch)).fault is Fault.INCOMPLETE

    with ScriptedOrigin([answer(b"x"), script(b"HTTP/1.1", 0.05, "close")]) as origin:
        run(main())
    assert len(origin.requests) == 2


def test_a_stall_on_a_reused_connection_is_not_retried():
    async def main():
        async with fetching(origin.url, first_byte_timeout_s=0.5) as fetch:
            await fetch(context())
            assert (await failure(fetch)).fault is Fault.RESPONSE_TIMEOUT

    with ScriptedOrigin([answer(b"x"), script("stall")]) as origin:
        run(main())
    assert len(origin.requests) == 2


def test_a_connection_closed_while_idle_is_not_used():
    async def main():
        async with fetching(origin.url) as fetch:
            await fetch(context())
            await until(lambda: not fetch.pool.connections)
            ctx = context()
            assert (await fetch(ctx)).body == b"x"
            assert ctx.retries == 0

    with ScriptedOrigin([script(answer(b"x"), "close")]) as origin:
        run(main())
