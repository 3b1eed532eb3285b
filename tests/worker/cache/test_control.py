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
    pytest.param([b"stale-if-error=x"], ResponseControl(), id="an unreadable window is none"),
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
