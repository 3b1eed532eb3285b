"""Keys: which requests may share a stored response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.key import (
    cache_key,
    device_class,
    encoding_variant_key,
    host_of,
    key_maker,
    new_serial,
    request_of_url,
    variant_key,
    vary_names,
)
from worker.cache.negotiation import Negotiation
from worker.context import Client
from worker.fields import Fields
from worker.message import Request
from worker.settings import KeySettings

CODINGS = ("zstd", "br", "gzip")
AE = b"accept-encoding"


def request(
    scheme: bytes = b"http", host: bytes = b"a.example", path: bytes = b"/p", query: bytes | None = None
) -> Request:
    return Request(b"GET", scheme, host, path, path, query, b"1.1", Fields.of(()))


def test_the_key_is_the_target_uri() -> None:
    assert cache_key(request()) == b"http://a.example/p"
    assert cache_key(request(query=b"x=1")) == b"http://a.example/p?x=1"
    assert cache_key(request(query=b"")) == b"http://a.example/p?"


def test_nothing_an_origin_may_tell_apart_is_merged() -> None:
    others = [
        request(),
        request(scheme=b"https"),
        request(host=b"a.example:81"),
        request(path=b"/P"),
        request(query=b""),
        request(query=b"a=1&b=2"),
        request(query=b"b=2&a=1"),
    ]
    assert len({cache_key(other) for other in others}) == len(others)


URLS = [
    ("http://a.example/p", b"http://a.example/p"),
    ("HTTP://A.Example:80/p", b"http://a.example/p"),
    ("https://a.example:443/p?x=1#frag", b"https://a.example/p?x=1"),
    ("https://a.example:80/p", b"https://a.example:80/p"),
    ("http://a.example", b"http://a.example/"),
    ("http://a.example/p?", b"http://a.example/p?"),
    ("http://a.example/p#x?y", b"http://a.example/p"),
    ("http://[::1]:8080/p", b"http://[::1]:8080/p"),
]


@pytest.mark.parametrize(("url", "key"), URLS)
def test_a_url_finds_the_key_of_its_requests(url: str, key: bytes) -> None:
    assert cache_key(request_of_url(url)) == key


@pytest.mark.parametrize(
    "url",
    ["/p", "ftp://a/p", "http:///p", "http://u@a/p", "http://a:80:80/p", "http://a/ä", "http://a/ b", ""],
)
def test_a_url_no_request_could_have_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        request_of_url(url)


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        ([b"Accept-Encoding"], (b"accept-encoding",)),
        ([b"b, A", b"B"], (b"a", b"b")),
        ([b"a, *"], (b"*",)),
        ([b" , "], ()),
    ],
)
def test_vary_names(lines: list[bytes], names: tuple[bytes, ...]) -> None:
    assert vary_names(Fields.of((b"Vary", line) for line in lines)) == names


def key(names: tuple[bytes, ...], *lines: tuple[bytes, bytes], serial: bytes = b"12345678") -> bytes:
    return variant_key(b"http://a/", serial, names, Fields.of(lines), Negotiation(CODINGS))


def test_variants_differ_by_the_named_fields_only() -> None:
    assert key((b"x",), (b"X", b"1")) == key((b"x",), (b"X", b"1"), (b"Y", b"2"))
    assert key((b"x",), (b"X", b"1")) != key((b"x",), (b"X", b"2"))
    assert key((b"x",)) != key((b"x",), (b"X", b""))
    assert key((b"x",), (b"X", b"1"), (b"X", b"2")) == key((b"x",), (b"X", b"1, 2"))
    assert key((b"x", b"y"), (b"X", b"1")) != key((b"x", b"y"), (b"Y", b"1"))


def test_browsers_share_the_variants_of_accept_encoding() -> None:
    one = key((AE,), (b"Accept-Encoding", b"gzip, deflate, br, zstd"))
    assert one == key((AE,), (b"Accept-Encoding", b"zstd, br, gzip"))
    assert one == encoding_variant_key(b"http://a/", b"12345678", b"zstd, br, gzip")


def test_a_new_record_does_not_reach_the_variants_of_an_old_one() -> None:
    assert key((b"x",), serial=new_serial()) != key((b"x",), serial=new_serial())


@given(st.lists(st.text("ab", max_size=3).map(str.encode), min_size=2, max_size=2))
def test_field_values_cannot_run_into_each_other(values: list[bytes]) -> None:
    plain = key((b"x", b"y"), (b"X", values[0]), (b"Y", values[1]))
    other = key((b"x", b"y"), (b"X", values[0] + values[1]), (b"Y", b""))
    assert (plain == other) == (values[1] == b"")


def test_long_values_are_told_apart_without_long_keys() -> None:
    one = key((b"cookie",), (b"Cookie", b"a" * 5000))
    assert len(one) < 100
    assert one != key((b"cookie",), (b"Cookie", b"a" * 4999 + b"b"))


HOSTS = [
    ("Example.org", b"http", b"example.org"),
    ("example.org:80", b"http", b"example.org"),
    ("example.org:80", b"https", b"example.org:80"),
    ("[::1]:8443", b"https", b"[::1]:8443"),
]


@pytest.mark.parametrize(("host", "scheme", "name"), HOSTS)
def test_a_host_is_spelled_as_in_keys(host: str, scheme: bytes, name: bytes) -> None:
    assert host_of(host, scheme) == name


@pytest.mark.parametrize("host", ["", "http://a", "a/b", "a b", "ä.example", "a:", "[::1"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        host_of(host, b"http")


def ruled(query: bytes | None, rules: KeySettings, fields: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """What follows the path in the key by these rules."""
    asked = request(query=query)
    asked.fields = Fields.of(fields or ())
    return key_maker(rules)(asked).removeprefix(b"http://a.example/p")


def test_without_rules_the_key_function_is_the_plain_one() -> None:
    assert key_maker(KeySettings()) is cache_key


QUERIES = [
    (KeySettings(query="none"), b"a=1", b""),
    (KeySettings(query="none"), None, b""),
    (KeySettings(sort_query=True), b"b=2&a=1&b=1", b"?a=1&b=2&b=1"),
    (KeySettings(sort_query=True), b"a", b"?a"),
    (KeySettings(sort_query=True), b"", b""),
    (KeySettings(drop=(b"utm_*", b"fbclid")), b"utm_source=x&id=1&fbclid=y&utm_=", b"?id=1"),
    (KeySettings(drop=(b"utm_*",)), b"utm_a=1", b""),
    (KeySettings(drop=(b"utm_*",)), b"xutm_a=1&Utm_a=1", b"?xutm_a=1&Utm_a=1"),
    (KeySettings(drop=(b"utm_*",)), b"u%74m_a=1&id=1", b"?id=1"),
    (KeySettings(drop=(b"a.c",)), b"abc=1&a.c=2", b"?abc=1"),
    (KeySettings(keep=(b"id",)), b"x=1&id=2&id=3&ID=4", b"?id=2&id=3"),
    (KeySettings(keep=(b"id",)), b"i%64=2&x=1", b"?i%64=2"),
    (KeySettings(keep=(b"*",), drop=(b"x",)), b"x=1&y=2", b"?y=2"),
    (KeySettings(drop=(b"*",)), b"x=1;id=2", b"?x=1;id=2"),
    (KeySettings(keep=(b"id",), sort_query=True), b"x=1;id=2", b"?x=1;id=2"),
]


@pytest.mark.parametrize(("rules", "query", "rest"), QUERIES)
def test_what_of_the_query_counts(rules: KeySettings, query: bytes | None, rest: bytes) -> None:
    assert ruled(query, rules) == rest


def test_fields_and_cookies_that_count_are_parts_of_their_own() -> None:
    rules = KeySettings(headers=(b"x-country",), cookies=(b"lang", b"b"))
    assert ruled(None, rules) == b"\0-\0-\0-"
    fields = [(b"X-Country", b"fr"), (b"Cookie", b"a=1; lang=de"), (b"Cookie", b"lang=en;b=")]
    assert ruled(b"q", rules, fields) == b"?q\0=fr\0=de; en\0="


def test_the_country_of_a_client_is_a_part_that_a_purge_need_not_know() -> None:
    client = Client("192.0.2.1", 1, b"", "http://127.0.0.1:80")
    rules = KeySettings(country=True)
    made = [
        key_maker(rules, lambda client, code=code: code)(request(), client) for code in (b"DE", b"FR", b"")
    ]
    url = cache_key(request())
    assert made == [url + b"\0=DE", url + b"\0=FR", url + b"\0-"]
    assert key_maker(rules)(request()) == url + b"\0-"


def test_long_parts_become_a_digest_that_still_tells_them_apart() -> None:
    rules = KeySettings(headers=(b"x",))
    one, other = (ruled(None, rules, [(b"X", b"v" * 5000 + end)]) for end in (b"1", b"2"))
    assert len(one) == len(other) == 34
    assert one != other


AGENTS = [
    (
        b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1",
        b"mobile",
    ),
    (b"Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120.0 Mobile Safari/537.36", b"mobile"),
    (b"Mozilla/5.0 (Linux; Android 13; SM-X906C) Chrome/120.0 Safari/537.36", b"tablet"),
    (b"Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) Version/16.0 Mobile/15E148 Safari/604.1", b"tablet"),
    (b"Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", b"desktop"),
    (b"curl/8.5.0", b"desktop"),
]


@pytest.mark.parametrize(("agent", "device"), AGENTS)
def test_the_device_is_what_the_browser_says(agent: bytes, device: bytes) -> None:
    assert device_class(Fields.of([(b"User-Agent", agent)])) == device
    assert ruled(None, KeySettings(device=True), [(b"User-Agent", agent)]) == b"\0=" + device


def test_a_client_hint_says_phone_whatever_the_agent() -> None:
    assert device_class(Fields.of([(b"Sec-CH-UA-Mobile", b"?1"), (b"User-Agent", b"x")])) == b"mobile"
    assert device_class(Fields.of()) == b"desktop"
