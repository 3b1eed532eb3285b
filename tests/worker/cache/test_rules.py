"""What a route's settings change: lifetimes, windows, and whose directives are heeded."""

from typing import Any

import pytest

from tests.support.cache_room import Asked, CacheRoom, Pairs, http_date, ok
from worker.cache.control import NO_REQUEST_CONTROL, RequestControl, ResponseControl
from worker.cache.freshness import HEURISTIC_MAX_S
from worker.cache.rules import Rules
from worker.fields import Fields
from worker.message import Response
from worker.reasons import Forward, NotStorable, Outcome
from worker.response.hop_by_hop import drop_hop_by_hop
from worker.settings import CacheSettings

NOW_S = 784111777
CC = b"Cache-Control"
OLD = (b"Last-Modified", http_date(NOW_S - 1000).encode())
NEGATIVE = ((404, 404, 10), (500, 599, 1))

LIFETIMES = [  # settings, status, response -> seconds
    pytest.param({}, 200, [], None, id="nobody says"),
    pytest.param({}, 200, [OLD], None, id="no heuristics unless asked for"),
    pytest.param({"heuristic": 0.1}, 200, [OLD], 100, id="heuristic"),
    pytest.param({"heuristic": 0.1}, 200, [(CC, b"max-age=5"), OLD], 5, id="not beside a lifetime"),
    pytest.param({"heuristic": 0.1}, 200, [(CC, b"max-age=x"), OLD], 0, id="nor an unreadable one"),
    pytest.param({"heuristic": 0.1}, 200, [(b"Expires", b"0"), OLD], 0, id="nor Expires: 0"),
    pytest.param({"heuristic": 0.1}, 404, [OLD], 100, id="a status that may"),
    pytest.param({"heuristic": 0.1}, 302, [OLD], None, id="a status that may not"),
    pytest.param({"heuristic": 0.1}, 302, [(CC, b"public"), OLD], 100, id="unless public"),
    pytest.param(
        {"heuristic": 0.5},
        200,
        [(b"Last-Modified", http_date(NOW_S - 10**8).encode())],
        HEURISTIC_MAX_S,
        id="a week",
    ),
    pytest.param({"by_status": NEGATIVE}, 404, [], 10, id="by status"),
    pytest.param({"by_status": NEGATIVE}, 503, [], 1, id="by class"),
    pytest.param({"by_status": NEGATIVE}, 403, [], None, id="another status"),
    pytest.param({"by_status": NEGATIVE}, 404, [(CC, b"max-age=99")], 99, id="the origin's own word"),
    pytest.param({"by_status": NEGATIVE, "ttl_s": 60}, 404, [], 10, id="by status before ttl"),
    pytest.param({"ttl_s": 60}, 200, [], 60, id="ttl without a lifetime"),
    pytest.param({"ttl_s": 60}, 200, [(CC, b"max-age=5")], 60, id="ttl instead of max-age"),
    pytest.param({"ttl_s": 60}, 200, [(CC, b"s-maxage=500")], 60, id="ttl instead of s-maxage"),
    pytest.param({"ttl_s": 60}, 500, [], None, id="errors need a lifetime of their own"),
    pytest.param({"ttl_s": 60, "heuristic": 0.1}, 200, [OLD], 60, id="ttl before heuristics"),
    pytest.param({"max_ttl_s": 30}, 200, [(CC, b"max-age=99")], 30, id="the longest"),
    pytest.param({"max_ttl_s": 30}, 200, [(CC, b"max-age=9")], 9, id="shorter ones stay"),
    pytest.param({"max_ttl_s": 30}, 200, [], None, id="the longest is no default"),
    pytest.param({"max_ttl_s": 30, "ttl_s": 60}, 200, [], 30, id="ttl is capped too"),
]


@pytest.mark.parametrize(("settings", "status", "lines", "seconds"), LIFETIMES)
def test_lifetimes_by_rule(settings: dict[str, Any], status: int, lines: Pairs, seconds: int | None) -> None:
    rules, fields = Rules(CacheSettings(**settings)), Fields.of(lines)
    assert rules.lifetime(status, fields, rules.response_control(fields), NOW_S, NOW_S) == seconds


