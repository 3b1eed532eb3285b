"""Who waits for a large body reads it while it arrives, whichever worker fetches it."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from tests.support.cache_room import Asked, CacheRoom, Pieces, broken_off, make_request, ok, read_body
from tests.support.cache_workers import CacheWorkers, Order
from tests.support.scripted_origin import ScriptedOrigin, script
from worker.context import Context
from worker.errors import EdgeError
from worker.message import Response, Stream
from worker.reasons import Outcome
from worker.settings import CacheSettings

FRESH = "max-age=600"
FIRST, SECOND = b"1" * 40_000, b"2" * 150_000


async def ask(room: CacheRoom, fields: list[tuple[bytes, bytes]] | None = None) -> tuple[Context, Response]:
    """A request as far as its response's head."""
    ctx = room.context(make_request(fields=fields or []))
    return ctx, room.lookup(ctx) or await room.fill(ctx)


def piecewise(more: asyncio.Event, length: int | None, last: bytes | Exception = SECOND) -> Response:
    return ok(Pieces(FIRST, more, last, length=length), cache_control=FRESH)


@pytest.mark.parametrize("length", [None, len(FIRST + SECOND)])
def test_a_waiter_has_the_first_part_before_the_second_is_there(length: int | None) -> None:
    more = asyncio.Event()

    async def handler(_asked: object) -> Response:
        return piecewise(more, length)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            (_, mine), (ctx, other) = await asyncio.gather(ask(room), ask(room))
            assert (ctx.outcome, other.length) == (Outcome.UPDATING, length)
            bodies = cast(Stream, mine.body), cast(Stream, other.body)
            assert [await body.read() for body in bodies] == [FIRST, FIRST]
            _, late = await ask(room)  # comes when it has long begun
            assert await cast(Stream, late.body).read() == FIRST
            more.set()
            assert [await read_body(one) for one in (mine, other, late)] == [SECOND] * 3
            await room.settle()
            assert room.segment.cache.pinned_bytes == 0
            assert (await ask(room))[0].outcome == Outcome.HIT

        room.run(whole())
        assert len(room.asked) == 1


def test_a_body_that_breaks_off_breaks_off_for_those_who_follow() -> None:
    more = asyncio.Event()

    async def handler(_asked: object) -> Response:
        return piecewise(more, None, broken_off())

    with CacheRoom(handler) as room:

        async def whole() -> None:
            (_, mine), (_, other) = await asyncio.gather(ask(room), ask(room))
            more.set()
            for response in (mine, other):
                with pytest.raises(EdgeError):
                    await read_body(response)
            await room.settle()

        room.run(whole())
        assert room.segment.occupancy()["pages_used"] == 0


def test_a_follower_that_leaves_harms_nobody() -> None:
    more = asyncio.Event()

    async def handler(_asked: object) -> Response:
        return piecewise(more, None)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            (_, mine), (_, other) = await asyncio.gather(ask(room), ask(room))
            cast(Stream, other.body).close()
            assert await cast(Stream, other.body).read() == b""
            more.set()
            assert await read_body(mine) == FIRST + SECOND

        room.run(whole())


def test_a_slow_leader_holds_up_nobody_who_follows() -> None:
    pieces = [bytes([number]) * 50_000 for number in range(20)]

    async def handler(_asked: object) -> Response:
        return ok(Pieces(*pieces), cache_control=FRESH)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            (_, mine), (_, other) = await asyncio.gather(ask(room), ask(room))
            assert await read_body(other) == b"".join(pieces), "and the leader has read nothing"
            assert await read_body(mine) == b"".join(pieces)
            await room.settle()

        room.run(whole())


