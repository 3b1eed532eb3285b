"""The fetch stage: storing, collapsed forwarding inside a worker, revalidation, failures."""

import asyncio
from typing import cast

import pytest

from tests.support.cache_room import (
    PATIENCE_S,
    Answered,
    Asked,
    CacheRoom,
    Handler,
    Pieces,
    broken_off,
    http_date,
    make_request,
    ok,
)
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response, Stream
from worker.reasons import Fault, Forward, NotStorable, Outcome, Side
from worker.settings import CacheSettings

CC = b"Cache-Control"


def answers(*responses: Response | Exception) -> Handler:
    """An origin that gives these answers in order."""
    left = iter(responses)

    async def handler(asked: Asked) -> Response:
        response = next(left)
        if isinstance(response, Exception):
            raise response
        return response

    return handler


class Gated:
    """An origin that answers when told."""

    def __init__(self, *responses: Response | Exception) -> None:
        self.gate = asyncio.Event()
        self._next = answers(*responses)

    async def __call__(self, asked: Asked) -> Response:
        await asyncio.wait_for(self.gate.wait(), PATIENCE_S)
        return await self._next(asked)


async def spin(turns: int = 20) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def crowd(room: CacheRoom, gate: asyncio.Event, size: int = 50) -> list[Answered | BaseException]:
    """As many requests at once, the origin answering only when all have asked."""

    async def whole() -> list[Answered | BaseException]:
        tasks = [asyncio.create_task(room.answer(make_request())) for _ in range(size)]
        await spin()
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return room.run(whole())


def outcomes(answered: list[Answered | BaseException]) -> list[Outcome]:
    return [one.ctx.outcome for one in answered if isinstance(one, Answered)]


# Collapsed forwarding


def test_a_crowd_makes_one_request() -> None:
    origin = Gated(ok(b"hello", cache_control="max-age=60"))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate)
        assert len(room.asked) == 1
        assert sorted(outcomes(answered)) == [Outcome.MISS] + [Outcome.UPDATING] * 49
        assert {one.body for one in answered if isinstance(one, Answered)} == {b"hello"}
        assert collapsed(answered) == [None] + [True] * 49


def collapsed(answered: list[Answered | BaseException]) -> list[bool | None]:
    """For each: did it wait for another's fetch, and did that answer it?"""
    return [one.ctx.collapsed for one in answered if isinstance(one, Answered)]


def test_a_crowd_makes_one_request_for_a_streamed_body() -> None:
    origin = Gated(ok(Pieces(b"hel", b"lo"), cache_control="max-age=60"))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate)
        assert len(room.asked) == 1
        assert {one.body for one in answered if isinstance(one, Answered)} == {b"hello"}


def test_waiters_get_what_was_fetched_for_them_even_if_it_is_stale_on_arrival() -> None:
    origin = Gated(ok(b"hello", cache_control="max-age=60", age="100"))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate)
        assert len(room.asked) == 1
        assert sorted(outcomes(answered)) == [Outcome.MISS] + [Outcome.UPDATING] * 49


def test_waiters_go_alone_when_the_response_is_not_storable() -> None:
    origin = Gated(*(ok(b"%d" % n, cache_control="private") for n in range(50)))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate)
        assert len({one.body for one in answered if isinstance(one, Answered)}) == 50
        assert {one.ctx.not_storable for one in answered if isinstance(one, Answered)} == {
            NotStorable.PRIVATE
        }
        assert collapsed(answered) == [None] + [False] * 49


def test_waiters_go_alone_when_every_use_must_be_validated() -> None:
    origin = Gated(*(ok(b"%d" % n, cache_control="no-cache", etag=f'"{n}"') for n in range(50)))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate)
        assert len({one.body for one in answered if isinstance(one, Answered)}) == 50


def test_later_requests_for_what_is_not_storable_do_not_queue() -> None:
    origin = Gated(*(ok(b"x", cache_control="no-store") for _ in range(3)))
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()

        async def two() -> None:
            tasks = [asyncio.create_task(room.answer(make_request())) for _ in range(2)]
            await spin()
            assert len(room.asked) == 3
            origin.gate.set()
            await asyncio.gather(*tasks)

        room.run(two())