WINDOWS = {"stale_while_revalidate_s": 7, "stale_if_error_s": 8}
CONTROLS = [
    pytest.param({}, b"max-age=1", ResponseControl(max_age=1), id="no rule"),
    pytest.param(
        WINDOWS,
        b"max-age=1",
        ResponseControl(max_age=1, stale_while_revalidate=7, stale_if_error=8),
        id="windows where none is named",
    ),
    pytest.param(
        WINDOWS,
        b"stale-while-revalidate=0, stale-if-error=3",
        ResponseControl(stale_while_revalidate=0, stale_if_error=3),
        id="the origin's own windows",
    ),
]


@pytest.mark.parametrize(("settings", "value", "control"), CONTROLS)
def test_windows_by_rule(settings: dict[str, Any], value: bytes, control: ResponseControl) -> None:
    assert Rules(CacheSettings(**settings)).response_control(Fields.of([(CC, value)])) == control


def test_a_client_that_is_ignored_asks_for_nothing() -> None:
    for line in ((CC, b"no-store, only-if-cached, max-age=0"), (b"Pragma", b"no-cache")):
        fields = Fields.of([line])
        assert Rules(CacheSettings(ignore_client=True)).request_control(fields) == NO_REQUEST_CONTROL
    fields = Fields.of([(CC, b"no-cache")])
    assert Rules(CacheSettings()).request_control(fields) == RequestControl(no_cache=True)


# In a whole route


def room_for(*lines: tuple[str, str], status: int = 200, **settings: Any) -> CacheRoom:
    async def handler(asked: Asked) -> Response:
        fields = Fields.of((name.encode(), value.encode()) for name, value in lines)
        return Response(status, fields, b"hello", 5)

    return CacheRoom(handler, CacheSettings(**settings))


@pytest.mark.parametrize("line", [(CC, b"no-cache"), (CC, b"max-age=0"), (b"Pragma", b"no-cache")])
def test_reloads_hit_where_clients_are_ignored(line: tuple[bytes, bytes]) -> None:
    with room_for(("Cache-Control", "max-age=60"), ignore_client=True) as room:
        room.ask()
        room.clock.go(5)
        assert room.outcome(fields=[line]) == "hit"


def test_the_answer_to_a_request_with_no_store_is_stored_where_clients_are_ignored() -> None:
    with room_for(("Cache-Control", "max-age=60"), ignore_client=True) as room:
        assert room.ask(fields=[(CC, b"no-store")]).ctx.stored
        assert room.outcome() == "hit"


def test_an_error_without_a_lifetime_is_kept_as_long_as_its_status_says() -> None:
    with room_for(status=404, by_status=NEGATIVE) as room:
        assert room.ask().ctx.ttl_s == 10
        room.clock.go(9)
        assert room.outcome() == "hit"
        room.clock.go(1)
        assert room.outcome() == "miss"


@pytest.mark.parametrize(
    ("value", "reason"),
    [("no-store", NotStorable.NO_STORE), ("private", NotStorable.PRIVATE)],
)
def test_no_ttl_stores_what_may_not_be_stored(value: str, reason: NotStorable) -> None:
    with room_for(("Cache-Control", value), ttl_s=60) as room:
        assert room.ask().ctx.not_storable is reason
        assert room.outcome() == "miss"


def test_no_ttl_spares_what_is_marked_no_cache_its_validation() -> None:
    with room_for(("Cache-Control", "no-cache"), ("ETag", '"a"'), ttl_s=60) as room:
        room.ask()
        assert room.ask().ctx.forward is Forward.STALE


def test_a_window_by_rule_serves_stale_while_the_origin_is_asked() -> None:
    with room_for(("Cache-Control", "max-age=10"), stale_while_revalidate_s=20) as room:
        room.ask()
        room.clock.go(15)
        assert room.outcome() == Outcome.STALE
        assert len(room.asked) == 2
        assert room.outcome() == Outcome.HIT


