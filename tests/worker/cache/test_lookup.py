"""The gate: what is answered from the cache, and what the request is told when it is not."""

import pytest

from tests.support.cache_room import Asked, CacheRoom, Pairs, Pieces, http_date, make_request, ok
from worker.cache.entry import ENCODING_ONLY, NO_CACHE, PREFIX, VARY, Stored, encode
from worker.errors import EdgeError
from worker.message import Response
from worker.reasons import Forward, NotStorable, Outcome
from worker.settings import CacheSettings

CC = b"Cache-Control"


async def fresh(asked: Asked) -> Response:
    return ok(b"hello", cache_control="max-age=60", etag='"a"')


def test_a_miss_is_stored_and_then_hit() -> None:
    with CacheRoom(fresh) as room:
        first = room.ask("/a")
        assert (first.ctx.outcome, first.ctx.forward, first.ctx.stored) == (
            Outcome.MISS,
            Forward.URI_MISS,
            True,
        )
        assert first.ctx.key == b"http://a.example/a"
        room.clock.go(7.5)
        second = room.ask("/a")
        assert (second.status, second.body, second.length) == (200, b"hello", 5)
        assert second.ctx.outcome is Outcome.HIT
        assert (second.ctx.age_s, second.ctx.ttl_s) == (7, 52)
        assert second.ctx.forward is None
        assert len(room.asked) == 1


def test_a_stored_answer_has_the_fields_of_the_origin_without_those_of_one_message() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(
            b"x",
            cache_control="max-age=60",
            content_type="text/plain",
            age="3",
            connection="x-hop",
            x_hop="1",
        )

    with CacheRoom(handler) as room:
        room.ask()
        hit = room.ask()
        assert sorted(name for name, _ in hit.fields.items()) == [b"Cache-Control", b"Content-Type", b"Date"]
        assert hit.ctx.age_s == 3


def test_other_targets_are_not_hit() -> None:
    with CacheRoom(fresh) as room:
        room.ask("/a")
        for path in ("/b", "/a?", "/a?x", "/A"):
            assert room.outcome(path) == "miss"


def test_head_is_answered_from_a_stored_get() -> None:
    with CacheRoom(fresh) as room:
        room.ask()
        head = room.ask(method=b"HEAD")
        assert (head.status, head.body, head.length) == (200, b"", 5)
        assert head.ctx.outcome is Outcome.HIT


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 70_000, 1_000_000])
def test_bodies_of_every_size_come_back_as_they_were(size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)

    async def handler(asked: Asked) -> Response:
        return ok(body[:size], cache_control="max-age=60")

    with CacheRoom(handler) as room:
        assert room.ask().body == body[:size]
        hit = room.ask()
        assert (hit.ctx.outcome, hit.length) == (Outcome.HIT, size)
        assert hit.body == body[:size]


STATUS_AND_METHOD = [
    pytest.param(b"POST", Forward.METHOD, id="POST"),
    pytest.param(b"OPTIONS", Forward.METHOD, id="OPTIONS"),
    pytest.param(b"get", Forward.METHOD, id="methods are case-sensitive"),
]


@pytest.mark.parametrize(("method", "reason"), STATUS_AND_METHOD)
def test_other_methods_bypass_the_cache(method: bytes, reason: Forward) -> None:
    with CacheRoom(fresh) as room:
        room.ask()
        ctx = room.ask(method=method).ctx
        assert (ctx.outcome, ctx.forward, ctx.key) == (Outcome.BYPASS, reason, b"")


def test_a_route_without_cache_bypasses_it() -> None:
    with CacheRoom(fresh, CacheSettings(enabled=False)) as room:
        for _ in range(2):
            ctx = room.ask().ctx
            assert (ctx.outcome, ctx.forward) == (Outcome.BYPASS, Forward.BYPASS)
        assert len(room.asked) == 2


