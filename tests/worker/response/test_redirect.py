"""Redirects: where they lead, and where no request can make them lead."""

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.response.redirect import AutomaticHttps, CanonicalRedirect, Redirects
from worker.settings import RedirectSettings

RULES = [
    RedirectSettings("/first", path="/old/*"),
    RedirectSettings("/whole", path="/old/page"),
    RedirectSettings("https://www.example.org/new/$1", path="/moved/*", status=302),
    RedirectSettings("/p/$2?id=$1", pattern="^/p/([0-9]+)/(.*)$"),
    RedirectSettings("/$1", path="/strip*"),
    RedirectSettings("/second", path="/old/*"),
]


def asked(path: bytes, query: bytes | None = None, method: bytes = b"GET") -> tuple[int, bytes] | None:
    response = Redirects(RULES)(make_context(path=path, query=query, method=method))
    if response is None:
        return None
    location = response.fields.get(b"location")
    assert location is not None
    assert len(response.fields) == 1
    return response.status, location


REDIRECTED = [  # path, query -> status and Location
    pytest.param(b"/old/page", None, (301, b"/whole"), id="a whole path before patterns"),
    pytest.param(b"/old/other", None, (301, b"/first"), id="the first pattern that matches"),
    pytest.param(b"/moved/a/b", None, (302, b"https://www.example.org/new/a/b"), id="another host"),
    pytest.param(b"/moved/", b"a=1", (302, b"https://www.example.org/new/?a=1"), id="the query is kept"),
    pytest.param(b"/p/7/x", None, (301, b"/p/x?id=7"), id="a query of its own"),
    pytest.param(b"/p/7/x", b"a=1", (301, b"/p/x?id=7&a=1"), id="both queries"),
    pytest.param(b"/old/page", b"", (301, b"/whole?"), id="an empty query"),
    pytest.param(b"/other", None, None, id="none"),
    pytest.param(b"/p/x/7", None, None, id="none, though it begins alike"),
    pytest.param(b"*", None, None, id="the server as a whole"),
]


@pytest.mark.parametrize(("path", "query", "expected"), REDIRECTED)
def test_redirects(path: bytes, query: bytes | None, expected: object) -> None:
    assert asked(path, query) == expected


ATTACKS = [  # path in normal form -> Location, which must stay on this host
    pytest.param(b"/strip/evil.test", b"/evil.test", id="a path that begins with the next slash"),
    pytest.param(b"/strip//evil.test", b"/evil.test", id="several slashes, where they are not merged"),
    pytest.param(b"/strip/%2Fevil.test", b"/%2Fevil.test", id="an encoded slash stays encoded"),
    pytest.param(b"/strip%0D%0ASet-Cookie:a=1", b"/%0D%0ASet-Cookie:a=1", id="line ends stay encoded"),
    pytest.param(b"/striphttps://evil.test", b"/https://evil.test", id="a URL in the path"),
    pytest.param(b"/strip@evil.test", b"/@evil.test", id="an at sign"),
]


@pytest.mark.parametrize(("path", "location"), ATTACKS)
def test_no_path_leads_to_a_host_that_no_rule_names(path: bytes, location: bytes) -> None:
    assert asked(path) == (301, location)


def test_other_methods_are_repeated_as_they_are() -> None:
    assert asked(b"/old/x", method=b"POST") == (308, b"/first")
    assert asked(b"/old/x", method=b"HEAD") == (301, b"/first")
    assert asked(b"/moved/x", method=b"POST") == (302, b"https://www.example.org/new/x")


def request(
    *lines: tuple[bytes, bytes],
    host: bytes = b"example.org",
    scheme: bytes = b"http",
    path: bytes = b"/a",
    method: bytes = b"GET",
) -> Context:
    ctx = make_context(*lines, path=path, query=b"q", method=method)
    ctx.request.host, ctx.request.scheme = host, scheme
    return ctx


