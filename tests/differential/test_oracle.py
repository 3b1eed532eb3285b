"""The oracle against the text it was written from, a row per rule, so that a silent run means something."""

import re
import time

import pytest

from tests.differential import rules
from tests.differential.oracle import (
    Stored,
    broken_by_reuse,
    directives,
    http_date,
    initial_age,
    is_not_modified,
    made_s,
    may_be_shared,
)
from tests.differential.rules import Rule
from tests.differential.script import Asked, Line, rendered

NOW_S = time.monotonic()
GET = Asked("GET")
FRESH: Line = ("Cache-Control", "max-age=60")


def cc(value: str) -> Line:
    return ("Cache-Control", value)


def stored(
    *fields: Line, status: int = 200, asked: Asked = GET, method: str = "GET", invalidated: bool = False
) -> Stored:
    made = rendered(fields, time.time())
    return Stored(0, asked, method, status, made, NOW_S, initial_age(made, NOW_S), invalidated)


AUTHORISED = Asked("GET", (("Authorization", "Basic x"),))
ENGLISH, GERMAN = (Asked("GET", (("Accept-Language", language),)) for language in ("en", "de"))
ROWS: list[tuple[Stored, Asked, float, list[Rule]]] = [
    (stored(FRESH), GET, 0, []),
    (stored(FRESH), GET, 59, []),
    (stored(FRESH), GET, 60, [rules.STALE]),
    (stored(FRESH, ("Age", "60")), GET, 0, [rules.STALE]),
    (stored(FRESH, ("Age", "abc")), GET, 0, []),
    (stored(FRESH, ("Age", "0, 60")), GET, 0, []),
    (stored(FRESH, ("Date", "@-70")), GET, 0, [rules.STALE]),
    (stored(FRESH, ("Date", "@3600")), GET, 0, []),
    (stored(cc("s-maxage=1, max-age=60")), GET, 2, [rules.STALE_FORBIDDEN]),
    (stored(cc("max-age=1, stale-while-revalidate=9")), GET, 5, []),
    (stored(cc("max-age=1, stale-while-revalidate=9")), GET, 12, [rules.STALE]),
    (stored(cc("max-age=1, must-revalidate, stale-while-revalidate=9")), GET, 5, [rules.STALE_FORBIDDEN]),
    (stored(cc("max-age=1")), Asked("GET", (cc("max-stale=9"),)), 5, []),
    (stored(cc("max-age=60s")), GET, 0, [rules.INVALID]),
    (stored(cc('max-age="60"')), GET, 0, []),
    (stored(cc("max-age = 60")), GET, 0, [rules.INVALID]),
    (stored(cc("max-age=60 public")), GET, 0, []),  # a comma left out: no grammar says what it means
    (stored(("Expires", "@60"), ("Date", "@0")), GET, 0, []),
    (stored(("Expires", "0")), GET, 0, [rules.EXPIRES_INVALID]),
    (stored(("Expires", "0"), FRESH), GET, 0, []),
    (stored(), GET, 0, []),  # a heuristic may be at work
    (stored(status=302), GET, 0, [rules.PERMISSION]),
    (stored(cc("no-cache"), status=503), GET, 0, [rules.PERMISSION, rules.NO_CACHE]),
    (stored(FRESH, cc("no-store")), GET, 0, [rules.NO_STORE]),
    (stored(FRESH, cc('ext="no-store, private"')), GET, 0, []),
    (stored(FRESH, cc("must-understand, no-store")), GET, 0, []),
    (stored(FRESH, cc("must-understand, no-store"), status=299), GET, 0, [rules.STATUS, rules.NO_STORE]),
    (stored(FRESH, cc("PRIVATE")), GET, 0, [rules.PRIVATE]),
    (stored(FRESH, cc('private="a"')), GET, 0, []),
    (stored(FRESH, cc("no-cache")), GET, 0, [rules.NO_CACHE]),
    (stored(FRESH, asked=AUTHORISED), GET, 0, [rules.AUTHORIZATION]),
    (stored(cc("s-maxage=60"), asked=AUTHORISED), GET, 0, []),
    (stored(FRESH, ("Vary", "*")), GET, 0, [rules.VARY_STAR]),
    (stored(FRESH, ("Vary", "Accept-Language"), asked=ENGLISH), ENGLISH, 0, []),
    (stored(FRESH, ("Vary", "x"), ("Vary", "accept-language"), asked=ENGLISH), GERMAN, 0, [rules.VARY]),
    (stored(FRESH, ("Vary", "Accept-Language"), asked=ENGLISH), GET, 0, [rules.VARY]),
    (stored(FRESH, invalidated=True), GET, 0, [rules.INVALIDATED]),
    (stored(FRESH, method="POST"), GET, 0, [rules.METHOD]),
    (stored(FRESH, method="HEAD"), GET, 0, [rules.BODYLESS]),
    (stored(FRESH), Asked("GET", (cc("no-cache"),)), 0, [rules.ASKED_NO_CACHE]),
    (stored(FRESH), Asked("GET", (("Pragma", "no-cache"),)), 0, [rules.ASKED_NO_CACHE]),
    (stored(FRESH), Asked("GET", (cc("max-age=5"),)), 9, [rules.ASKED_MAX_AGE]),
    (stored(FRESH), Asked("GET", (cc("min-fresh=59"),)), 9, [rules.ASKED_MIN_FRESH]),
    (stored(FRESH, asked=Asked("GET", (cc("no-store"),))), GET, 0, [rules.ASKED_NO_STORE]),
    (stored(cc("no-store"), ("CDN-Cache-Control", "max-age=60")), GET, 0, []),
    (stored(FRESH, ("CDN-Cache-Control", "no-store")), GET, 0, [rules.NO_STORE]),
    (stored(FRESH, ("CDN-Cache-Control", "no-store, x=")), GET, 0, []),
]  # fmt: skip