def test_a_get_with_a_body_bypasses_the_cache() -> None:
    with CacheRoom(fresh) as room:
        room.ask()
        request = make_request()
        request.body = Pieces(b"x", length=1)
        ctx = room.run(room.answer(request)).ctx
        assert (ctx.outcome, ctx.forward) == (Outcome.BYPASS, Forward.REQUEST)


REQUEST_DIRECTIVES = [  # on a response of age 30 with a lifetime of 60
    pytest.param([(CC, b"no-cache")], Outcome.EXPIRED, Forward.REQUEST, id="no-cache"),
    pytest.param([(b"Pragma", b"no-cache")], Outcome.EXPIRED, Forward.REQUEST, id="Pragma no-cache"),
    pytest.param([(CC, b"max-age=30")], Outcome.HIT, None, id="young enough"),
    pytest.param([(CC, b"max-age=29")], Outcome.EXPIRED, Forward.REQUEST, id="too old"),
    pytest.param([(CC, b"min-fresh=30")], Outcome.HIT, None, id="fresh enough"),
    pytest.param([(CC, b"min-fresh=31")], Outcome.EXPIRED, Forward.REQUEST, id="not fresh enough"),
    pytest.param([(CC, b"no-store")], Outcome.HIT, None, id="no-store forbids storing, not using"),
    pytest.param([(CC, b"only-if-cached")], Outcome.HIT, None, id="only-if-cached and it is"),
    pytest.param([(CC, b"max-stale")], Outcome.HIT, None, id="max-stale while fresh"),
    pytest.param([(b"If-Match", b'"a"')], Outcome.BYPASS, Forward.REQUEST, id="If-Match is for the origin"),
    pytest.param(
        [(b"If-Unmodified-Since", b"Sun, 06 Nov 1994 08:49:37 GMT")],
        Outcome.BYPASS,
        Forward.REQUEST,
        id="so is If-Unmodified-Since",
    ),
    pytest.param([(b"Range", b"bytes=0-1")], Outcome.HIT, None, id="a part of it"),
    pytest.param([(b"Authorization", b"Basic eDp5")], Outcome.HIT, None, id="stored for everybody"),
    pytest.param([(b"Cookie", b"a=b")], Outcome.HIT, None, id="cookies say nothing without Vary"),
]


@pytest.mark.parametrize(("lines", "outcome", "forward"), REQUEST_DIRECTIVES)
def test_request_directives_on_a_fresh_response(
    lines: Pairs, outcome: Outcome, forward: Forward | None
) -> None:
    with CacheRoom(fresh) as room:
        room.ask()
        room.clock.go(30)
        ctx = room.ask(fields=lines).ctx
        assert (ctx.outcome, ctx.forward) == (outcome, forward)


STALE_DIRECTIVES = [  # response, request, seconds after the end of its lifetime -> outcome
    pytest.param("max-age=60", b"max-stale", 10, Outcome.STALE, id="any staleness"),
    pytest.param("max-age=60", b"max-stale=10", 10, Outcome.STALE, id="as stale as allowed"),
    pytest.param("max-age=60", b"max-stale=9", 10, Outcome.EXPIRED, id="staler than allowed"),
    pytest.param("max-age=60, must-revalidate", b"max-stale", 10, Outcome.EXPIRED, id="must-revalidate"),
    pytest.param("max-age=60, proxy-revalidate", b"max-stale", 10, Outcome.EXPIRED, id="proxy-revalidate"),
    pytest.param("s-maxage=60", b"max-stale", 10, Outcome.EXPIRED, id="s-maxage"),
    pytest.param("max-age=60, stale-while-revalidate=20", None, 19, Outcome.STALE, id="in the window"),
    pytest.param("max-age=60, stale-while-revalidate=20", None, 20, Outcome.EXPIRED, id="past the window"),
    pytest.param("s-maxage=60, stale-while-revalidate=20", None, 5, Outcome.EXPIRED, id="nor s-maxage"),
    pytest.param(
        "max-age=60, stale-while-revalidate=20, must-revalidate", None, 5, Outcome.EXPIRED, id="no window"
    ),
    pytest.param(
        "max-age=60, stale-while-revalidate=20", b"no-cache", 5, Outcome.EXPIRED, id="not with no-cache"
    ),
    pytest.param(
        "max-age=60, stale-while-revalidate=20", b"max-age=99", 5, Outcome.EXPIRED, id="nor max-age"
    ),
    pytest.param("max-age=60", None, 0, Outcome.EXPIRED, id="stale as soon as its lifetime is over"),
]


