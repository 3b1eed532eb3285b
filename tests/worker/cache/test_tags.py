"""Tags: read from what origins send, kept with the response, shown to nobody."""

import pytest

from tests.support.cache_room import CLIENT, Asked, CacheRoom, Pieces, make_request, ok
from worker.cache.key import cache_key
from worker.cache.tags import MAX_TAG_BYTES, MAX_TAGS, drop_tags, tags_of, url_tag
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.reasons import NotStorable

LINES: list[tuple[list[tuple[bytes, bytes]], tuple[bytes, ...]]] = [
    ([], ()),
    ([(b"Cache-Tag", b"a, b,,c d")], (b"a", b"b", b"c d")),
    ([(b"Surrogate-Key", b"a  b,c")], (b"a", b"b,c")),
    ([(b"xkey", b"a, b c"), (b"XKEY", b"d")], (b"a", b"b", b"c", b"d")),
    ([(b"Cache-Tag", b"x"), (b"Surrogate-Key", b"x Y"), (b"xkey", b"y")], (b"x", b"Y", b"y")),
    ([(b"Cache-Tag", b"")], ()),
]


@pytest.mark.parametrize(("lines", "tags"), LINES)
def test_tags_are_read_from_all_three_fields(
    lines: list[tuple[bytes, bytes]], tags: tuple[bytes, ...]
) -> None:
    assert tags_of(Fields.of(lines)) == tags


def test_more_tags_than_are_kept_are_none() -> None:
    assert (
        len(tags_of(Fields.of([(b"xkey", b" ".join(b"%d" % n for n in range(MAX_TAGS)))])) or ()) == MAX_TAGS
    )
    assert tags_of(Fields.of([(b"xkey", b" ".join(b"%d" % n for n in range(MAX_TAGS + 1)))])) is None
    assert tags_of(Fields.of([(b"xkey", b"x" * MAX_TAG_BYTES)])) == (b"x" * MAX_TAG_BYTES,)
    assert tags_of(Fields.of([(b"xkey", b"x" * (MAX_TAG_BYTES + 1))])) is None


def test_the_filter_drops_them_and_nothing_else() -> None:
    lines = [(b"Cache-Tag", b"a"), (b"X", b"1"), (b"Surrogate-Key", b"b"), (b"xkey", b"c"), (b"Xkey", b"d")]
    response = Response(200, Fields.of(lines), None, None)
    drop_tags(Context(make_request(), CLIENT, b"0" * 32, 0, 0.0), response)
    assert response.fields.items() == [(b"X", b"1")]


def test_the_tag_of_a_url_is_that_of_all_its_keys_and_no_origins() -> None:
    key = cache_key(make_request("/a"))
    assert url_tag(key) == url_tag(key + b"\0=de\0serial") == b"\0http://a.example/a"


class Tagged:
    """An origin whose answers are numbered and tagged; pieces by pieces below /slow."""

    def __init__(self, **fields: str) -> None:
        self.number = 0
        self.fields = {"cache_control": "max-age=60", "xkey": "all", **fields}

    async def __call__(self, asked: Asked) -> Response:
        self.number += 1
        body = b"%d" % self.number
        if asked.path.startswith(b"/slow"):
            return ok(Pieces(body, length=len(body)), **self.fields)
        return ok(body, **self.fields)


def tagged(**fields: str) -> CacheRoom:
    return CacheRoom(Tagged(**fields), store_filters=(drop_tags,))


@pytest.mark.parametrize("path", ["/a", "/slow"])
@pytest.mark.parametrize("vary", ["", "x", "accept-encoding"])
def test_a_purge_by_tag_reaches_what_carries_it(path: str, vary: str) -> None:
    with tagged(vary=vary, cache_tag="one, two") as room:
        asked = [[(b"X", b"1")], [(b"X", b"2"), (b"Accept-Encoding", b"gzip")]]
        for fields in asked:
            assert room.ask(path, fields).fields.get(b"xkey") is None
            assert room.outcome(path, fields) == "hit"
        room.segment.cache.purge_tag(b"three")
        assert [room.outcome(path, fields) for fields in asked] == ["hit", "hit"]
        room.segment.cache.purge_tag(b"two")
        assert room.outcome(path, asked[0]) == "miss"
        assert room.outcome(path, asked[0]) == "hit"


