"""A body for two: back-pressure, leaving, breaking off."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.cache_room import PATIENCE_S, broken_off
from worker.cache.tee import Tee
from worker.errors import EdgeError
from worker.fields import Fields


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE_S))


def test_pieces_arrive_in_order_and_end() -> None:
    async def check() -> None:
        tee = Tee(None)
        trailers = Fields.of([(b"X", b"1")])

        async def fetch() -> None:
            at = 0
            for number in range(100):
                piece = b"%d," % number
                assert await tee.offer(piece, at)
                at += len(piece)
            tee.end(trailers)

        task = asyncio.create_task(fetch())
        got = b""
        while piece := await tee.read():
            got += piece
            if len(got) % 3 == 0:
                await asyncio.sleep(0)  # let the other side run ahead
        await task
        assert got == b"".join(b"%d," % number for number in range(100))
        assert tee.trailers is trailers
        assert await tee.read() == b""

    run(check())


def test_the_fetching_side_waits_for_a_slow_client() -> None:
    async def check() -> None:
        tee = Tee(None)
        offered = []

        async def fetch() -> None:
            for at, piece in enumerate((b"a", b"b", b"c")):
                await tee.offer(piece, at)
                offered.append(piece)

        task = asyncio.create_task(fetch())
        for _ in range(10):
            await asyncio.sleep(0)
        assert offered == [b"a"]
        assert await tee.read() == b"a"
        for _ in range(10):
            await asyncio.sleep(0)
        assert offered == [b"a", b"b"]
        assert await tee.read() == b"b"
        assert await tee.read() == b"c"
        await task

    run(check())


def test_a_client_that_leaves_frees_the_fetching_side() -> None:
    async def check() -> None:
        tee = Tee(None)
        await tee.offer(b"a", 0)
        task = asyncio.create_task(tee.offer(b"b", 1))
        await asyncio.sleep(0)
        tee.close()
        assert await task is False
        assert await tee.offer(b"c", 2) is False

    run(check())


def test_a_body_that_breaks_off_raises_after_what_came() -> None:
    async def check() -> None:
        tee = Tee(10)
        await tee.offer(b"a", 0)
        tee.fail(broken_off())
        assert await tee.read() == b"a"
        with pytest.raises(EdgeError):
            await tee.read()

    run(check())


def test_a_waiting_client_hears_of_the_break() -> None:
    async def check() -> None:
        tee = Tee(10)
        task = asyncio.create_task(tee.read())
        await asyncio.sleep(0)
        tee.fail(broken_off())
        with pytest.raises(EdgeError):
            await task

    run(check())