def test_what_becomes_storable_is_stored_again() -> None:
    with CacheRoom(answers(ok(cache_control="no-store"), ok(cache_control="max-age=60"))) as room:
        assert [room.outcome() for _ in range(3)] == ["miss", "miss", "hit"]


def test_without_collapsing_everybody_asks() -> None:
    origin = Gated(*(ok(cache_control="max-age=60") for _ in range(5)))
    with CacheRoom(origin, CacheSettings(collapse=False)) as room:
        crowd(room, origin.gate, 5)
        assert len(room.asked) == 5
        assert room.outcome() == "hit"


def test_variants_are_fetched_once_each() -> None:
    gate = asyncio.Event()

    async def handler(asked: Asked) -> Response:
        await asyncio.wait_for(gate.wait(), PATIENCE_S)
        return ok(asked.fields.get(b"a") or b"", cache_control="max-age=60", vary="A")

    with CacheRoom(handler) as room:

        async def whole() -> list[Answered]:
            requests = [make_request(fields=[(b"A", b"%d" % (n % 3))]) for n in range(30)]
            tasks = [asyncio.create_task(room.answer(request)) for request in requests]
            await spin()
            gate.set()
            return await asyncio.gather(*tasks)

        answered = room.run(whole())
        assert [one.body for one in answered] == [b"%d" % (n % 3) for n in range(30)]
        assert len(room.asked) == 3


def test_the_fetch_survives_the_client_that_began_it() -> None:
    origin = Gated(ok(b"hello", cache_control="max-age=60"))
    with CacheRoom(origin) as room:

        async def whole() -> Answered:
            leader = asyncio.create_task(room.answer(make_request()))
            await spin()
            waiter = asyncio.create_task(room.answer(make_request()))
            await spin()
            leader.cancel()
            await spin()
            origin.gate.set()
            return await waiter

        answered = room.run(whole())
        assert (answered.body, answered.ctx.outcome) == (b"hello", Outcome.UPDATING)
        assert len(room.asked) == 1


def test_a_leader_that_leaves_in_the_middle_of_its_body_does_not_end_the_storing() -> None:
    more = asyncio.Event()
    with CacheRoom(answers(ok(Pieces(b"hel", more, b"lo", length=5), cache_control="max-age=60"))) as room:

        async def whole() -> None:
            request = make_request()
            ctx = room.context(request)
            assert room.lookup(ctx) is None
            response = await room.fill(ctx)
            body = cast(Stream, response.body)
            assert await body.read() == b"hel"
            body.close()
            more.set()
            await room.settle()

        room.run(whole())
        assert room.ask().body == b"hello"
        assert len(room.asked) == 1


def test_a_waiter_that_leaves_harms_nobody() -> None:
    origin = Gated(ok(b"hello", cache_control="max-age=60"))
    with CacheRoom(origin) as room:

        async def whole() -> list[bytes]:
            tasks = [asyncio.create_task(room.answer(make_request())) for _ in range(3)]
            await spin()
            tasks[1].cancel()
            await spin()
            origin.gate.set()
            return [(await tasks[0]).body, (await tasks[2]).body]

        assert room.run(whole()) == [b"hello", b"hello"]


def test_a_fetch_past_its_deadline_is_taken_over() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    gates = iter([first, second])

    async def handler(asked: Asked) -> Response:
        gate = next(gates)
        await asyncio.wait_for(gate.wait(), PATIENCE_S)
        return ok(b"first" if gate is first else b"second", cache_control="max-age=600")

    with CacheRoom(handler, CacheSettings(lease_s=5.0)) as room:

        async def whole() -> list[bytes]:
            leader = asyncio.create_task(room.answer(make_request()))
            await spin()
            waiters = [asyncio.create_task(room.answer(make_request())) for _ in range(2)]
            await spin()
            room.clock.go(6)
            room.fill.sweep(room.clock())
            await spin()
            assert len(room.asked) == 2
            second.set()
            bodies = [(await waiter).body for waiter in waiters]
            first.set()
            return [*bodies, (await leader).body]

        assert room.run(whole()) == [b"second", b"second", b"first"]


# What is not stored


