"""What a slow client, and too many of them, may do by HTTP/2 and HTTP/3 alike."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.h1_edge import Pieces, run, text
from tests.support.h2_edge import H2Edge
from tests.support.h3_edge import H3Edge
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.protocol.h3.codes import EXCESSIVE_LOAD
from worker.reasons import TurnedAway
from worker.settings import Limits

MakeEdge = Callable[..., Any]


@pytest.fixture(params=[H2Edge, H3Edge], ids=["h2", "h3"])
def make_edge(request: pytest.FixtureRequest) -> MakeEdge:
    """An edge that speaks one of them, with clients of the same face."""
    made: MakeEdge = request.param
    return made


def test_a_body_that_does_not_come_is_answered_408(make_edge: MakeEdge) -> None:
    async def fetch(ctx: Context) -> Response:
        assert ctx.request.body is not None
        await ctx.request.body.read()
        return text(ctx)

    async def test() -> None:
        async with make_edge(lambda ctx: None, fetch) as edge, await edge.client() as client:
            stream = client.begin(method="POST", end=False)
            await edge.until(lambda: edge.tasks)
            await asyncio.sleep(0.01)
            edge.after(0)
            edge.after(edge.limits.body_timeout_s + 1)
            assert (await client.answer(stream)).status == 408

    run(test())


def test_connections_above_the_limit_are_ended_when_all_are_at_work(make_edge: MakeEdge) -> None:
    async def test() -> None:
        go = asyncio.get_running_loop().create_future()

        async def fetch(ctx: Context) -> Response:
            return Response(200, Fields.of(), Pieces(b"abc", go, b"def"))

        limits = replace(Limits(), connections=1)
        async with make_edge(lambda _: None, fetch, limits=limits) as edge, await edge.client() as client:
            running = client.begin("/")
            await client.until(lambda: client.answers[running].body)
            async with await edge.client() as other:
                await other.until_closed()
                if make_edge is H3Edge:  # of HTTP/2 not even the preface is answered
                    assert other.closed_by == EXCESSIVE_LOAD
            assert edge.tally.told.count("refused") == 1
            go.set_result(None)
            await client.until(lambda: client.answers[running].body == b"abcdef")

    run(test())


def test_idle_connections_make_room_for_new_ones(make_edge: MakeEdge) -> None:
    async def test() -> None:
        limits = replace(Limits(), connections=1)
        async with make_edge(limits=limits) as edge, await edge.client() as client:
            assert (await client.ask()).status == 200
            async with await edge.client() as other:
                assert (await other.ask()).status == 200
                await client.until_closed()
            assert edge.tally.told.count(TurnedAway.CROWDED) == 1

    run(test())
