"""When all connections are in use, requests wait in turn for the next, and no place is ever lost."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.origin_client import context, fetching, read_all, run, until
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer, script
from worker.errors import EdgeError
from worker.reasons import Fault, Side


async def failure(fetch) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await fetch(context())
    assert (caught.value.status, caught.value.side) == (503, Side.ORIGIN)
    assert caught.value.fault is Fault.CONNECTION_LIMIT
    assert caught.value.retryable
    return caught.value


async def queued(fetch, path: bytes) -> asyncio.Task:
    """A request that waits."""
    waiting = len(fetch.pool.waiting)
    task = asyncio.create_task(fetch(context(path=path)))
    await until(lambda: len(fetch.pool.waiting) == waiting + 1)
    return task


def test_a_connection_given_back_goes_to_who_waits_longest():
    async def main():
        async with fetching(origin.url, connections=1) as fetch:
            first = asyncio.create_task(fetch(context(path=b"/first")))
            await until(lambda: len(origin.requests) == 1)
            others = [await queued(fetch, b"/%d" % number) for number in range(5)]
            origin.release()
            await asyncio.gather(first, *others)
        assert [request.target for request in origin.requests] == ["/first", "/0", "/1", "/2", "/3", "/4"]
        assert origin.connections == 1

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


@pytest.mark.parametrize("end", ["close", "reset"])
def test_the_place_of_a_closed_connection_goes_to_who_waits_longest(end):
    async def main():
        async with fetching(origin.url, connections=2) as fetch:
            first = [asyncio.create_task(fetch(context(path=b"/first"))) for _ in range(2)]
            await until(lambda: len(origin.requests) == 2)
            others = [await queued(fetch, b"/%d" % number) for number in range(4)]
            origin.release()
            results = await asyncio.gather(*first, *others, return_exceptions=True)
            assert [type(result) for result in results[:2]] == [EdgeError, EdgeError]
            assert [result.body for result in results[2:]] == [b"x"] * 4
        assert origin.connections == 6

    steps = [script("stall", end)] * 2 + [answer(b"x", headers="Connection: close")]
    with ScriptedOrigin(steps) as origin:
        run(main())


def test_more_than_may_wait_are_refused_at_once():
    async def main():
        async with fetching(origin.url, connections=1, queue=1) as fetch:
            first = asyncio.create_task(fetch(context()))
            await until(lambda: len(origin.requests) == 1)
            second = await queued(fetch, b"/")
            detail = (await failure(fetch)).detail
            assert "all 1 connections a worker may have are in use (`connections`)" in detail
            assert "1 requests wait for one (`queue`)" in detail
            origin.release()
            await asyncio.gather(first, second)

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


def test_waiting_ends_after_a_time():
    async def main():
        async with fetching(origin.url, connections=1, queue_timeout_s=0.05) as fetch:
            first = asyncio.create_task(fetch(context()))
            await until(lambda: len(origin.requests) == 1)
            assert "none became free within 0.05 s (`queue_timeout`)" in (await failure(fetch)).detail
            assert not fetch.pool.waiting
            origin.release()
            assert (await first).body == b"x"
            assert (await fetch(context())).body == b"x"

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


def test_a_cancelled_waiter_leaves_the_queue():
    async def main():
        async with fetching(origin.url, connections=1) as fetch:
            first = asyncio.create_task(fetch(context(path=b"/first")))
            await until(lambda: len(origin.requests) == 1)
            gone = await queued(fetch, b"/gone")
            last = await queued(fetch, b"/last")
            gone.cancel()
            await until(lambda: len(fetch.pool.waiting) == 1)
            origin.release()
            await asyncio.gather(first, last)
        assert [request.target for request in origin.requests] == ["/first", "/last"]

    with ScriptedOrigin([script("stall", answer(b"x"))]) as origin:
        run(main())


@pytest.mark.parametrize("keepalive_s", [30, 0], ids=["given back", "closed"])
def test_no_place_is_lost_whenever_a_waiter_is_cancelled(keepalive_s):
    async def main():
        async with fetching(origin.url, connections=1, keepalive_s=keepalive_s) as fetch:
            for turns in range(30):
                first = asyncio.create_task(fetch(context()))
                await asyncio.sleep(0)
                gone = [asyncio.create_task(fetch(context())) for _ in range(2)]
                last = asyncio.create_task(fetch(context()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in gone:
                    task.cancel()
                for task in gone:
                    with suppress(asyncio.CancelledError):
                        await task
                assert [response.body for response in await asyncio.gather(first, last)] == [b"x", b"x"]
                assert not fetch.pool.waiting
                assert len(fetch.pool.connections) <= 1

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


def test_a_connection_that_dies_on_its_way_to_a_waiter_is_replaced():
    async def main():
        async with fetching(origin.url, connections=1, retries=0) as fetch:
            connection = await fetch.pool.connect()
            second = await queued(fetch, b"/second")
            fetch.pool.give_back(connection)
            connection.abandon()  # before the second is woken
            assert (await second).body == b"x"
        assert [request.connection for request in origin.requests] == [2]

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())


def test_a_body_that_is_still_read_holds_its_connection():
    async def main():
        async with fetching(origin.url, connections=1) as fetch:
            response = await fetch(context())
            second = await queued(fetch, b"/")
            origin.release()
            assert len(await read_all(response.body)) == 1_000_000
            assert len(await read_all((await second).body)) == 1_000_000
        assert origin.connections == 1

    whole = answer(bytes(1_000_000))
    with ScriptedOrigin([script(whole[:500], "stall", whole[500:])]) as origin:
        run(main())


def test_a_second_death_is_not_retried_on_a_connection_given_back():
    async def main():
        async with fetching(origin.url, connections=2, retries=0) as fetch:
            # Two connections that have carried a request, so that both count as reused.
            await asyncio.gather(fetch(context(path=b"/pair")), fetch(context(path=b"/pair")))
            busy = asyncio.create_task(fetch(context(path=b"/busy")))
            await until(lambda: len(origin.requests) == 3)
            ctx = context(path=b"/dies")
            with pytest.raises(EdgeError) as caught:
                await fetch(ctx)
            assert (caught.value.fault, ctx.retries) == (Fault.TERMINATED, 1)
            origin.release()
            await busy
        assert [request.target for request in origin.requests].count("/dies") == 2

    gate = asyncio.Barrier(2)

    async def together(wire: Wire) -> None:
        await gate.wait()
        await wire.write(answer(b"x"))

    replies = {"/pair": together, "/busy": script("stall", answer(b"x")), "/dies": script("close")}
    with ScriptedOrigin(lambda request: replies[request.target]) as origin:
        run(main())
