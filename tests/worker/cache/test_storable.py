"""RFC 9111 3: what a shared cache may keep, and the word for every no."""

import pytest

from worker.cache.control import request_control, response_control
from worker.cache.freshness import freshness_lifetime
from worker.cache.storable import not_storable
from worker.fields import Fields
from worker.reasons import NotStorable

FRESH = (b"Cache-Control", b"max-age=60")
TAG = (b"ETag", b'"a"')
BASIC = (b"Authorization", b"Basic eDp5")


def control(value: bytes) -> tuple[bytes, bytes]:
    return (b"Cache-Control", value)


ROWS = [  # request fields, status, response fields, reason
    pytest.param([], 200, [FRESH], None, id="fresh"),
    pytest.param([], 200, [TAG], None, id="a validator is enough"),
    pytest.param([], 200, [(b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT")], None, id="so is a date"),
    pytest.param([], 200, [], NotStorable.NO_LIFETIME, id="nothing to go by"),
    pytest.param([], 200, [control(b"public")], NotStorable.NO_LIFETIME, id="public alone is no lifetime"),
    pytest.param([], 200, [control(b"max-age=0")], NotStorable.NO_LIFETIME, id="no time, no validator"),
    pytest.param([], 200, [control(b"max-age=0"), TAG], None, id="no time but a validator"),
    pytest.param(
        [], 200, [control(b"max-age=0, stale-while-revalidate=9")], None, id="no time but a window after it"
    ),
    pytest.param([], 200, [control(b"no-cache, max-age=9")], NotStorable.NO_LIFETIME, id="no-cache, no tag"),
    pytest.param([], 200, [control(b"no-cache, max-age=9"), TAG], None, id="no-cache is kept to validate"),
    pytest.param([], 503, [control(b"no-cache"), TAG], NotStorable.NO_LIFETIME, id="no-cache is no permit"),
    pytest.param([], 200, [control(b"no-store, max-age=9")], NotStorable.NO_STORE, id="no-store"),
    pytest.param([], 200, [control(b"private, max-age=9")], NotStorable.PRIVATE, id="private"),
    pytest.param([], 200, [control(b'private="x", max-age=9')], NotStorable.PRIVATE, id="private field"),
    pytest.param([], 200, [FRESH, (b"Set-Cookie", b"a=b")], NotStorable.SET_COOKIE, id="cookie"),
    pytest.param([], 200, [control(b"public, max-age=9"), (b"Set-Cookie", b"a=b")], None, id="public cookie"),
    pytest.param([], 200, [FRESH, (b"Vary", b"*")], NotStorable.VARY_STAR, id="Vary *"),
    pytest.param(
        [], 200, [FRESH, (b"Vary", b"a"), (b"Vary", b"b, *")], NotStorable.VARY_STAR, id="Vary a, *"
    ),
    pytest.param([], 200, [FRESH, (b"Vary", b"Cookie")], None, id="Vary on a field"),
    pytest.param([BASIC], 200, [FRESH], NotStorable.AUTHORIZATION, id="authorised"),
    pytest.param([BASIC], 200, [control(b"max-age=9, public")], None, id="authorised but public"),
    pytest.param([BASIC], 200, [control(b"s-maxage=9")], None, id="authorised but s-maxage"),
    pytest.param([BASIC], 200, [control(b"max-age=9, must-revalidate")], None, id="authorised, revalidated"),
    pytest.param([control(b"no-store")], 200, [FRESH], NotStorable.REQUEST_NO_STORE, id="request no-store"),
    pytest.param([], 206, [FRESH], NotStorable.PARTIAL_CONTENT, id="206"),
    pytest.param([], 304, [FRESH], NotStorable.STATUS, id="304"),
    pytest.param([], 101, [FRESH], NotStorable.STATUS, id="101"),
    pytest.param([], 404, [FRESH], None, id="404 with a lifetime"),
    pytest.param([], 404, [], NotStorable.NO_LIFETIME, id="404 without one"),
    pytest.param([], 302, [FRESH], None, id="302 with a lifetime"),
    pytest.param([], 302, [TAG], NotStorable.NO_LIFETIME, id="302 needs explicit permission"),
    pytest.param([], 500, [FRESH], None, id="500 with a lifetime"),
    pytest.param([], 302, [control(b"public"), TAG], None, id="302 and public"),
    pytest.param([], 599, [FRESH], None, id="an unknown final status with a lifetime"),
    pytest.param([], 600, [FRESH], NotStorable.STATUS, id="no status"),
    pytest.param([], 200, [control(b"public, private, max-age=9")], NotStorable.PRIVATE, id="private wins"),
    pytest.param(
        [], 200, [control(b"s-maxage=0, stale-if-error=9")], NotStorable.NO_LIFETIME, id="no window"
    ),
    pytest.param([], 200, [(b"CDN-Cache-Control", b"max-age=9"), control(b"no-store")], None, id="targeted"),
    pytest.param(
        [], 200, [(b"CDN-Cache-Control", b"private"), FRESH], NotStorable.PRIVATE, id="targeted private"
    ),
    pytest.param(
        [BASIC],
        200,
        [(b"CDN-Cache-Control", b"max-age=9"), control(b"public")],
        NotStorable.AUTHORIZATION,
        id="authorised, and public only to others",
    ),
    pytest.param(
        [BASIC], 200, [control(b"proxy-revalidate, max-age=9")], NotStorable.AUTHORIZATION, id="3.5"
    ),
    pytest.param(
        [],
        200,
        [control(b"max-age=9, public, private"), (b"Set-Cookie", b"a=b")],
        NotStorable.PRIVATE,
        id="a private cookie",
    ),
    pytest.param([], 404, [control(b"must-understand, no-store, max-age=9")], None, id="understood error"),
    pytest.param(
        [],
        200,
        [control(b"must-understand, no-store, private, max-age=9")],
        NotStorable.PRIVATE,
        id="understood but private",
    ),
    pytest.param([], 200, [control(b"must-understand, no-store, max-age=9")], None, id="understood"),
    pytest.param(
        [], 299, [control(b"must-understand, no-store, max-age=9")], NotStorable.STATUS, id="not understood"
    ),
]


@pytest.mark.parametrize(("request_lines", "status", "lines", "reason"), ROWS)
def test_storable(
    request_lines: list[tuple[bytes, bytes]],
    status: int,
    lines: list[tuple[bytes, bytes]],
    reason: NotStorable | None,
) -> None:
    asked, fields = Fields.of(request_lines), Fields.of(lines)
    directives = response_control(fields)
    found = not_storable(
        asked, request_control(asked), status, fields, directives,
        lifetime_s=freshness_lifetime(fields, directives, 0, 0), length=100, max_bytes=100,
    )  # fmt: skip
    assert found is reason


@pytest.mark.parametrize(("length", "reason"), [(100, None), (101, NotStorable.TOO_LARGE), (None, None)])
def test_an_announced_length_above_the_limit_is_refused_at_the_head(
    length: int | None, reason: NotStorable | None
) -> None:
    none, fields = Fields.of(()), Fields.of([FRESH])
    found = not_storable(
        none, request_control(none), 200, fields, response_control(fields),
        lifetime_s=60, length=length, max_bytes=100,
    )  # fmt: skip
    assert found is reason