@pytest.mark.parametrize("ahead", [False, True])
def test_the_leader_has_it_all_although_it_proves_too_large_to_store(ahead: bool) -> None:
    """It reads from the segment what was stored, and the rest from the origin, wherever it was by then."""
    more = asyncio.Event()
    rest = [b"3" * 30_000, SECOND, b"4" * 500]

    async def handler(_asked: object) -> Response:
        return ok(Pieces(FIRST, more, *rest), cache_control=FRESH)

    with CacheRoom(handler, CacheSettings(max_object_bytes=100_000)) as room:

        async def whole() -> None:
            (_, mine), (_, other) = await asyncio.gather(ask(room), ask(room))
            body = await cast(Stream, mine.body).read() if ahead else b""
            more.set()
            body += await read_body(mine)
            assert body == FIRST + b"".join(rest)
            with pytest.raises(EdgeError):
                await read_body(other)
            await room.settle()

        room.run(whole())
        assert room.segment.occupancy()["pages_used"] <= 1, "a mark"


def test_a_small_body_is_waited_for_whole() -> None:
    more = asyncio.Event()

    async def handler(_asked: object) -> Response:
        return ok(Pieces(b"a", more, b"b"), cache_control=FRESH)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            _, mine = await ask(room)
            waiter = asyncio.create_task(ask(room))
            assert await cast(Stream, mine.body).read() == b"a"
            assert not waiter.done()
            more.set()
            await read_body(mine)
            assert (await waiter)[1].body == b"ab", "from one chunk"

        room.run(whole())


def test_a_slow_body_is_shared_however_small_it_is() -> None:
    gates = [asyncio.Event() for _ in range(2)]

    async def handler(_asked: object) -> Response:
        return ok(Pieces(b"a", gates[0], b"b", gates[1], b"c"), cache_control=FRESH)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            _, mine = await ask(room)
            waiter = asyncio.create_task(ask(room))
            assert await cast(Stream, mine.body).read() == b"a"
            room.clock.go(1)
            gates[0].set()
            _, other = await waiter
            assert await cast(Stream, other.body).read() == b"ab"
            gates[1].set()
            assert await read_body(other) == b"c"
            assert await read_body(mine) == b"bc"

        room.run(whole())


def test_a_fetch_whose_body_keeps_coming_is_not_taken_over() -> None:
    gates = [asyncio.Event() for _ in range(4)]

    async def handler(_asked: object) -> Response:
        pieces = [piece for gate in gates for piece in (FIRST, gate)]
        return ok(Pieces(*pieces), cache_control=FRESH)

    with CacheRoom(handler, CacheSettings(lease_s=10.0)) as room:

        async def whole() -> None:
            _, mine = await ask(room)
            reader = asyncio.create_task(read_body(mine))
            for gate in gates:
                room.clock.go(6)
                gate.set()
                await asyncio.sleep(0.01)
                _, other = await ask(room)
                cast(Stream, other.body).close() if hasattr(other.body, "read") else None
            assert await reader == FIRST * 4

        room.run(whole())
        assert len(room.asked) == 1


def test_a_request_that_wants_no_stored_answer_does_not_follow_an_older_one() -> None:
    more = asyncio.Event()
    asked = 0

    async def handler(_asked: object) -> Response:
        nonlocal asked
        asked += 1
        return piecewise(more, None) if asked == 1 else ok(b"new", cache_control=FRESH)

    with CacheRoom(handler) as room:

        async def whole() -> None:
            _, mine = await ask(room)
            room.clock.go(1)
            picky = asyncio.create_task(ask(room, [(b"Cache-Control", b"no-cache")]))
            await asyncio.sleep(0.01)
            more.set()
            await read_body(mine)
            _, response = await picky
            assert response.body == b"new" or await read_body(response) == b"new"

        room.run(whole())
        assert asked == 2