def test_a_body_that_breaks_off_is_not_stored_and_everybody_hears_of_it() -> None:
    cut = ok(Pieces(b"hel", broken_off(), length=5), cache_control="max-age=60")
    origin = Gated(cut, ok(b"hello", cache_control="max-age=60"))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate, 10)
        assert all(isinstance(one, EdgeError) and one.status == 502 for one in answered)
        assert len(room.asked) == 1
        again = room.ask()
        assert (again.body, again.ctx.outcome) == (b"hello", Outcome.MISS)


def test_a_short_body_is_not_stored() -> None:
    with CacheRoom(
        answers(ok(Pieces(b"hel", length=5), cache_control="max-age=60"), ok(cache_control="max-age=60"))
    ) as room:
        room.ask()
        assert room.outcome() == "miss"


def test_an_origin_that_fails_fails_for_everybody_once() -> None:
    failure = EdgeError(504, Side.ORIGIN, Fault.RESPONSE_TIMEOUT, "slow")
    origin = Gated(failure, ok(b"hello", cache_control="max-age=60"))
    with CacheRoom(origin) as room:
        answered = crowd(room, origin.gate, 10)
        assert all(isinstance(one, EdgeError) and one.status == 504 for one in answered)
        assert len(room.asked) == 1
        assert room.ask().status == 200


def test_a_bug_in_a_filter_is_reported_and_frees_the_waiters() -> None:
    def broken(ctx: Context, response: Response) -> None:
        raise ZeroDivisionError

    origin = Gated(ok(cache_control="max-age=60"))
    with CacheRoom(origin, store_filters=[broken]) as room:
        answered = crowd(room, origin.gate, 3)
        kinds = sorted(type(one).__name__ for one in answered)
        assert kinds == ["EdgeError", "EdgeError", "ZeroDivisionError"]


def test_a_body_longer_than_allowed_is_passed_on_but_not_stored() -> None:
    pieces = [b"x" * 400] * 5
    with CacheRoom(
        answers(*(ok(Pieces(*pieces), cache_control="max-age=60") for _ in range(2))),
        CacheSettings(max_object_bytes=1000),
    ) as room:
        for _ in range(2):
            answered = room.ask()
            assert (answered.body, answered.ctx.outcome) == (b"x" * 2000, Outcome.MISS)
            assert answered.ctx.not_storable is NotStorable.TOO_LARGE


def test_a_body_announced_too_long_is_refused_at_its_head() -> None:
    with CacheRoom(
        answers(ok(b"x" * 1001, cache_control="max-age=60")), CacheSettings(max_object_bytes=1000)
    ) as room:
        answered = room.ask()
        assert (len(answered.body), answered.ctx.not_storable) == (1001, NotStorable.TOO_LARGE)


def test_ranges_of_what_is_not_storable_reach_the_origin() -> None:
    with CacheRoom(answers(ok(cache_control="no-store"), ok(b"he", 206, cache_control="no-store"))) as room:
        room.ask(fields=[(b"Range", b"bytes=0-1")])
        answered = room.ask(fields=[(b"Range", b"bytes=0-1")])
        assert b"range" not in room.asked[0].fields
        assert room.asked[1].fields.get(b"range") == b"bytes=0-1"
        assert answered.status == 206


# The leading client's own conditions


def test_the_origin_is_asked_for_the_whole_and_the_client_told_that_it_has_it() -> None:
    with CacheRoom(answers(ok(b"hello", cache_control="max-age=60", etag='"a"'))) as room:
        answered = room.ask(fields=[(b"If-None-Match", b'"a"'), (b"Range", b"bytes=0-1")])
        assert (answered.status, answered.body, answered.ctx.stored) == (304, b"", True)
        assert b"if-none-match" not in room.asked[0].fields
        assert b"range" not in room.asked[0].fields
        assert room.ask().body == b"hello"


def test_a_stream_the_client_has_already_is_stored_without_it() -> None:
    stream = Pieces(b"hel", b"lo", length=5)
    with CacheRoom(answers(ok(stream, cache_control="max-age=60", etag='"a"'))) as room:
        assert room.ask(fields=[(b"If-None-Match", b'"a"')]).status == 304
        assert stream.closed
        assert room.ask().body == b"hello"


