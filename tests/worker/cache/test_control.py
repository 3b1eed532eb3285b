"""RFC 9111 5.2: the grammar of Cache-Control, and what we make of values that break it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.control import (
    DELTA_MAX,
    RequestControl,
    ResponseControl,
    directives,
    request_control,
    response_control,
)
from worker.fields import Fields

RESPONSES = [
    pytest.param([b"max-age=60"], ResponseControl(max_age=60), id="max-age"),
    pytest.param([b"MAX-AGE=60"], ResponseControl(max_age=60), id="names are case-insensitive"),
    pytest.param([b'max-age="60"'], ResponseControl(max_age=60), id="a quoted value is accepted"),
    pytest.param([b"max-age=60", b"public"], ResponseControl(max_age=60, public=True), id="several lines"),
    pytest.param([b"max-age=60,,public"], ResponseControl(max_age=60, public=True), id="empty members"),
    pytest.param([b"max-age=x"], ResponseControl(max_age=0), id="unreadable max-age is 0"),
    pytest.param([b"max-age"], ResponseControl(max_age=0), id="max-age without value is 0"),
    pytest.param([b"max-age=-1"], ResponseControl(max_age=0), id="negative max-age is 0"),
    pytest.param([b"max-age=1.5"], ResponseControl(max_age=0), id="fractional max-age is 0"),
    pytest.param([b"max-age =60"], ResponseControl(max_age=0), id="a space before = is no value"),
    pytest.param([b"max-age=60, max-age=5"], ResponseControl(max_age=5), id="the shortest of two"),
    pytest.param([b"s-maxage=7, max-age=x"], ResponseControl(s_maxage=7, max_age=0), id="each by itself"),
    pytest.param([b"max-age=99999999999999"], ResponseControl(max_age=DELTA_MAX), id="overflow is capped"),
    pytest.param([b'private="Set-Cookie, X-A"'], ResponseControl(private=True), id="qualified private"),
    pytest.param(
        [b'no-cache="a, no-store"'], ResponseControl(no_cache=True), id="what is quoted is no directive"
    ),
    pytest.param(
        [b'no-cache="a, no-store'],
        ResponseControl(no_cache=True, no_store=True),
        id="an unfinished quote hides nothing",
    ),
    pytest.param(
        [b'x="a\\"b", no-store'], ResponseControl(no_store=True), id="an escaped quote does not end the value"
    ),
    pytest.param([b"no-store; max-age=5"], ResponseControl(no_store=True, max_age=5), id="semicolons"),
    pytest.param([b"publicity, xno-store"], ResponseControl(), id="only whole names count"),
    pytest.param(
        [b"stale-while-revalidate=3, stale-if-error=4"],
        ResponseControl(stale_while_revalidate=3, stale_if_error=4),
        id="RFC 5861 windows",
    ),
    pytest.param([b"stale-if-error=x"], ResponseControl(stale_if_error=0), id="an unreadable window is none"),
    pytest.param([b"max-age='60'"], ResponseControl(max_age=0), id="other quotes are no quotes"),
    pytest.param([b"max-age=+60"], ResponseControl(max_age=0), id="a sign is no digit"),
    pytest.param([b"max-age=060"], ResponseControl(max_age=60), id="leading zeros"),
    pytest.param([b"max-age=60 public"], ResponseControl(max_age=60, public=True), id="a comma left out"),
    pytest.param([b"max-age=60\t,\tpublic "], ResponseControl(max_age=60, public=True), id="tabs"),
    pytest.param([b"max-age=60, no-cache"], ResponseControl(max_age=60, no_cache=True), id="both are kept"),
    pytest.param([b"no-store=0"], ResponseControl(no_store=True), id="an argument does not undo a directive"),
    pytest.param([b'max-age="60', b"no-store"], ResponseControl(max_age=0, no_store=True), id="open quote"),
    pytest.param(
        [b'x="open, max-age=60, must-understand, must-revalidate'],
        ResponseControl(max_age=60, no_store=True, must_revalidate=True),
        id="what only some readers take for a lifetime is not stored",
    ),
    pytest.param([b'max-age=60"'], ResponseControl(max_age=60, no_store=True), id="a stray quote"),
    pytest.param([b'"a, b", max-age=60'], ResponseControl(max_age=60, no_store=True), id="a value alone"),
    pytest.param([b"immutable, x-new=1, max-age=9"], ResponseControl(max_age=9), id="unknown directives"),
    pytest.param(
        [b"must-revalidate, proxy-revalidate, must-understand"],
        ResponseControl(must_revalidate=True, proxy_revalidate=True, must_understand=True),
        id="flags",
    ),
    pytest.param([], ResponseControl(), id="absent"),
]


@pytest.mark.parametrize(("lines", "control"), RESPONSES)
def test_response_directives(lines: list[bytes], control: ResponseControl) -> None:
    assert response_control(Fields.of((b"Cache-Control", line) for line in lines)) == control


OWN, CDN, PLAIN = b"Edgecluster-Cache-Control", b"CDN-Cache-Control", b"Cache-Control"
TARGETED = [  # RFC 9213: lines -> control
    pytest.param([(CDN, b"max-age=60")], ResponseControl(max_age=60, targeted=True), id="CDN-Cache-Control"),
    pytest.param(
        [(CDN, b"max-age=60"), (OWN, b"max-age=5")],
        ResponseControl(max_age=5, targeted=True),
        id="our own field comes first",
    ),
    pytest.param(
        [(PLAIN, b"no-store, max-age=9"), (CDN, b"max-age=60")],
        ResponseControl(max_age=60, targeted=True),
        id="Cache-Control is ignored beside it",
    ),
    pytest.param(
        [(PLAIN, b"max-age=9"), (CDN, b"none")],
        ResponseControl(targeted=True),
        id="also beside a directive nobody knows",
    ),
    pytest.param([(PLAIN, b"max-age=9"), (CDN, b"")], ResponseControl(max_age=9), id="empty: not there"),
    pytest.param(
        [(PLAIN, b"max-age=9"), (CDN, b"max-age=60, !")], ResponseControl(max_age=9), id="broken: not there"
    ),
    pytest.param(
        [(OWN, b"Max-Age=60"), (CDN, b"max-age=7")],
        ResponseControl(max_age=7, targeted=True),
        id="the next one instead of a broken one",
    ),
    pytest.param(
        [(CDN, b"max-age=60"), (CDN, b"max-age=5, private")],
        ResponseControl(max_age=5, private=True, targeted=True),
        id="lines combine, the last of two counts",
    ),
    pytest.param(
        [(CDN, b"max-age=60;foo=bar, no-store=?0")],
        ResponseControl(max_age=60, targeted=True),
        id="parameters are ignored, false is false",
    ),
    pytest.param([(CDN, b'max-age="60"')], ResponseControl(max_age=0, targeted=True), id="a string"),
    pytest.param([(CDN, b"max-age=60.0")], ResponseControl(max_age=0, targeted=True), id="a decimal"),
    pytest.param([(CDN, b"max-age=-1")], ResponseControl(max_age=0, targeted=True), id="a negative number"),
    pytest.param([(CDN, b"max-age")], ResponseControl(max_age=0, targeted=True), id="true is no number"),
    pytest.param(
        [(CDN, b"max-age=99999999999")], ResponseControl(max_age=DELTA_MAX, targeted=True), id="overflow"
    ),
    pytest.param(
        [(CDN, b'private="x-a", no-cache="set-cookie", no-store=1')],
        ResponseControl(private=True, no_cache=True, no_store=True, targeted=True),
        id="what restricts counts whatever its value",
    ),
    pytest.param(
        [(CDN, b"public=1, must-understand=a")],
        ResponseControl(targeted=True),
        id="what permits counts only as it should be",
    ),
    pytest.param(
        [(CDN, b"s-maxage=1, stale-while-revalidate=2, stale-if-error=3, must-revalidate, proxy-revalidate")],
        ResponseControl(
            s_maxage=1, stale_while_revalidate=2, stale_if_error=3, must_revalidate=True,
            proxy_revalidate=True, targeted=True,
        ),
        id="every directive we know",
    ),
    pytest.param(
        [(b"Other-Cache-Control", b"no-store"), (PLAIN, b"max-age=9")],
        ResponseControl(max_age=9),
        id="the suffix makes no targeted field",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "control"), TARGETED)
def test_targeted_fields(lines: list[tuple[bytes, bytes]], control: ResponseControl) -> None:
    assert response_control(Fields.of(lines)) == control


FORBIDS_STALE = [
    (b"max-age=9", False), (b"max-age=9, must-revalidate", True), (b"max-age=9, proxy-revalidate", True),
    (b"s-maxage=9", True), (b"no-cache", True), (b"max-age=9, stale-if-error=9", False),
]  # fmt: skip


@pytest.mark.parametrize(("value", "forbidden"), FORBIDS_STALE)
def test_what_forbids_every_stale_use(value: bytes, forbidden: bool) -> None:
    assert response_control(Fields.of([(PLAIN, value)])).forbids_stale is forbidden


REQUESTS = [
    pytest.param({b"Cache-Control": b"no-cache"}, RequestControl(no_cache=True), id="no-cache"),
    pytest.param({b"Cache-Control": b"max-stale"}, RequestControl(max_stale=DELTA_MAX), id="any staleness"),
    pytest.param({b"Cache-Control": b"max-stale=5"}, RequestControl(max_stale=5), id="max-stale"),
    pytest.param({b"Cache-Control": b"max-stale=x"}, RequestControl(max_stale=0), id="unreadable max-stale"),
    pytest.param({b"Cache-Control": b"min-fresh=5"}, RequestControl(min_fresh=5), id="min-fresh"),
    pytest.param(
        {b"Cache-Control": b"min-fresh=x"}, RequestControl(min_fresh=DELTA_MAX), id="unreadable min-fresh"
    ),
    pytest.param({b"Cache-Control": b"max-age=x"}, RequestControl(max_age=0), id="unreadable max-age"),
    pytest.param({b"Cache-Control": b"stale-if-error=5"}, RequestControl(stale_if_error=5), id="errors"),
    pytest.param(
        {b"Cache-Control": b"stale-if-error"}, RequestControl(stale_if_error=0), id="no time is no permission"
    ),
    pytest.param(
        {b"Cache-Control": b"only-if-cached, no-store"},
        RequestControl(only_if_cached=True, no_store=True),
        id="flags",
    ),
    pytest.param({b"Pragma": b"no-cache"}, RequestControl(no_cache=True), id="Pragma"),
    pytest.param({b"Pragma": b"x"}, RequestControl(), id="another Pragma"),
    pytest.param(
        {b"Pragma": b"no-cache", b"Cache-Control": b"max-age=5"},
        RequestControl(max_age=5),
        id="Cache-Control silences Pragma",
    ),
    pytest.param({}, RequestControl(), id="absent"),
]


@pytest.mark.parametrize(("fields", "control"), REQUESTS)
def test_request_directives(fields: dict[bytes, bytes], control: RequestControl) -> None:
    assert request_control(Fields.of(fields.items())) == control


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1).map(str.encode)
VALUES = st.binary().filter(lambda value: not set(value) & set(b"\r\n\0"))


@given(st.lists(st.tuples(TOKENS, st.none() | VALUES)))
def test_what_is_written_with_quotes_is_read_back(members: list[tuple[bytes, bytes | None]]) -> None:
    def write(name: bytes, value: bytes | None) -> bytes:
        if value is None:
            return name
        return name + b'="' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    assert directives(b" , ".join(write(name, value) for name, value in members)) == members


@given(VALUES)
def test_no_garbage_hides_a_no_store_after_a_comma(garbage: bytes) -> None:
    """Unless it is a quoted value, which needs both of its quotes."""
    if b'"' in garbage:
        return
    assert b"no-store" in {name for name, _ in directives(garbage + b", no-store")}