def _name(row: tuple[Stored, Asked, float, list[Rule]]) -> str:
    """Without dates, so that processes that run tests side by side find the same ones."""
    return re.sub(r"\w+, [^']+ GMT", "a date", f"{row[0].fields} after {row[2]} s")


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_what_may_be_reused_without_validation(row: tuple[Stored, Asked, float, list[Rule]]) -> None:
    response, asked, after_s, broken = row
    assert broken_by_reuse(response, asked, NOW_S + after_s, origin_failed=False, targeted=True) == broken


def test_a_failing_origin_permits_a_stale_response_but_not_against_the_origins_word() -> None:
    for control, broken in (("max-age=1", []), ("max-age=1, must-revalidate", [rules.STALE_FORBIDDEN])):
        response = stored(cc(control))
        assert broken_by_reuse(response, GET, NOW_S + 5, origin_failed=True, targeted=True) == broken


def test_directives_end_at_commas_outside_of_quotes() -> None:
    assert directives(['A=1, b="x, \\"y", c d, e']) == [
        ("a", "1"),
        ("b", 'x, \\"y'),
        ("c", None),
        ("e", None),
    ]


def test_dates_have_three_formats_and_no_zone_but_gmt() -> None:
    dates = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
    assert [http_date(date) for date in dates] == [784111777] * 3
    assert http_date("Sun, 06 Nov 1994 08:49:37 EST") is None


def test_tags_decide_before_dates() -> None:
    fields = (("ETag", 'W/"a"'), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"))
    since = ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")
    assert is_not_modified(Asked("GET", (since,)), fields)
    assert is_not_modified(Asked("GET", (("If-None-Match", '"b", "a"'),)), fields)
    assert not is_not_modified(Asked("GET", (("If-None-Match", '"b"'), since)), fields)


def test_of_two_responses_the_later_date_is_the_most_recent() -> None:
    first = stored(("Date", "Sun, 06 Nov 1994 08:49:37 GMT"))
    again = stored(("Date", "Sunday, 06-Nov-94 08:49:37 GMT"))
    later = stored(("Date", "Sun, 06 Nov 1994 08:49:38 GMT"))
    assert made_s(first) == made_s(again) < made_s(later)


def test_what_answers_an_authorised_request_is_shared_by_permission_only() -> None:
    assert may_be_shared(GET, (FRESH,), targeted=True)
    assert not may_be_shared(AUTHORISED, (FRESH,), targeted=True)
    assert may_be_shared(AUTHORISED, (cc("must-revalidate"),), targeted=True)
