"""What the origin gets to read of a request."""

import pytest

from tests.support.origin_client import Upload, context
from worker.context import Client
from worker.errors import EdgeError
from worker.fields import Fields
from worker.origin.request_head import RequestHead
from worker.reasons import Fault
from worker.settings import OriginSettings

FORGED = [
    (b"X-Forwarded-For", b"203.0.113.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"shop.example"),
    (b"X-Real-IP", b"203.0.113.1"),
    (b"Forwarded", b"for=203.0.113.1"),
]


def built(
    ctx, settings=None, extra=None, drop=(), method=None, body=None
) -> tuple[bytes, dict[bytes, bytes]]:
    """Request line and fields (lower-case names) of the head for `ctx`."""
    settings = settings or OriginSettings("http", "origin.example", 8080)
    method = method or ctx.request.method
    head = RequestHead(settings, "edge", "edge-7").build(ctx, method, body, extra, drop)
    line, _, rest = head.partition(b"\r\n")
    pairs = [(name.lower(), value) for name, value in Fields.parse(rest).items()]
    assert len(pairs) == len(dict(pairs)), "a name stands twice"
    return line, dict(pairs)


def test_the_request_line_has_what_was_normalised():
    line, fields = built(context(path=b"/a/b", query=b"x=1"))
    assert line == b"GET /a/b?x=1 HTTP/1.1"
    assert fields[b"host"] == b"example.org"
    assert built(context(query=b""))[0] == b"GET /? HTTP/1.1"
    assert built(context(b"HEAD"), method=b"GET")[0] == b"GET / HTTP/1.1"
    assert built(context(b"OPTIONS", b"*"))[0] == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize(
    ("asked", "configured", "sent"),
    [
        (b"a.example", None, b"a.example"),
        (b"a.example", "b.example:81", b"b.example:81"),
        (b"", None, b"origin.example:8080"),
    ],
)
def test_host(asked, configured, sent):
    settings = OriginSettings("http", "origin.example", 8080, host_header=configured)
    assert built(context(fields=[(b"Host", b"a.example")], host=asked), settings)[1][b"host"] == sent


@pytest.mark.parametrize("version", [b"1.1", b"2"])
def test_a_field_of_ours_is_not_taken_over_in_another_spelling(version):
    """A gateway to CGI or WSGI cannot tell them apart."""
    names = [b"X_Forwarded_For", b"X-Forwarded_For", b"x_real-ip", b"CONTENT_LENGTH", b"Transfer_Encoding"]
    ctx = context(fields=[(name, b"6") for name in (*names, b"X_Other", b"Cookie")])
    ctx.request.version = version
    sent = built(ctx)[1]
    assert not {name.lower() for name in names} & sent.keys()
    assert sent[b"x_other"] == b"6"


def test_fields_of_the_first_hop_stay_there():
    fields = [
        (b"Connection", b"keep-alive, X-Private ,close"),
        (b"X-Private", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"TE", b"gzip"),
        (b"Upgrade", b"websocket"),
        (b"Expect", b"100-continue"),
        (b"X-Request-Id", b"forged"),
        (b"Accept", b"text/html"),
        (b"Cookie", b"a=b"),
    ]
    _, sent = built(context(fields=fields))
    assert set(sent) == {
        b"host", b"accept", b"cookie", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
        b"x-real-ip", b"forwarded", b"via", b"cdn-loop", b"x-request-id",
    }  # fmt: skip
    assert sent[b"x-request-id"] == b"0123456789abcdef0123456789abcdef"


def test_te_trailers_is_passed_on():
    _, sent = built(context(fields=[(b"TE", b"deflate, Trailers"), (b"Connection", b"TE")]))
    assert (sent[b"te"], sent[b"connection"]) == (b"trailers", b"TE")


def test_naming_a_forwarding_field_in_connection_does_not_remove_ours():
    _, sent = built(context(fields=[(b"Connection", b"X-Forwarded-For, Host, Via, X-Request-Id")]))
    assert sent[b"x-forwarded-for"] == b"192.0.2.7"
    assert sent[b"host"] == b"example.org"
    assert {b"via", b"x-request-id"} <= set(sent)


def test_who_the_client_is():
    _, sent = built(context(host=b"example.org:8443", scheme=b"https"))
    assert sent[b"x-forwarded-for"] == sent[b"x-real-ip"] == b"192.0.2.7"
    assert sent[b"x-forwarded-proto"] == b"https"
    assert sent[b"x-forwarded-host"] == b"example.org:8443"
    assert sent[b"forwarded"] == b'for=192.0.2.7;host="example.org:8443";proto=https'


def test_an_ipv6_client():
    _, sent = built(context(address="2001:db8::1"))
    assert sent[b"x-forwarded-for"] == b"2001:db8::1"
    assert sent[b"forwarded"] == b'for="[2001:db8::1]";host="example.org";proto=http'


def test_what_a_stranger_says_about_the_client_is_replaced():
    assert built(context(fields=FORGED)) == built(context())


def test_what_a_trusted_proxy_says_about_the_client_is_kept_and_extended():
    ctx = context(fields=FORGED, trusted=True)
    ctx.client = Client("203.0.113.1", 0, b"\xcb\0q\1", "http://127.0.0.1:8080")
    _, sent = built(ctx)
    assert sent[b"x-forwarded-for"] == b"203.0.113.1, 192.0.2.7"
    assert sent[b"x-real-ip"] == b"203.0.113.1"
    assert sent[b"x-forwarded-proto"] == b"https"
    assert sent[b"x-forwarded-host"] == b"shop.example"
    assert sent[b"forwarded"] == b'for=203.0.113.1, for=192.0.2.7;host="example.org";proto=http'


def test_a_trusted_proxy_that_says_little():
    fields = [(b"X-Forwarded-For", b"203.0.113.1"), (b"X-Forwarded-For", b"::1")]
    _, sent = built(context(fields=fields, trusted=True))
    assert sent[b"x-forwarded-for"] == b"203.0.113.1, ::1, 192.0.2.7"
    assert sent[b"x-real-ip"] == b"192.0.2.7"
    assert sent[b"x-forwarded-proto"] == b"http"
    assert built(context(trusted=True)) == built(context())


def test_the_path_taken():
    _, sent = built(context(version=b"2"))
    assert (sent[b"via"], sent[b"cdn-loop"]) == (b"2 edge", b"edge-7")
    _, sent = built(context(fields=[(b"Via", b"1.0 a"), (b"Via", b"1.1 b"), (b"CDN-Loop", b"a; x=1")]))
    assert (sent[b"via"], sent[b"cdn-loop"]) == (b"1.0 a, 1.1 b, 1.1 edge", b"a; x=1, edge-7")
    assert built(context(fields=[(b"Via", b"1.0 a")]))[1][b"cdn-loop"] == b"edge-7"


@pytest.mark.parametrize("loop", [b"edge-7", b"a, edge-7", b"edge-7;x=1, b", b"a; y=2 ,edge-7 ; x"])
def test_a_loop_is_refused(loop):
    with pytest.raises(EdgeError) as caught:
        built(context(fields=[(b"CDN-Loop", loop)]))
    assert (caught.value.status, caught.value.fault) == (508, Fault.LOOP)


def test_a_name_that_only_looks_like_ours_is_no_loop():
    assert built(context(fields=[(b"CDN-Loop", b"edge-77, my-edge-7; edge-7")]))


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        (b"GET", None, {}),
        (b"POST", None, {b"content-length": b"0"}),
        (b"PUT", None, {b"content-length": b"0"}),
        (b"DELETE", None, {}),
        (b"POST", Upload([], 12), {b"content-length": b"12"}),
        (b"GET", Upload([], 3), {b"content-length": b"3"}),
        (b"POST", Upload([]), {b"transfer-encoding": b"chunked"}),
    ],
)
def test_framing_is_ours(method, body, framing):
    _, sent = built(context(method, fields=[(b"Content-Length", b"99")]), body=body)
    assert {name: sent[name] for name in (b"content-length", b"transfer-encoding") if name in sent} == framing