@pytest.mark.parametrize("word", ["must-revalidate", "proxy-revalidate", "s-maxage=10"])
def test_no_window_by_rule_where_the_origin_forbids_stale_use(word: str) -> None:
    with room_for(("Cache-Control", f"max-age=10, {word}"), stale_while_revalidate_s=20) as room:
        room.ask()
        room.clock.go(15)
        assert room.outcome() == Outcome.MISS


def test_a_window_by_rule_covers_for_an_origin_that_fails() -> None:
    answers = iter([ok(cache_control="max-age=10"), ok(b"broken", 503)])

    async def handler(asked: Asked) -> Response:
        return next(answers)

    with CacheRoom(handler, CacheSettings(stale_if_error_s=20)) as room:
        room.ask()
        room.clock.go(15)
        stale = room.ask()
        assert (stale.status, stale.body, stale.ctx.outcome) == (200, b"hello", Outcome.STALE)


COOKIES = [  # Cache-Control -> stored, and without its cookie?
    pytest.param("max-age=60", True, id="storable but for its cookie"),
    pytest.param("private, max-age=60", False, id="private all the same"),
    pytest.param("no-store", False, id="no-store all the same"),
    pytest.param("x", False, id="not worth storing"),
]


@pytest.mark.parametrize(("value", "dropped"), COOKIES)
def test_cookies_are_dropped_only_from_what_may_then_be_stored(value: str, dropped: bool) -> None:
    with room_for(("Cache-Control", value), ("Set-Cookie", "a=b"), drop_cookies=True) as room:
        for _ in range(3):  # the third goes its way alone if nothing is stored
            answered = room.ask()
            assert (b"set-cookie" not in answered.fields) is dropped
        assert (answered.ctx.outcome is Outcome.HIT) is dropped


def test_a_cookie_of_a_304_is_dropped_as_well() -> None:
    async def handler(asked: Asked) -> Response:
        status = 304 if b"if-none-match" in asked.fields else 200
        body = b"" if status == 304 else b"hello"
        return ok(body, status, cache_control="max-age=60", etag='"a"', set_cookie="a=b")

    with CacheRoom(handler, CacheSettings(drop_cookies=True)) as room:
        room.ask()
        room.clock.go(60)
        for outcome in (Outcome.REVALIDATED, Outcome.HIT):
            answered = room.ask()
            assert answered.ctx.outcome is outcome
            assert b"set-cookie" not in answered.fields


# Targeted fields (RFC 9213)


def test_our_own_field_decides_and_is_shown_to_nobody() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(
            cache_control="no-store", cdn_cache_control="max-age=5", edgecluster_cache_control="max-age=60"
        )

    with CacheRoom(handler, store_filters=(drop_hop_by_hop,)) as room:
        for outcome, ttl_s in ((Outcome.MISS, 60), (Outcome.HIT, 60)):
            answered = room.ask()
            assert (answered.ctx.outcome, answered.ctx.ttl_s) == (outcome, ttl_s)
            assert answered.fields.get(CC.lower()) == b"no-store"
            assert answered.fields.get(b"cdn-cache-control") == b"max-age=5"
            assert b"edgecluster-cache-control" not in answered.fields


@pytest.mark.parametrize(("again", "ttl_s"), [({}, 60), ({"edgecluster_cache_control": "max-age=30"}, 30)])
def test_our_own_field_is_remembered_through_a_304(again: dict[str, str], ttl_s: int) -> None:
    async def handler(asked: Asked) -> Response:
        if b"if-none-match" in asked.fields:
            return ok(b"", 304, etag='"a"', **again)
        return ok(cache_control="no-store", edgecluster_cache_control="max-age=60", etag='"a"')

    with CacheRoom(handler, store_filters=(drop_hop_by_hop,)) as room:
        room.ask()
        for _ in range(2):
            room.clock.go(60)
            answered = room.ask()
            assert (answered.ctx.outcome, answered.ctx.ttl_s) == (Outcome.REVALIDATED, ttl_s)
            assert b"edgecluster-cache-control" not in answered.fields
