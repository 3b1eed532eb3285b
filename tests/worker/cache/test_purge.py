"""Purging: all variants at once, hard or soft, and nothing of before comes back."""

import asyncio
from typing import cast

import pytest

from tests.support.cache_room import Asked, CacheRoom, Pieces, make_request, ok
from worker.cache.key import key_maker
from worker.cache.purge import Purge, Purged
from worker.message import Request, Response, Stream
from worker.settings import CacheSettings, KeySettings

URL = "http://a.example/a"


class Counting:
    """An origin that numbers its answers."""

    def __init__(self, **fields: str) -> None:
        self.number = 0
        self.fields = fields

    async def __call__(self, asked: Asked) -> Response:
        self.number += 1
        return ok(b"%d" % self.number, cache_control="max-age=60", **self.fields)


def purge(room: CacheRoom) -> Purge:
    return Purge(room.segment.cache, key_maker(room.settings.key), clock=room.clock)


def test_a_purged_url_is_fetched_anew() -> None:
    with CacheRoom(Counting()) as room:
        room.ask("/a")
        room.ask("/b")
        assert purge(room).url(URL).found is True
        assert purge(room).url(URL).found is False
        assert room.ask("/a").body == b"3"
        assert room.ask("/b").body == b"2"
        assert room.outcome("/a") == "hit"


def test_nothing_stored_nothing_purged() -> None:
    with CacheRoom(Counting()) as room:
        assert purge(room).url(URL).found is False


def test_every_variant_goes_and_none_comes_back() -> None:
    with CacheRoom(Counting(vary="X")) as room:
        for value in (b"1", b"2"):
            room.ask("/a", [(b"X", value)])
        assert purge(room).url(URL).found is True
        assert room.ask("/a", [(b"X", b"1")]).body == b"3"
        assert room.ask("/a", [(b"X", b"2")]).body == b"4"
        assert room.outcome("/a", [(b"X", b"1")]) == "hit"


def test_a_body_that_was_on_its_way_during_the_purge_is_not_stored() -> None:
    async def handler(asked: Asked) -> Response:
        return ok(Pieces(b"ol", b"d", length=3), cache_control="max-age=60", vary="X")

    with CacheRoom(handler) as room:

        async def whole() -> bytes:
            ctx = room.context(make_request("/a"))
            assert room.lookup(ctx) is None
            body = cast(Stream, (await room.fill(ctx)).body)
            got = await body.read()
            purge(room).url(URL)
            while piece := await body.read():
                got += piece
            await room.settle()
            return got

        assert room.run(whole()) == b"old"
        assert room.outcome("/a") == "miss"


def test_the_normalise_gate_makes_any_spelling_find_the_key() -> None:
    def normalize(request: Request) -> None:
        request.path = request.path.replace(b"/./", b"/")

    with CacheRoom(Counting()) as room:
        room.ask("/a")
        assert Purge(room.segment.cache, normalize=normalize).url("http://A.example:80/./a").found


def test_what_is_no_url_is_refused() -> None:
    with CacheRoom(Counting()) as room, pytest.raises(ValueError, match="URL"):
        purge(room).url("/a")


def test_a_purge_says_what_it_did() -> None:
    with CacheRoom(Counting()) as room:
        before = room.segment.cache.generation()
        done = purge(room).tag("t", soft=True)
        assert done == Purged("tag", "t", soft=True, generation=before + 1)
        assert purge(room).url(URL).generation == room.segment.cache.generation() > before + 1


VARIANTS = [[(b"X", b"1")], [(b"X", b"2"), (b"Accept-Encoding", b"gzip")]]
OTHER = "/other/b"
WAYS = [
    ("url", "http://a.example/dir/a"),
    ("prefix", "http://a.example/dir/"),
    ("prefix", "http://a.example/di"),
    ("prefix", "http://a.example/dir/a"),
    ("tag", "one"),
]


def do(room: CacheRoom, kind: str, target: str, *, soft: bool) -> Purged:
    done = getattr(purge(room), kind)(*([target] if target else []), soft=soft)
    assert isinstance(done, Purged)
    return done


@pytest.mark.parametrize(("kind", "target"), [*WAYS, ("host", "a.example"), ("everything", "")])
@pytest.mark.parametrize("vary", ["", "X", "Accept-Encoding", "X, Accept-Encoding"])
@pytest.mark.parametrize("soft", [False, True])
def test_every_kind_of_purge_takes_the_variants_along(kind: str, target: str, vary: str, soft: bool) -> None:
    async def handler(asked: Asked) -> Response:
        tag = "one" if asked.path == b"/dir/a" else "two"
        return ok(cache_control="max-age=60, stale-while-revalidate=30", vary=vary, xkey=tag)

    with CacheRoom(handler) as room:
        for path in ("/dir/a", OTHER):
            for fields in VARIANTS:
                room.ask(path, fields)
                assert room.outcome(path, fields) == "hit"
        room.clock.go(1)
        assert do(room, kind, target, soft=soft).soft is soft
        left = [room.outcome(OTHER, fields) for fields in VARIANTS]
        if (kind, target) in WAYS:
            assert left == ["hit", "hit"]
        for number, fields in enumerate(VARIANTS):
            if number and not vary:
                break
            assert room.outcome("/dir/a", fields) == ("stale" if soft else "miss")
            assert room.outcome("/dir/a", fields) == "hit"