def test_cookies_of_http_2_become_one_line():
    fields = [(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")]
    assert built(context(fields=fields, version=b"2"))[1][b"cookie"] == b"a=1; b=2"


def test_the_request_itself_stays_as_it_was():
    ctx = context(fields=[*FORGED, (b"Connection", b"close"), (b"Cookie", b"a=b")])
    before = ctx.request.fields.items()
    built(ctx, drop=(b"cookie",), extra=Fields.of([(b"If-None-Match", b'"x"')]))
    assert ctx.request.fields.items() == before


@pytest.mark.parametrize("line", [(b"X-A", b"1"), (b"TE", b"trailers")], ids=["usual", "unusual"])
def test_a_rewritten_target_and_host_take_the_place_of_the_clients(line):
    ctx = context(path=b"/api/a", query=b"x=1", fields=[line])
    ctx.origin_target, ctx.origin_host = b"/v2/a?y", b"app.test"
    first, fields = built(ctx, OriginSettings("http", "origin.example", 8080, host_header="b.example"))
    assert first == b"GET /v2/a?y HTTP/1.1"
    assert fields[b"host"] == b"app.test"
    assert fields[b"x-forwarded-host"] == b"example.org"


def test_a_rewritten_host_is_not_remembered_for_other_routes():
    head = RequestHead(OriginSettings("http", "origin.example", 8080), "edge", "edge-7")
    ctx = context()
    ctx.origin_host = b"app.test"
    assert b"\r\nHost: app.test\r\n" in head.build(ctx, b"GET", None, None, ())
    assert b"\r\nHost: example.org\r\n" in head.build(context(), b"GET", None, None, ())