WWW = b"www.example.org"
CANONICAL = [  # https port, host, the request's scheme and host -> Location
    (443, None, b"http", b"example.org", b"https://example.org/a?q"),
    (443, None, b"http", b"example.org:8080", b"https://example.org/a?q"),
    (8443, None, b"http", b"example.org:8080", b"https://example.org:8443/a?q"),
    (8443, None, b"http", b"[::1]:8080", b"https://[::1]:8443/a?q"),
    (443, None, b"https", b"example.org", None),
    (443, WWW, b"http", b"example.org", b"https://www.example.org/a?q"),
    (443, WWW, b"http", b"www.example.org", b"https://www.example.org/a?q"),
    (443, WWW, b"https", b"example.org", b"https://www.example.org/a?q"),
    (443, WWW, b"https", b"www.example.org", None),
    (None, WWW, b"http", b"example.org", b"http://www.example.org/a?q"),
    (None, WWW, b"http", b"example.org:8080", b"http://www.example.org:8080/a?q"),
    (None, WWW, b"https", b"example.org", b"https://www.example.org/a?q"),
    (None, WWW, b"http", b"www.example.org:8080", None),
    (None, WWW, b"http", b"", b"http://www.example.org/a?q"),
]


@pytest.mark.parametrize(("port", "host", "scheme", "asked", "location"), CANONICAL)
def test_one_scheme_and_host(
    port: int | None, host: bytes | None, scheme: bytes, asked: bytes, location: bytes | None
) -> None:
    response = CanonicalRedirect(port, host)(request(host=asked, scheme=scheme))
    assert (response and response.fields.get(b"location")) == location


def test_a_trusted_proxy_may_speak_https_for_us() -> None:
    ctx = request((b"X-Forwarded-Proto", b"https"))
    response = CanonicalRedirect(443, None)(ctx)
    assert response is not None, "anybody can say so"
    ctx.client.trusted = True
    assert CanonicalRedirect(443, None)(ctx) is None
    response = CanonicalRedirect(443, WWW)(ctx)
    assert response is not None
    assert response.fields.get(b"location") == b"https://www.example.org/a?q"


def test_without_a_host_there_is_nowhere_to_lead_to() -> None:
    with pytest.raises(EdgeError, match="no Host"):
        CanonicalRedirect(443, None)(request(host=b""))
    assert CanonicalRedirect(443, None)(request(host=b"a.test", path=b"*")) is None


AUTOMATIC = [  # scheme, host, path -> Location
    pytest.param(b"http", b"a.test", b"/x", b"https://a.test/x", id="by the usual ports"),
    pytest.param(b"http", b"a.test:8080", b"/x", b"https://a.test:8443/x", id="by our ports"),
    pytest.param(b"http", b"a.test:7000", b"/x", b"https://a.test/x", id="by a port that is mapped to ours"),
    pytest.param(b"http", b"www.b.test", b"/", b"https://www.b.test/", id="by a wildcard"),
    pytest.param(b"https", b"a.test", b"/x", None, id="there already"),
    pytest.param(b"http", b"c.test", b"/x", None, id="no certificate that is trusted"),
    pytest.param(b"http", b"x.www.b.test", b"/", None, id="more than a label for a wildcard"),
    pytest.param(b"http", b"b.test", b"/", None, id="less than a label for a wildcard"),
    pytest.param(b"http", b"a.test", b"*", None, id="the server as a whole"),
    pytest.param(b"http", b"a.test", b"/.well-known/acme-challenge/t", None, id="a challenge"),
    pytest.param(b"http", b"", b"/x", None, id="no host"),
]


@pytest.mark.parametrize(("scheme", "host", "path", "location"), AUTOMATIC)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_hosts_whose_certificate_is_trusted_go_to_https(
    scheme: bytes, host: bytes, path: bytes, location: bytes | None, method: bytes
) -> None:
    gate = AutomaticHttps([b"a.test", b"*.b.test"], [8080], 8443, b"/.well-known/acme-challenge/")
    response = gate(request(host=host, scheme=scheme, path=path, method=method))
    if location is None:
        assert response is None
        return
    assert response is not None
    assert (response.status, response.fields.get(b"location")) == (308, location + b"?q")


def test_a_purge_is_not_led_away() -> None:
    gate = AutomaticHttps([b"a.test"], [80], 443, b"/.well-known/acme-challenge/")
    assert gate(request(host=b"a.test", method=b"PURGE")) is None
    response = gate(request(host=b"a.test:80", path=b"/x"))
    assert response is not None
    assert response.fields.get(b"location") == b"https://a.test/x?q"
