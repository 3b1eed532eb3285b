"""What bounds one answer as a whole: its time from the request on, and the size of its body."""

import asyncio

import pytest

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.scripted_origin import ScriptedOrigin, answer, chunked, script
from worker.errors import EdgeError
from worker.origin.body import Body
from worker.reasons import Fault, Side

HEAD = b"HTTP/1.1 200 OK\r\n"
LARGE = HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(1000)


async def failure(fetch, ctx=None) -> EdgeError:
    """The error of a fetch, or of reading its body."""
    with pytest.raises(EdgeError) as caught:
        await read_all((await fetch(ctx or context())).body)
    assert caught.value.side is Side.ORIGIN
    return caught.value


# total_timeout


@pytest.mark.parametrize(
    "steps",
    [
        ["stall"],
        [HEAD, "stall"],
        [answer(b"hello")[:-1], "stall"],
        [LARGE, "stall"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "stall"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", "stall"],
    ],
    ids=["no head", "half a head", "a short body", "a large body", "a chunked body", "early hints"],
)
def test_an_answer_that_takes_too_long_as_a_whole(steps):
    async def main():
        async with fetching(origin.url, total_timeout_s=0.3) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault, error.retryable) == (504, Fault.RESPONSE_TIMEOUT, False)
            assert "no complete answer within 0.3 s (`total_timeout`)" in error.detail
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([script(*steps)]) as origin:
        run(main())
    assert len(origin.requests) == 1


def test_a_body_that_keeps_coming_is_cut_in_the_end():
    async def trickle(wire):
        await wire.write(LARGE)
        while True:
            await wire.write(b"x")
            await wire.pause(0.02)

    async def main():
        async with fetching(origin.url, total_timeout_s=0.3, idle_timeout_s=30) as fetch:
            response = await fetch(context())
            assert isinstance(response.body, Body)
            with pytest.raises(EdgeError) as caught:
                await read_all(response.body)
            assert caught.value.fault is Fault.RESPONSE_TIMEOUT

    with ScriptedOrigin([trickle]) as origin:
        run(main())


def test_the_time_counts_for_each_request_anew():
    async def main():
        async with fetching(origin.url, total_timeout_s=0.4) as fetch:
            for _ in range(3):
                assert (await fetch(context())).body == b"x"
                await asyncio.sleep(0.25)
        assert origin.connections == 1

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


def test_waiting_for_a_connection_counts():
    async def main():
        async with fetching(origin.url, total_timeout_s=0.3, connections=1) as fetch:
            holder = await fetch.pool.connect()
            error = await failure(fetch)
            assert (error.status, error.fault) == (504, Fault.RESPONSE_TIMEOUT)
            assert not fetch.pool.waiting
            holder.abandon()

    with ScriptedOrigin([script("stall")]) as origin:
        run(main())
    assert not origin.requests


def test_sending_the_request_counts():
    async def main():
        async with fetching(origin.url, total_timeout_s=0.3) as fetch:
            upload = Upload([b"abc"])
            upload.gate = asyncio.Event()
            error = await failure(fetch, context(b"POST", body=upload))
            assert (error.status, error.fault) == (504, Fault.RESPONSE_TIMEOUT)
            await until(lambda: upload.closed)

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


# max_response


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(bytes(1001)), "a body of 1001 bytes is announced, more than the 1000 it may have"),
        (answer(bytes(10**6)), "a body of 1000000 bytes is announced, more than the 1000 it may have"),
        (chunked(bytes(600), bytes(401)), "the body has more than the 1000 it may have"),
        (HEAD + b"\r\n" + bytes(1001), "the body has more than the 1000 it may have"),
    ],
    ids=["announced", "announced and large", "chunked", "until the end"],
)
def test_a_body_that_is_too_large(reply, words):
    async def main():
        async with fetching(origin.url, response_bytes=1000) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.RESPONSE_BODY_SIZE)
            assert f"{words} (`max_response`)" in error.detail
            await until(lambda: not fetch.pool.connections)

    with ScriptedOrigin([script(reply, "stall")]) as origin:
        run(main())


def test_a_body_of_unknown_size_is_passed_on_up_to_the_limit():
    async def main():
        async with fetching(origin.url, response_bytes=1000) as fetch:
            response = await fetch(context())
            assert await response.body.read() == bytes(900)
            origin.release()
            with pytest.raises(EdgeError) as caught:
                await response.body.read()
            assert caught.value.fault is Fault.RESPONSE_BODY_SIZE

    first, second = chunked(bytes(900))[:-5], b"65\r\n" + bytes(101) + b"\r\n0\r\n\r\n"
    with ScriptedOrigin([script(first, "stall", second)]) as origin:
        run(main())


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        (b"GET", answer(bytes(1000))),
        (b"GET", chunked(bytes(600), bytes(400))),
        (b"GET", HEAD + b"Connection: close\r\n\r\n" + bytes(1000)),
        (b"HEAD", HEAD + b"Content-Length: 1001\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1001\r\n\r\n"),
    ],
    ids=["announced", "chunked", "until the end", "HEAD", "304"],
)
def test_a_body_that_is_not_too_large(method, reply):
    async def main():
        async with fetching(origin.url, response_bytes=1000) as fetch:
            response = await fetch(context(method))
            body = await read_all(response.body)
            assert len(body) in (0, 1000)

    with ScriptedOrigin([script(reply, "close")]) as origin:
        run(main())