def test_accept_encoding_reaches_the_origin_reduced() -> None:
    with CacheRoom(answers(ok(), ok(), ok())) as room:
        room.ask("/1", [(b"Accept-Encoding", b"gzip, deflate, br")])
        room.ask("/2", [(b"Accept-Encoding", b"deflate")])
        room.ask("/3")
        assert [asked.fields.get(b"accept-encoding") for asked in room.asked] == [b"br, gzip", None, None]


def test_a_head_miss_is_forwarded_and_not_stored() -> None:
    head = ok(b"", cache_control="max-age=60")
    with CacheRoom(answers(head, ok(b"hello", cache_control="max-age=60"))) as room:
        assert room.ask(method=b"HEAD").ctx.outcome is Outcome.MISS
        assert room.asked[0].method == b"HEAD"
        assert room.ask().body == b"hello"


def test_a_response_without_date_gets_one() -> None:
    with CacheRoom(answers(ok(cache_control="max-age=60"))) as room:
        expected = http_date(room.clock.wall()).encode()
        assert room.ask().fields.get(b"date") == expected
        room.clock.go(5)
        assert room.ask().fields.get(b"date") == expected


def test_the_time_the_origin_took_counts_as_age() -> None:
    with CacheRoom(lambda asked: slow(asked)) as room:

        async def slow(asked: Asked) -> Response:
            room.clock.go(3)
            return ok(cache_control="max-age=10")

        room.ask()
        hit = room.ask().ctx
        assert (hit.age_s, hit.ttl_s) == (3, 7)


# Revalidation


def not_modified(**fields: str) -> Response:
    return ok(b"", 304, **fields)