def test_a_hit_and_a_304_show_no_tags() -> None:
    with tagged(etag='"e"') as room:
        room.ask("/a")
        for fields in ([], [(b"If-None-Match", b'"e"')]):
            answered = room.ask("/a", fields)
            assert answered.ctx.outcome.value == "hit"
            assert [name for name in (b"xkey", b"cache-tag") if name in answered.fields] == []


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
def test_an_answer_that_is_passed_on_shows_no_tags(method: bytes) -> None:
    with tagged(cache_control="no-store") as room:
        answered = room.ask("/a", [], method)
        assert answered.ctx.outcome.value != "hit"
        assert b"xkey" not in answered.fields


def retagged(body: bytes = b"body", **not_modified: str) -> CacheRoom:
    """A room whose origin gives the tag "old", and says in its 304 what is given here."""

    async def handler(asked: Asked) -> Response:
        if asked.fields.get(b"if-none-match"):
            return ok(b"", 304, etag='"e"', cache_control="max-age=60", **not_modified)
        return ok(body, etag='"e"', cache_control="max-age=10", xkey="old", vary="x")

    return CacheRoom(handler, store_filters=(drop_tags,))


def revalidate(room: CacheRoom) -> None:
    room.ask("/a")
    room.clock.go(11)
    again = room.ask("/a")
    assert again.ctx.outcome.value == "revalidated"
    assert b"xkey" not in again.fields
    assert room.outcome("/a") == "hit"


def test_tags_stay_through_a_304_that_names_none() -> None:
    with retagged() as room:
        revalidate(room)
        room.segment.cache.purge_tag(b"old")
        assert room.outcome("/a") == "miss"


@pytest.mark.parametrize("body", [b"body", b"x" * 200_000], ids=["small", "large"])
def test_the_tags_of_a_304_take_the_place_of_those_stored(body: bytes) -> None:
    with retagged(body, xkey="new newer") as room:
        revalidate(room)
        room.segment.cache.purge_tag(b"old")
        assert room.outcome("/a") == "hit"
        room.segment.cache.purge_tag(b"newer")
        assert room.outcome("/a") == "miss"


def test_a_304_with_more_tags_than_are_kept_ends_what_is_stored() -> None:
    with retagged(cache_tag=",".join(map(str, range(MAX_TAGS + 1)))) as room:
        room.ask("/a")
        room.clock.go(11)
        again = room.ask("/a")
        assert (again.body, again.ctx.not_storable) == (b"body", NotStorable.TOO_MANY_TAGS)
        assert room.outcome("/a") == "miss"


def test_the_answer_to_head_renews_tags_and_shows_none() -> None:
    async def handler(asked: Asked) -> Response:
        if asked.method == b"HEAD":
            return ok(etag='"e"', cache_control="max-age=60", xkey="new")
        return ok(etag='"e"', cache_control="max-age=10", xkey="old")

    with CacheRoom(handler, store_filters=(drop_tags,)) as room:
        room.ask("/a")
        room.clock.go(11)
        room.ask("/a", method=b"HEAD")
        hit = room.ask("/a")
        assert hit.ctx.outcome.value == "hit"
        assert b"xkey" not in hit.fields
        room.segment.cache.purge_tag(b"new")
        assert room.outcome("/a") == "miss"


def test_what_has_more_tags_than_are_kept_is_not_stored_and_says_so() -> None:
    with tagged(cache_tag=",".join(map(str, range(MAX_TAGS + 1)))) as room:
        assert room.ask("/a").ctx.not_storable is NotStorable.TOO_MANY_TAGS
        assert room.ask("/a").body == b"2"


def test_a_purge_by_tag_wins_over_a_fetch_begun_before() -> None:
    async def handler(asked: Asked) -> Response:
        room.segment.cache.purge_tag(b"t")
        return ok(b"old", cache_control="max-age=60", xkey="t")

    with CacheRoom(handler) as room:
        refused = room.ask("/a").ctx
        assert (refused.stored, refused.not_storable) == (False, NotStorable.PURGED)
        assert room.segment.cache.get(cache_key(make_request("/a")), room.clock()) is None


def test_a_soft_purge_by_tag_leaves_it_to_be_served_stale() -> None:
    with tagged(cache_control="max-age=60, stale-while-revalidate=30", vary="x") as room:
        room.ask("/a")
        room.clock.go(1)
        room.segment.cache.purge_tag(b"all", room.clock())
        stale = room.ask("/a")
        assert (stale.ctx.outcome.value, stale.body) == ("stale", b"1")
        assert (room.outcome("/a"), room.ask("/a").body) == ("hit", b"2")