def test_every_worker_reads_along() -> None:
    """The origin sends the second half only after every client in every worker has the first."""
    size, half = 400_000, 200_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: {FRESH}\r\nContent-Length: {size}\r\n\r\n".encode()
    body = bytes(range(250)) * (size // 250)
    with (
        CacheWorkers(3) as workers,
        ScriptedOrigin([script(head + body[:half], "stall", body[half:])]) as origin,
    ):
        for member in range(3):
            workers.tell(member, Order(origin.port, ["/"] * 10, half=half))
        for member in range(3):
            assert workers.halfway(member) == 10
        origin.release()
        answers = [one for member in range(3) for one in workers.answers(member)]
        assert {one.body for one in answers} == {body}
        assert len(origin.requests) == 1


def test_a_worker_that_dies_while_others_read_along_cuts_them_off_and_is_replaced() -> None:
    size, half = 400_000, 200_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: {FRESH}\r\nContent-Length: {size}\r\n\r\n".encode()
    body = bytes(range(250)) * (size // 250)
    with (
        CacheWorkers(2) as workers,
        ScriptedOrigin([script(head + body[:half], "stall"), script(head + body)]) as origin,
    ):
        workers.tell(0, Order(origin.port, ["/"], half=half))
        assert workers.halfway(0) == 1
        workers.tell(1, Order(origin.port, ["/"] * 5, half=half))
        assert workers.halfway(1) == 5
        workers.kill(0)
        assert all(one.cut for one in workers.answers(1))
        workers.tell(1, Order(origin.port, ["/"]))
        assert [one.body for one in workers.answers(1)] == [body]
        assert len(origin.requests) == 2


WHOLE = FIRST + b"3" * 30_000 + SECOND + b"4" * 500


def resumed(asked: Asked) -> Response:
    """An origin that knows ranges."""
    start = int((asked.fields.get(b"range") or b"").removeprefix(b"bytes=").rstrip(b"-"))
    told = f"bytes {start}-{len(WHOLE) - 1}/{len(WHOLE)}"
    return ok(Pieces(WHOLE[start:]), 206, etag='"e"', content_range=told)


RESTS = [  # tag of the body, answer to the question for its rest -> is all of it had?
    pytest.param('"e"', resumed, True, id="a range"),
    pytest.param('"e"', lambda asked: ok(Pieces(WHOLE[:9], WHOLE[9:]), etag='"e"'), True, id="the whole"),
    pytest.param('"e"', lambda asked: ok(Pieces(WHOLE), etag='"f"'), False, id="another body"),
    pytest.param('"e"', lambda asked: ok(Pieces(WHOLE), etag='W/"e"'), False, id="perhaps another body"),
    pytest.param(
        '"e"', lambda asked: ok(Pieces(b"x"), 206, etag='"e"'), False, id="a part of nobody knows what"
    ),
    pytest.param('"e"', lambda asked: ok(b"", 503), False, id="an error"),
    pytest.param('W/"e"', resumed, False, id="a weak tag"),
]


@pytest.mark.parametrize(("tag", "answer", "whole"), RESTS)
def test_who_follows_what_proves_too_large_fetches_the_rest_of_that_very_body(
    tag: str, answer: Callable[[Asked], Response], whole: bool
) -> None:
    more = asyncio.Event()

    async def handler(asked: Asked) -> Response:
        if b"if-range" in asked.fields:
            assert asked.fields.get(b"if-range") == tag.encode()
            return answer(asked)
        return ok(Pieces(FIRST, more, WHOLE[len(FIRST) :]), cache_control=FRESH, etag=tag)

    with CacheRoom(handler, CacheSettings(max_object_bytes=100_000)) as room:

        async def both() -> None:
            (_, mine), (_, other) = await asyncio.gather(ask(room), ask(room))
            begun = await cast(Stream, other.body).read()
            assert begun
            more.set()
            if whole:
                assert begun + await read_body(other) == WHOLE
            else:
                with pytest.raises(EdgeError):
                    await read_body(other)
            assert await read_body(mine) == WHOLE
            await room.settle()

        room.run(both())
        assert len(room.asked) == (1 if tag.startswith("W/") else 2)
