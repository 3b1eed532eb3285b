"""Conditions and ranges of fresh hits: whichever way a hit takes, the client is told the same.

A directive that says nothing sends a request the careful way, which knows the stored response by all of
its metadata; an empty member does so with a Range.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.cache_room import Answered, Asked, CacheRoom, Pairs, http_date, ok
from worker.cache.byte_range import byte_ranges
from worker.message import Response

WEIGHED = (b"Cache-Control", b"nothing-known")
EARLIER, MODIFIED, LATER = (http_date(at) for at in (800_999_700, 800_999_800, 800_999_900))
SIZES = {"/empty": 0, "/small": 1000, "/copied": 32 * 1024, "/lent": 32 * 1024 + 1, "/large": 300_000}
STORED = {  # what comes with each body
    "strong": {"etag": '"a"', "last_modified": MODIFIED, "date": LATER},
    "weak": {"etag": 'W/"a"', "last_modified": MODIFIED, "content_type": "text/html"},
    "malformed": {"etag": 'a"b', "date": MODIFIED},
    "two": {"etag": '"a", "b"', "last_modified": "yesterday"},
    "dated": {"last_modified": MODIFIED, "content_range": "bytes 0-1/2"},
    "none": {"content_type": "text/plain"},
    "missing": {"etag": '"a"', "last_modified": MODIFIED},
}
PATHS = [f"{size}/{kind}" for size in SIZES for kind in STORED]

TAGS = st.sampled_from(
    [b'"a"', b'W/"a"', b'"b"', b'"a", "b"', b'"b" , W/"a"', b'a"b', b"a", b"*", b" *", b"", b"*,"]
)
DATES = st.sampled_from([date.encode() for date in (EARLIER, MODIFIED, LATER, "yesterday", "")])
NUMBERS = st.one_of(
    st.integers(0, 1100),
    st.sampled_from([0, 999, 1000, 32_767, 32_768, 32_769, 65_536, 299_999, 300_000, 10**17, 10**18, 10**30]),
)
ENDS = st.tuples(NUMBERS, NUMBERS)
SPECS = st.one_of(
    ENDS.map(lambda ends: b"%d-%d" % ends),
    NUMBERS.map(lambda start: b"%d-" % start),
    NUMBERS.map(lambda size: b"-%d" % size),
    st.sampled_from([b"", b"-", b"a-b", b"01-0002", b"1 -2", b"1-2-3", b"\xb2-3"]),
)
RANGES = st.builds(
    lambda unit, specs: unit + b"=" + b",".join(specs),
    st.sampled_from([b"bytes", b"Bytes", b"lines"]),
    st.lists(SPECS, min_size=1, max_size=1),  # several parts have a boundary of their own in every answer
)
LINES = st.lists(
    st.one_of(
        st.tuples(st.just(b"If-None-Match"), TAGS),
        st.tuples(st.just(b"If-Modified-Since"), DATES),
        st.tuples(st.just(b"If-Range"), st.one_of(TAGS, DATES)),
        st.tuples(st.just(b"Range"), RANGES),
    ),
    max_size=4,
)


async def handler(asked: Asked) -> Response:
    size, kind = asked.path.decode().rsplit("/", 1)
    body = (bytes(range(250)) * (SIZES[size] // 250 + 1))[: SIZES[size]]
    return ok(body, 404 if kind == "missing" else 200, cache_control="max-age=600", **STORED[kind])


def told(answered: Answered) -> tuple[object, ...]:
    """All that a client and the log can see of an answer."""
    ctx = answered.ctx
    lines = answered.fields.encode()
    return (
        answered.status,
        lines,
        answered.body,
        answered.length,
        ctx.outcome,
        ctx.age_s,
        ctx.ttl_s,
        ctx.forward,
    )


@pytest.fixture(scope="module")
def room() -> Iterator[CacheRoom]:
    with CacheRoom(handler) as room:
        for path in PATHS:
            assert room.outcome(path) == "miss"
        yield room


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(PATHS), LINES, st.sampled_from([b"GET", b"HEAD"]))
def test_a_hit_that_is_not_weighed_is_answered_as_one_that_is(
    room: CacheRoom, path: str, lines: Pairs, method: bytes
) -> None:
    asked = len(room.asked)
    plain = room.ask(path, lines, method)
    assert told(plain) == told(room.ask(path, [*lines, WEIGHED], method))
    assert plain.ctx.outcome == "hit"
    assert plain.length is None or method == b"HEAD" or plain.length == len(plain.body)
    assert len(room.asked) == asked


@given(st.one_of(ENDS.map(lambda ends: b"bytes=%d-%d" % ends), RANGES), st.sampled_from(list(SIZES.values())))
def test_one_range_is_read_as_in_a_list(value: bytes, size: int) -> None:
    assert byte_ranges(value, size) == byte_ranges(value + b",", size)


PRECEDENCE = [  # RFC 9110 13.2.2, of a response with the tag "a" that was modified at MODIFIED
    pytest.param(
        {b"If-None-Match": b'"b"', b"If-Modified-Since": LATER.encode()}, 200, id="the tag alone decides"
    ),
    pytest.param(
        {b"If-None-Match": b'"b", W/"a"', b"Range": b"bytes=0-1"}, 304, id="a list, and before Range"
    ),
    pytest.param({b"If-None-Match": b"*"}, 304, id="any"),
    pytest.param({b"If-None-Match": b'"b"', b"Range": b"bytes=0-1"}, 206, id="then Range"),
    pytest.param(
        {b"If-Modified-Since": EARLIER.encode(), b"Range": b"bytes=0-1"}, 206, id="a date, then Range"
    ),
    pytest.param({b"Range": b"bytes=0-1", b"If-Range": b'"b"'}, 200, id="If-Range decides over Range"),
    pytest.param({b"If-Range": b'"b"'}, 200, id="If-Range alone says nothing"),
]


@pytest.mark.parametrize(("fields", "status"), PRECEDENCE)
def test_which_condition_goes_first(room: CacheRoom, fields: dict[bytes, bytes], status: int) -> None:
    for size in ("/small", "/large"):
        assert room.ask(f"{size}/strong", list(fields.items())).status == status


def test_nothing_stays_lent_behind_a_304_or_a_small_part() -> None:
    with CacheRoom(handler) as room:  # audits the segment when it is left: a body still lent would be a fault
        room.ask("/large/strong")
        assert room.ask("/large/strong", [(b"If-None-Match", b'"a"')]).status == 304
        assert room.ask("/large/strong", [(b"Range", b"bytes=65000-65999")]).status == 206
        assert room.ask("/large/strong", [(b"Range", b"bytes=300000-")]).status == 416