@pytest.mark.parametrize(("response", "directive", "past_s", "outcome"), STALE_DIRECTIVES)
def test_stale_responses(response: str, directive: bytes | None, past_s: int, outcome: Outcome) -> None:
    async def handler(asked: Asked) -> Response:
        return ok(b"x", cache_control=response, etag='"a"')

    with CacheRoom(handler) as room:
        room.ask()
        room.clock.go(60 + past_s)
        ctx = room.ask(fields=[] if directive is None else [(CC, directive)]).ctx
        assert ctx.outcome is outcome
        if outcome is Outcome.STALE:
            assert (ctx.ttl_s, ctx.refresh) == (-past_s, True)


@pytest.mark.parametrize("directive", [b"no-cache", b"max-age=0", b"min-fresh=5"])
def test_a_stale_response_is_why_a_request_goes_forward_whatever_it_asks_for(directive: bytes) -> None:
    with CacheRoom(fresh) as room:
        room.ask()
        room.clock.go(60)
        assert room.ask(fields=[(CC, directive)]).ctx.forward is Forward.STALE


def test_only_if_cached_and_it_is_not() -> None:
    with CacheRoom(fresh) as room:
        with pytest.raises(EdgeError) as raised:
            room.ask(fields=[(CC, b"only-if-cached")])
        assert raised.value.status == 504
        assert room.asked == []


def test_request_no_store_is_neither_stored_nor_shared() -> None:
    with CacheRoom(fresh) as room:
        ctx = room.ask(fields=[(CC, b"no-store")]).ctx
        assert (ctx.outcome, ctx.not_storable) == (Outcome.BYPASS, NotStorable.REQUEST_NO_STORE)
        assert room.outcome() == "miss"


def test_conditions_are_answered_from_the_cache() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(
            b"hello", cache_control="max-age=60", etag='"a"', content_type="text/plain",
            last_modified=http_date(700_000_000),
        )  # fmt: skip

    with CacheRoom(handler) as room:
        room.ask()
        for lines in (
            [(b"If-None-Match", b'"x", W/"a"')],
            [(b"If-Modified-Since", http_date(700_000_000).encode())],
            [(b"If-None-Match", b'"a"'), (b"If-Modified-Since", http_date(1).encode())],
        ):
            answered = room.ask(fields=lines)
            assert (answered.status, answered.body, answered.ctx.outcome) == (304, b"", Outcome.HIT)
            assert answered.fields.get(b"etag") == b'"a"'
            assert b"content-type" not in answered.fields
        for lines in (
            [(b"If-None-Match", b'"b"')],
            [(b"If-Modified-Since", http_date(600_000_000).encode())],
            [(b"If-None-Match", b'"b"'), (b"If-Modified-Since", http_date(700_000_000).encode())],
        ):
            answered = room.ask(fields=lines)
            assert (answered.status, answered.body, answered.ctx.outcome) == (200, b"hello", Outcome.HIT)
        assert len(room.asked) == 1


def test_conditions_do_not_apply_to_a_stored_404() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(b"no", 404, cache_control="max-age=60", etag='"a"')

    with CacheRoom(handler) as room:
        room.ask()
        assert room.ask(fields=[(b"If-None-Match", b'"a"')]).status == 404


# Vary


async def by_language(asked: Asked) -> Response:
    language = asked.fields.get(b"accept-language") or b"none"
    return ok(language, cache_control="max-age=60", vary="Accept-Language")