def test_a_304_freshens_the_stored_response() -> None:
    with CacheRoom(
        answers(
            ok(b"hello", cache_control="max-age=60", etag='"a"', x="old", last_modified=http_date(5)),
            not_modified(cache_control="max-age=100", etag='"a"', x="new", age="10"),
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        answered = room.ask()
        assert (answered.status, answered.body) == (200, b"hello")
        assert (answered.ctx.outcome, answered.ctx.forward) == (Outcome.REVALIDATED, Forward.STALE)
        assert (answered.ctx.age_s, answered.ctx.ttl_s) == (10, 90)
        assert room.asked[1].fields.get(b"if-none-match") == b'"a"'
        assert room.asked[1].fields.get(b"if-modified-since") == http_date(5).encode()
        assert answered.fields.get_all(b"x") == [b"new"]
        assert b"age" not in answered.fields
        room.clock.go(80)
        hit = room.ask()
        assert (hit.ctx.outcome, hit.ctx.age_s, hit.ctx.ttl_s) == (Outcome.HIT, 90, 10)
        assert (hit.body, hit.fields.get(b"x")) == (b"hello", b"new")


def test_freshening_keeps_large_bodies_and_variants() -> None:
    body = b"x" * 300_000
    with CacheRoom(
        answers(
            ok(body, cache_control="max-age=60", etag='"a"', vary="A"),
            not_modified(cache_control="max-age=60"),
        )
    ) as room:
        lines = [(b"A", b"1")]
        room.ask(fields=lines)
        room.clock.go(61)
        assert room.ask(fields=lines).body == body
        room.clock.go(30)
        assert room.ask(fields=lines).body == body
        assert len(room.asked) == 2


def test_a_crowd_revalidates_once() -> None:
    origin = Gated(
        ok(b"hello", cache_control="max-age=60", etag='"a"'), not_modified(cache_control="max-age=60")
    )
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()
        room.clock.go(61)
        answered = crowd(room, origin.gate)
        assert len(room.asked) == 2
        assert sorted(outcomes(answered)) == [Outcome.REVALIDATED] + [Outcome.UPDATING] * 49


def test_another_200_replaces_the_stored_response() -> None:
    with CacheRoom(
        answers(ok(b"old", cache_control="max-age=60", etag='"a"'), ok(b"new", cache_control="max-age=60"))
    ) as room:
        room.ask()
        room.clock.go(61)
        answered = room.ask()
        assert (answered.body, answered.ctx.outcome) == (b"new", Outcome.EXPIRED)
        assert room.ask().body == b"new"


def test_the_client_condition_is_answered_after_revalidation() -> None:
    with CacheRoom(
        answers(
            ok(b"hello", cache_control="max-age=60", etag='"a"'), not_modified(cache_control="max-age=60")
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        answered = room.ask(fields=[(b"If-None-Match", b'"a", "b"')])
        assert (answered.status, answered.ctx.outcome) == (304, Outcome.REVALIDATED)
        assert room.asked[1].fields.get_all(b"if-none-match") == [b'"a"']


def test_a_304_about_something_else_is_asked_again_without_condition() -> None:
    with CacheRoom(
        answers(
            ok(b"old", cache_control="max-age=60", etag='"a"'),
            not_modified(etag='"b"'),
            ok(b"new", cache_control="max-age=60", etag='"b"'),
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        assert room.ask().body == b"new"
        assert b"if-none-match" not in room.asked[2].fields


@pytest.mark.parametrize("vary", ["B", "A, B", "*"])
def test_a_304_that_varies_further_is_asked_again_without_condition(vary: str) -> None:
    """What is stored is filed where requests with another B would find it."""
    with CacheRoom(
        answers(
            ok(b"old", cache_control="max-age=60", etag='"a"', vary="A"),
            not_modified(cache_control="max-age=60", etag='"a"', vary=vary),
            ok(b"new", cache_control="max-age=60", etag='"a"', vary=vary),
            ok(b"other", cache_control="max-age=60", etag='"a"', vary=vary),
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        assert room.ask().body == b"new"
        assert b"if-none-match" not in room.asked[2].fields
        assert room.ask(fields=[(b"B", b"1")]).body == b"other"


def test_a_304_that_forbids_storing_ends_the_stored_response() -> None:
    with CacheRoom(
        answers(
            ok(b"old", cache_control="max-age=60", etag='"a"'),
            not_modified(cache_control="no-store"),
            ok(b"new", cache_control="max-age=60"),
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        assert room.ask().body == b"old"
        assert room.ask().body == b"new"


def test_no_cache_is_stored_and_validated_by_every_request() -> None:
    with CacheRoom(
        answers(
            ok(b"hello", cache_control="no-cache", etag='"a"'),
            not_modified(cache_control="no-cache"),
            not_modified(cache_control="no-cache"),
        )
    ) as room:
        assert [room.outcome() for _ in range(3)] == ["miss", "revalidated", "revalidated"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_no_cache_is_not_served_when_its_validation_fails(method: bytes) -> None:
    control = "no-cache, max-age=60, stale-if-error=60"
    with CacheRoom(answers(ok(b"old", cache_control=control, etag='"a"'), broken_off())) as room:
        room.ask()
        with pytest.raises(EdgeError):
            room.ask(method=method)


def test_a_response_without_lifetime_is_validated_by_every_request() -> None:
    with CacheRoom(answers(ok(b"hello", etag='"a"'), not_modified(), ok(b"new", etag='"b"'))) as room:
        assert [room.ask().body for _ in range(3)] == [b"hello", b"hello", b"new"]


def test_a_no_cache_request_is_satisfied_by_what_came_after_it() -> None:
    origin = Gated(ok(b"old", cache_control="max-age=60"), ok(b"new", cache_control="max-age=60"))
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()
        room.clock.go(1)

        async def whole() -> list[Answered]:
            request = make_request(fields=[(CC, b"no-cache")])
            tasks = [asyncio.create_task(room.answer(request)) for _ in range(5)]
            await spin()
            origin.gate.set()
            return await asyncio.gather(*tasks)

        assert [one.body for one in room.run(whole())] == [b"new"] * 5
        assert len(room.asked) == 2


# Stale answers


def test_stale_while_revalidate_answers_at_once_and_refreshes_once() -> None:
    control = "max-age=60, stale-while-revalidate=60"
    origin = Gated(
        ok(b"old", cache_control=control, etag='"a"'), ok(b"new", cache_control=control, etag='"b"')
    )
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()
        room.clock.go(70)

        async def whole() -> list[Answered]:
            served = [await room.answer(make_request()) for _ in range(5)]
            await spin()
            origin.gate.set()
            await room.settle()
            return served

        served = room.run(whole())
        assert [(one.body, one.ctx.outcome) for one in served] == [(b"old", Outcome.STALE)] * 5
        assert len(room.asked) == 2
        assert room.asked[1].fields.get(b"if-none-match") == b'"a"'
        assert (room.ask().body, room.outcome()) == (b"new", "hit")


def test_a_refresh_after_head_asks_with_get() -> None:
    control = "max-age=60, stale-while-revalidate=60"
    with CacheRoom(answers(ok(b"old", cache_control=control), ok(b"new", cache_control=control))) as room:
        room.ask()
        room.clock.go(70)
        assert room.ask(method=b"HEAD").ctx.outcome is Outcome.STALE
        assert [asked.method for asked in room.asked] == [b"GET", b"GET"]
        assert room.ask().body == b"new"


def test_a_refresh_that_fails_leaves_what_is_stored() -> None:
    with CacheRoom(
        answers(ok(b"old", cache_control="max-age=60, stale-while-revalidate=60"), broken_off(), broken_off())
    ) as room:
        room.ask()
        room.clock.go(70)
        assert [room.ask().body for _ in range(2)] == [b"old", b"old"]


FAILURES = [
    pytest.param(broken_off(), id="no answer"),
    pytest.param(ok(b"sorry", 500), id="500"),
    pytest.param(ok(b"sorry", 503, cache_control="max-age=5"), id="503"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_stale_if_error(failure: Response | EdgeError) -> None:
    with CacheRoom(
        answers(ok(b"old", cache_control="max-age=60, stale-if-error=60", etag='"a"'), failure)
    ) as room:
        room.ask()
        room.clock.go(119)
        answered = room.ask()
        assert (answered.status, answered.body, answered.ctx.outcome) == (200, b"old", Outcome.STALE)
        assert answered.ctx.forward is Forward.STALE
        assert answered.ctx.refresh is False


def test_stale_if_error_serves_everybody_who_waited() -> None:
    origin = Gated(ok(b"old", cache_control="max-age=60, stale-if-error=60"), broken_off())
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()
        room.clock.go(70)
        answered = crowd(room, origin.gate, 10)
        assert outcomes(answered) == [Outcome.STALE] * 10
        assert len(room.asked) == 2


@pytest.mark.parametrize(
    ("control", "asked", "stale"),
    [
        pytest.param("max-age=60", "stale-if-error=60", True, id="a client's word alone"),
        pytest.param("max-age=60", "stale-if-error=9", False, id="past it"),
        pytest.param("max-age=60, stale-if-error=9", "stale-if-error=60", True, id="more than the origin's"),
        pytest.param("max-age=60, stale-if-error=60", "stale-if-error=9", False, id="less"),
        pytest.param("max-age=60, stale-if-error=60", "stale-if-error=x", False, id="unreadable"),
        pytest.param("max-age=60, must-revalidate", "stale-if-error=60", False, id="must-revalidate"),
        pytest.param("s-maxage=60", "stale-if-error=60", False, id="s-maxage"),
        pytest.param("max-age=60, no-cache", "stale-if-error=60", False, id="no-cache"),
    ],
)
def test_stale_if_error_of_a_request(control: str, asked: str, stale: bool) -> None:
    with CacheRoom(answers(ok(b"old", cache_control=control, etag='"a"'), ok(b"sorry", 503))) as room:
        room.ask()
        room.clock.go(70)
        answered = room.ask(fields=[(CC, asked.encode())])
        assert answered.body == (b"old" if stale else b"sorry")


def test_each_who_waited_for_a_failure_is_answered_by_its_own_word() -> None:
    origin = Gated(ok(b"old", cache_control="max-age=60", etag='"a"'), broken_off())
    with CacheRoom(origin) as room:
        origin.gate.set()
        room.ask()
        origin.gate.clear()
        room.clock.go(70)

        async def two() -> list[Answered | BaseException]:
            asked = [make_request(), make_request(fields=[(CC, b"stale-if-error=60")])]
            tasks = [asyncio.create_task(room.answer(request)) for request in asked]
            await spin()
            origin.gate.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        refused, served = room.run(two())
        assert isinstance(refused, EdgeError)
        assert isinstance(served, Answered)
        assert served.body == b"old"
        assert len(room.asked) == 2


def test_who_ignores_clients_ignores_their_stale_if_error() -> None:
    settings = CacheSettings(ignore_client=True)
    origin = answers(ok(b"old", cache_control="max-age=60", etag='"a"'), ok(b"sorry", 503))
    with CacheRoom(origin, settings) as room:
        room.ask()
        room.clock.go(70)
        assert room.ask(fields=[(CC, b"stale-if-error=60")]).body == b"sorry"


@pytest.mark.parametrize(
    ("control", "past_s"), [("max-age=60, stale-if-error=60", 60), ("max-age=60", 1)], ids=["past", "none"]
)
def test_no_stale_answer_outside_the_window(control: str, past_s: int) -> None:
    with CacheRoom(answers(ok(b"old", cache_control=control), broken_off())) as room:
        room.ask()
        room.clock.go(60 + past_s)
        with pytest.raises(EdgeError):
            room.ask()


def test_must_revalidate_is_never_served_stale() -> None:
    control = "max-age=60, must-revalidate, stale-if-error=60, stale-while-revalidate=60"
    with CacheRoom(answers(ok(b"old", cache_control=control, etag='"a"'), broken_off())) as room:
        room.ask()
        room.clock.go(61)
        with pytest.raises(EdgeError):
            room.ask()


def test_a_500_leaves_the_stored_response_for_the_time_after() -> None:
    with CacheRoom(
        answers(
            ok(b"old", cache_control="max-age=60", etag='"a"'),
            ok(b"sorry", 500),
            not_modified(cache_control="max-age=60"),
        )
    ) as room:
        room.ask()
        room.clock.go(61)
        assert room.ask().status == 500
        assert (room.ask().body, len(room.asked)) == (b"old", 3)


# Filters and unsafe methods


def test_what_is_stored_is_what_the_filters_made_of_it() -> None:
    def code(ctx: Context, response: Response) -> None:
        response.settled = True
        if ctx.request.fields.get(b"accept-encoding") == b"gzip" and response.body:
            response.body, response.length = b"GZ", 2
            response.fields.append(b"Content-Encoding", b"gzip")
        response.fields.append(b"Vary", b"Accept-Encoding")

    gzip = [(b"Accept-Encoding", b"gzip")]
    with CacheRoom(
        answers(
            ok(b"hello", cache_control="max-age=60", etag='"a"'),
            ok(b"hello", cache_control="max-age=60"),
            not_modified(cache_control="max-age=60", etag='"a"', content_encoding="identity"),
        ),
        store_filters=[code],
    ) as room:
        assert room.ask(fields=gzip).body == b"GZ"
        assert room.ask().body == b"hello"
        for lines, body in ((gzip, b"GZ"), ([], b"hello")):
            hit = room.ask(fields=lines)
            assert (hit.body, hit.ctx.outcome) == (body, Outcome.HIT)
        room.clock.go(61)
        fresh = room.ask(fields=gzip)
        assert (fresh.body, fresh.ctx.outcome) == (b"GZ", Outcome.REVALIDATED)
        assert fresh.fields.get_all(b"content-encoding") == [b"gzip"]
        assert fresh.fields.get_all(b"vary") == [b"Accept-Encoding"]


def test_filters_run_once_on_every_answer_of_the_origin() -> None:
    seen = []

    def watch(ctx: Context, response: Response) -> None:
        seen.append(response.status)

    with CacheRoom(answers(ok(), ok(cache_control="max-age=60"), ok()), store_filters=[watch]) as room:
        room.ask("/private")
        room.ask("/stored")
        room.ask("/stored")
        room.ask("/unsafe", method=b"POST")
        assert seen == [200, 200, 200]


INVALIDATING = [
    pytest.param(b"POST", 200, "miss", id="POST 200"),
    pytest.param(b"DELETE", 204, "miss", id="DELETE 204"),
    pytest.param(b"PUT", 303, "miss", id="PUT 303"),
    pytest.param(b"PURGEX", 200, "miss", id="a method nobody knows"),
    pytest.param(b"POST", 404, "hit", id="POST 404"),
    pytest.param(b"POST", 500, "hit", id="POST 500"),
    pytest.param(b"OPTIONS", 200, "hit", id="OPTIONS is safe"),
]


@pytest.mark.parametrize(("method", "status", "outcome"), INVALIDATING)
def test_unsafe_methods_that_succeed_invalidate(method: bytes, status: int, outcome: str) -> None:
    with CacheRoom(
        answers(ok(cache_control="max-age=60"), ok(b"", status), ok(cache_control="max-age=60"))
    ) as room:
        room.ask("/a")
        room.ask("/a", method=method)
        assert room.outcome("/a") == outcome


def test_locations_of_the_same_origin_are_invalidated_too() -> None:
    created = Response(
        201,
        Fields.of([(b"Location", b"/made"), (b"Content-Location", b"http://other.example/kept")]),
        b"",
        0,
    )
    with CacheRoom(answers(ok(cache_control="max-age=60"), created, ok(cache_control="max-age=60"))) as room:
        room.ask("/made")
        room.ask("/make", method=b"POST")
        assert room.outcome("/made") == "miss"


def test_a_fetch_begun_before_an_invalidation_stores_nothing() -> None:
    gate = asyncio.Event()

    async def handler(asked: Asked) -> Response:
        if asked.method == b"POST":
            return ok(b"", 204)
        old = not gate.is_set()
        await asyncio.wait_for(gate.wait(), PATIENCE_S)
        return ok(b"old" if old else b"new", cache_control="max-age=60")

    with CacheRoom(handler) as room:

        async def whole() -> Answered:
            reader = asyncio.create_task(room.answer(make_request()))
            await spin()
            await room.answer(make_request(method=b"POST"))
            gate.set()
            return await reader

        assert room.run(whole()).body == b"old"
        assert room.ask().body == b"new"


# Freshening by HEAD (RFC 9111 4.3.5)

HEADS = [  # what HEAD tells, outcome of the next GET, value of X-A then
    pytest.param({"etag": '"a"', "x_a": "2"}, Outcome.HIT, b"2", id="the same: updated"),
    pytest.param({"etag": '"b"'}, Outcome.MISS, b"1", id="another tag: forgotten"),
    pytest.param({"etag": '"a"', "cache_control": "no-store"}, Outcome.MISS, b"1", id="no longer storable"),
]


@pytest.mark.parametrize(("told", "outcome", "value"), HEADS)
def test_head_freshens_or_forgets_the_stored_get(
    told: dict[str, str], outcome: Outcome, value: bytes
) -> None:
    async def handler(asked: Asked) -> Response:
        if asked.method == b"HEAD":
            return Response(200, ok(b"", **{"cache_control": "max-age=60", **told}).fields, None, 5)
        return ok(b"hello", cache_control="max-age=60", etag='"a"', x_a="1")

    with CacheRoom(handler) as room:
        room.ask()
        room.clock.go(70)
        assert room.ask(method=b"HEAD").ctx.forward is Forward.STALE
        got = room.ask()
        assert (got.ctx.outcome, got.body, got.fields.get(b"x-a")) == (outcome, b"hello", value)


def test_a_head_that_varies_further_forgets_the_stored_get() -> None:
    async def handler(asked: Asked) -> Response:
        vary = "B" if asked.method == b"HEAD" else "A"
        return Response(200, ok(cache_control="max-age=60", vary=vary).fields, b"hello", 5)

    with CacheRoom(handler) as room:
        room.ask()
        room.clock.go(70)
        room.ask(method=b"HEAD")
        assert room.ask().ctx.outcome is Outcome.MISS


def test_a_head_of_another_length_forgets_the_stored_get() -> None:
    async def handler(asked: Asked) -> Response:
        head = asked.method == b"HEAD"
        return Response(
            200, ok(cache_control="max-age=60").fields, None if head else b"hello", 6 if head else 5
        )

    with CacheRoom(handler) as room:
        room.ask()
        room.ask(method=b"HEAD", fields=[(b"Cache-Control", b"no-cache")])
        assert room.outcome() == "miss"