def test_a_host_is_purged_in_both_schemes_and_without_a_port_only() -> None:
    with CacheRoom(Counting()) as room:
        hosts = [
            (b"http", b"a.example"),
            (b"https", b"a.example"),
            (b"http", b"a.example:81"),
            (b"http", b"b.example"),
        ]
        asked = [make_request("/a", scheme=scheme, host=host) for scheme, host in hosts]
        for request in asked:
            room.run(room.answer(request))
        purge(room).host("A.example:80")
        outcomes = [room.run(room.answer(request)).ctx.outcome.value for request in asked]
        assert outcomes == ["miss", "hit", "hit", "hit"]
        purge(room).host("A.example")
        outcomes = [room.run(room.answer(request)).ctx.outcome.value for request in asked]
        assert outcomes == ["miss", "miss", "hit", "hit"]
        purge(room).host("a.example:81")
        outcomes = [room.run(room.answer(request)).ctx.outcome.value for request in asked]
        assert outcomes == ["hit", "hit", "miss", "hit"]


@pytest.mark.parametrize(("kind", "target"), [*WAYS, ("host", "a.example"), ("everything", "")])
@pytest.mark.parametrize("vary", ["", "X"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_fetch_under_way_is_purged_too(kind: str, target: str, vary: str, soft: bool) -> None:
    async def handler(asked: Asked) -> Response:
        reached.set()
        return ok(Pieces(b"ol", gate, b"d"), cache_control="max-age=60", vary=vary, xkey="one")

    with CacheRoom(handler) as room:
        reached, gate = asyncio.Event(), asyncio.Event()

        async def whole() -> None:
            asking = asyncio.ensure_future(room.answer(make_request("/dir/a")))
            await reached.wait()
            room.clock.go(1)
            do(room, kind, target, soft=soft)
            gate.set()
            assert (await asking).body == b"old"
            await room.settle()

        room.run(whole())
        room.clock.go(1)
        assert room.outcome("/dir/a") == ("expired" if soft else "miss")


@pytest.mark.parametrize("rules", [KeySettings(), KeySettings(headers=(b"y",))])
def test_a_late_fetch_is_not_filed_under_the_record_of_one_begun_after_the_purge(rules: KeySettings) -> None:
    async def handler(asked: Asked) -> Response:
        if asked.fields.get(b"x") == b"1":
            reached.set()
            await gate.wait()
        return ok(cache_control="max-age=60", vary="X")

    with CacheRoom(handler, CacheSettings(collapse=False, key=rules)) as room:
        reached, gate = asyncio.Event(), asyncio.Event()

        async def whole() -> None:
            late = asyncio.ensure_future(room.answer(make_request("/a", [(b"X", b"1")])))
            await reached.wait()
            purge(room).url(URL)
            await room.answer(make_request("/a", [(b"X", b"2")]))
            gate.set()
            assert (await late).ctx.stored is False

        room.run(whole())
        assert room.outcome("/a", [(b"X", b"2")]) == "hit"
        assert room.outcome("/a", [(b"X", b"1")]) == "miss"


def test_a_url_whose_key_has_more_parts_is_purged_in_all_of_them() -> None:
    settings = CacheSettings(key=KeySettings(headers=(b"y",), drop=(b"utm_*",)))
    with CacheRoom(Counting(vary="X"), settings) as room:
        asked = [[(b"Y", b"1")], [(b"Y", b"2")], [(b"Y", b"2"), (b"X", b"2")]]
        for fields in asked:
            room.ask("/a?utm_a=1", fields)
            assert room.outcome("/a", fields) == "hit"
        assert purge(room).url(URL + "?utm_b=2").found is None
        assert [room.outcome("/a", fields) for fields in asked] == ["miss"] * 3
        assert purge(room).prefix("http://a.example/").found is None
        assert [room.outcome("/a", fields) for fields in asked] == ["miss"] * 3


def test_a_freshening_by_an_older_answer_does_not_undo_a_purge() -> None:
    async def handler(asked: Asked) -> Response:
        if asked.fields.get(b"if-none-match"):
            purge(room).url(URL)
            return ok(b"", 304, etag='"e"', cache_control="max-age=60")
        return ok(b"body", etag='"e"', cache_control="max-age=10", vary="X")

    with CacheRoom(handler) as room:
        room.ask("/a")
        room.clock.go(11)
        assert room.ask("/a").ctx.stored is False
        assert room.outcome("/a") == "miss"


def test_a_soft_purge_is_over_once_the_origin_was_asked() -> None:
    async def handler(asked: Asked) -> Response:
        if asked.fields.get(b"if-none-match"):
            return ok(b"", 304, etag='"e"', cache_control="max-age=60")
        return ok(b"body", etag='"e"', cache_control="max-age=60", vary="X")

    with CacheRoom(handler) as room:
        room.ask("/a")
        room.clock.go(1)
        purge(room).url(URL, soft=True)
        assert [room.outcome("/a") for _ in range(2)] == ["revalidated", "hit"]


@pytest.mark.parametrize("tag", ["", " ", "a,b", "a\tb", "a\x00"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with CacheRoom(Counting()) as room, pytest.raises(ValueError, match="no tag"):
        purge(room).tag(tag)