def test_variants_are_kept_apart() -> None:
    with CacheRoom(by_language) as room:
        for language in (b"de", b"en"):
            first = room.ask(fields=[(b"Accept-Language", language)])
            assert (first.body, first.ctx.outcome) == (language, Outcome.MISS)
        for language in (b"de", b"en"):
            second = room.ask(fields=[(b"Accept-Language", language)])
            assert (second.body, second.ctx.outcome) == (language, Outcome.HIT)
        other = room.ask()
        assert (other.body, other.ctx.forward) == (b"none", Forward.VARY_MISS)


def test_browsers_share_variants_by_coding() -> None:
    async def handler(asked: Asked) -> Response:
        coding = asked.fields.get(b"accept-encoding") or b"identity"
        return ok(coding, cache_control="max-age=60", vary="Accept-Encoding")

    with CacheRoom(handler) as room:
        for value, outcome, body in (
            (b"gzip, deflate, br", Outcome.MISS, b"br, gzip"),
            (b"br,gzip", Outcome.HIT, b"br, gzip"),
            (b"gzip", Outcome.MISS, b"gzip"),
            (b"deflate", Outcome.MISS, b"identity"),
            (b"", Outcome.HIT, b"identity"),
        ):
            answered = room.ask(fields=[(b"Accept-Encoding", value)])
            assert (answered.body, answered.ctx.outcome) == (body, outcome)


def test_a_response_is_filed_by_all_that_its_target_ever_varied_by() -> None:
    varies = iter(["A", "B", "A", "A, B", "A"])

    async def handler(asked: Asked) -> Response:
        return ok(asked.fields.get(b"a") or b"-", cache_control="max-age=60", vary=next(varies))

    with CacheRoom(handler) as room:
        assert room.outcome(fields=[(b"A", b"1")]) == "miss"
        assert room.outcome(fields=[(b"A", b"2")]) == "miss"  # learns that it varies by B too
        assert room.outcome(fields=[(b"A", b"2")]) == "hit"
        assert room.outcome(fields=[(b"A", b"2"), (b"B", b"1")]) == "miss"
        assert room.outcome(fields=[(b"A", b"1")]) == "miss"
        assert room.ask(fields=[(b"A", b"1")]).body == b"1"
        assert room.ask(fields=[(b"A", b"2")]).body == b"2"


@pytest.mark.parametrize("flags", [0, NO_CACHE, VARY, VARY | ENCODING_ONLY])
@pytest.mark.parametrize("meta", [b"", b"x" * 16, encode(Stored(200, b"A: b", 0, 0))])
def test_what_is_damaged_is_dropped_and_asked_for_anew(flags: int, meta: bytes) -> None:
    with CacheRoom(fresh) as room:
        now_ns, key = room.clock(), b"http://a.example/a"
        until_ns = now_ns + 10**9
        assert room.segment.cache.put(
            key,
            meta,
            b"x" * 20_000,
            now_ns=now_ns,
            fresh_until_ns=until_ns,
            keep_until_ns=until_ns,
            flags=flags,
        )
        # By a directive that has it weighed: a plain hit looks at no more than it needs.
        asked = room.ask("/a", [(CC, b"min-fresh=1")])
        assert (asked.body, asked.ctx.outcome, asked.ctx.stored) == (b"hello", Outcome.MISS, True)
        assert room.outcome("/a") == "hit"
        assert len(room.asked) == 1


def test_a_plain_hit_of_what_is_damaged_is_a_miss() -> None:
    with CacheRoom(fresh) as room:
        now_ns, key = room.clock(), b"http://a.example/a"
        until_ns = now_ns + 10**9
        for meta in (b"", b"\0" * 14, PREFIX.pack(0, 200, 5) + b"A: b", PREFIX.pack(0, 200, 4) + b"A: b"):
            room.segment.cache.put(
                key, meta, b"", now_ns=now_ns, fresh_until_ns=until_ns, keep_until_ns=until_ns
            )
            assert (room.outcome("/a"), room.outcome("/a")) == ("miss", "hit")
