"""Purging by URL: all variants at once, and nothing of before comes back."""

from typing import cast

import pytest

from tests.support.cache_room import Asked, CacheRoom, Pieces, make_request, ok
from worker.cache.purge import purge_url
from worker.message import Request, Response, Stream

URL = "http://a.example/a"


class Counting:
    """An origin that numbers its answers."""

    def __init__(self, **fields: str) -> None:
        self.number = 0
        self.fields = fields

    async def __call__(self, asked: Asked) -> Response:
        self.number += 1
        return ok(b"%d" % self.number, cache_control="max-age=60", **self.fields)


def test_a_purged_url_is_fetched_anew() -> None:
    with CacheRoom(Counting()) as room:
        room.ask("/a")
        room.ask("/b")
        assert purge_url(room.segment.cache, URL, clock=room.clock) is True
        assert purge_url(room.segment.cache, URL, clock=room.clock) is False
        room.clock.go(1)
        assert room.ask("/a").body == b"3"
        assert room.ask("/b").body == b"2"
        assert room.outcome("/a") == "hit"


def test_nothing_stored_nothing_purged() -> None:
    with CacheRoom(Counting()) as room:
        assert purge_url(room.segment.cache, URL, clock=room.clock) is False


def test_every_variant_goes_and_none_comes_back() -> None:
    with CacheRoom(Counting(vary="X")) as room:
        for value in (b"1", b"2"):
            room.ask("/a", [(b"X", value)])
        assert purge_url(room.segment.cache, URL, clock=room.clock) is True
        room.clock.go(1)
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
            room.clock.go(1)
            purge_url(room.segment.cache, URL, clock=room.clock)
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
        assert purge_url(room.segment.cache, "http://A.example:80/./a", normalize=normalize, clock=room.clock)


def test_what_is_no_url_is_refused() -> None:
    with CacheRoom(Counting()) as room, pytest.raises(ValueError, match="URL"):
        purge_url(room.segment.cache, "/a", clock=room.clock)
