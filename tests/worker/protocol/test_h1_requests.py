"""What a connection accepts, refuses and closes: a table of bytes and statuses, over real sockets."""

import asyncio
from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run, text
from worker.context import Context
from worker.message import Response
from worker.settings import Limits

SMALL = Limits(request_line_bytes=256, header_bytes=1024, header_count=8, body_bytes=1000)


@dataclass(frozen=True)
class Case:
    """Bytes to send; the statuses of the answers; whether the edge then closes the connection."""

    name: str
    data: bytes
    statuses: tuple[int, ...]
    closed: bool = True


def get(*lines: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A request with further field lines."""
    return b"\r\n".join([line, *([host] if host else []), *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines, line=b"POST / HTTP/1.1") + body


CHUNKED = b"Transfer-Encoding: chunked"

CASES = [
    # what is fine
    Case("plain", get(), (200,), closed=False),
    Case("two pipelined", get() + get(), (200, 200), closed=False),
    Case("forty pipelined", get() * 40, (200,) * 40, closed=False),
    Case("one empty line before", b"\r\n" + get(), (200,), closed=False),
    Case("two empty lines before", b"\r\n\r\n" + get(), (200,), closed=False),
    Case("empty line between", get() + b"\r\n" + get(), (200, 200), closed=False),
    Case("connection close", get(b"Connection: close"), (200,)),
    Case("connection close among others", get(b"Connection: foo, Close"), (200,)),
    Case("connection keep-alive", get(b"Connection: keep-alive"), (200,), closed=False),
    Case("nothing behind close is answered", get(b"Connection: close") + get(), (200,)),
    Case("1.0 closes", get(line=b"GET / HTTP/1.0"), (200,)),
    Case("1.0 without Host", get(line=b"GET / HTTP/1.0", host=b""), (200,)),
    Case("1.0 keep-alive", get(b"Connection: keep-alive", line=b"GET / HTTP/1.0"), (200,), closed=False),
    Case("OPTIONS asterisk", get(line=b"OPTIONS * HTTP/1.1"), (200,), closed=False),
    Case("absolute form", get(line=b"GET http://a/x HTTP/1.1"), (200,), closed=False),
    Case("absolute form with default port", get(line=b"GET http://A:80/x HTTP/1.1"), (200,), closed=False),
    Case(
        "upgrade ignored", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"), (200,), closed=False
    ),
    Case("IPv6 host", get(host=b"Host: [::1]:8080"), (200,), closed=False),
    Case("obs-text in a value", get(b"X: caf\xe9"), (200,), closed=False),
    Case("body by length", post(b"Content-Length: 3", body=b"abc"), (200,), closed=False),
    Case("empty body", post(b"Content-Length: 0"), (200,), closed=False),
    Case("empty body then another", post(b"Content-Length: 0") + get(), (200, 200), closed=False),
    Case("body then another", post(b"Content-Length: 3", body=b"abc") + get(), (200, 200), closed=False),
    Case("chunked", post(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), (200,), closed=False),
    Case(
        "chunked then another", post(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n") + get(), (200, 200), closed=False
    ),
    Case(
        "chunked with extension", post(CHUNKED, body=b'3;a="b"\r\nabc\r\n0;x\r\n\r\n'), (200,), closed=False
    ),
    Case(
        "chunked with trailers", post(CHUNKED, body=b"0\r\nX-A: b\r\n\r\n") + get(), (200, 200), closed=False
    ),
    # request line
    Case("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
    Case("garbage line", b"}{ nonsense\r\n\r\n", (400,)),
    Case("three empty lines before", b"\r\n\r\n\r\n" + get(), (400,)),
    Case("HTTP/0.9", b"GET /\r\n", (400,)),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,)),
    Case("HTTP/1.2", get(line=b"GET / HTTP/1.2"), (400,)),
    Case("HTTP/3.0", get(line=b"GET / HTTP/3.0"), (505,)),
    Case("http in lower case", get(line=b"GET / http/1.1"), (400,)),
    Case("two spaces", get(line=b"GET  / HTTP/1.1"), (400,)),
    Case("space at the end", get(line=b"GET / HTTP/1.1 "), (400,)),
    Case("space in front", get(line=b" GET / HTTP/1.1"), (400,)),
    Case("tab for space", get(line=b"GET\t/ HTTP/1.1"), (400,)),
    Case("space in target", get(line=b"GET /a b HTTP/1.1"), (400,)),
    Case("NUL in target", get(line=b"GET /a\x00b HTTP/1.1"), (400,)),
    Case("CR in target", get(line=b"GET /a\rb HTTP/1.1"), (400,)),
    Case("method no token", get(line=b"G(T / HTTP/1.1"), (400,)),
    Case("unknown method", get(line=b"BREW / HTTP/1.1"), (501,)),
    Case("method in lower case", get(line=b"get / HTTP/1.1"), (501,)),
    Case("CONNECT", get(line=b"CONNECT a:443 HTTP/1.1"), (501,)),
    Case("authority form", get(line=b"GET a:443 HTTP/1.1"), (400,)),
    Case("asterisk with GET", get(line=b"GET * HTTP/1.1"), (400,)),
    Case("query without a path", get(line=b"GET ?a HTTP/1.1"), (400,)),
    Case("absolute form, other Host", get(line=b"GET http://b/ HTTP/1.1"), (400,)),
    Case("absolute form with user", get(line=b"GET http://u@a/ HTTP/1.1"), (400,)),
    Case("absolute form, other scheme", get(line=b"GET https://a/ HTTP/1.1"), (421,)),
    Case("line too long", get(line=b"GET /" + b"a" * 300 + b" HTTP/1.1"), (414,)),
    Case("line too long and no end", b"GET /" + b"a" * 300, (414,)),
    # fields
    Case("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", (400,)),
    Case("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", (400,)),
    Case("bare LF before the end of the head", b"GET / HTTP/1.1\r\nHost: a\n", (400,)),
    Case("bare LF as empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", (400,)),
    Case("bare CR in a value", get(b"X: a\rb"), (400,)),
    Case("NUL in a value", get(b"X: a\x00b"), (400,)),
    Case("control character in a value", get(b"X: a\x0bb"), (400,)),
    Case("folded line", get(b"X: a", b" b"), (400,)),
    Case("folded first line", get(host=b" Host: a"), (400,)),
    Case("space before the colon", get(b"X : a"), (400,)),
    Case("tab before the colon", get(b"Content-Length\t: 3"), (400,)),
    Case("no colon", get(b"nonsense"), (400,)),
    Case("empty name", get(b": a"), (400,)),
    Case("name with a space", get(b"X Y: a"), (400,)),
    Case("obs-text in a name", get(b"X\xe9: a"), (400,)),
    Case("no Host", get(host=b""), (400,)),
    Case("empty Host", get(host=b"Host:"), (400,)),
    Case("two Hosts", get(b"Host: a"), (400,)),
    Case("Host with a slash", get(host=b"Host: a/b"), (400,)),
    Case("Host with a user", get(host=b"Host: u@a"), (400,)),
    Case("Host with a space", get(host=b"Host: a b"), (400,)),
    Case("Host with a comma", get(host=b"Host: a, b"), (400,)),
    Case("Host with a bad port", get(host=b"Host: a:http"), (400,)),
    Case("Host with a huge port", get(host=b"Host: a:65536"), (400,)),
    Case("Host with a bad address", get(host=b"Host: [::1"), (400,)),
    Case("Host with a bad IPv6 address", get(host=b"Host: [1:2:3]"), (400,)),
    Case("header too large", get(b"X: " + b"a" * 1100), (431,)),
    Case("header too large and no end", get(b"X: " + b"a" * 1100)[:-4], (431,)),
    Case("too many fields", get(*(b"X: a" for _ in range(8))), (431,)),
    # framing
    Case("length and chunked", post(b"Content-Length: 3", CHUNKED, body=b"abc"), (400,)),
    Case("chunked and length", post(CHUNKED, b"Content-Length: 3", body=b"0\r\n\r\n"), (400,)),
    Case("two lengths", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"), (400,)),
    Case("same length twice", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), (400,)),
    Case("length list", post(b"Content-Length: 3, 3", body=b"abc"), (400,)),
    Case("length with sign", post(b"Content-Length: +3", body=b"abc"), (400,)),
    Case("negative length", post(b"Content-Length: -3", body=b"abc"), (400,)),
    Case("hexadecimal length", post(b"Content-Length: 0x3", body=b"abc"), (400,)),
    Case("empty length", post(b"Content-Length:", body=b"abc"), (400,)),
    Case("length with underscore", post(b"Content-Length: 1_0", body=b"a" * 10), (400,)),
    Case("huge length", post(b"Content-Length: " + b"9" * 30), (400,)),
    Case("length above the limit", post(b"Content-Length: 1001"), (413,)),
    Case("chunked in 1.0", get(CHUNKED, line=b"POST / HTTP/1.0") + b"0\r\n\r\n", (400,)),
    Case("unknown coding", post(b"Transfer-Encoding: gzip", body=b"x"), (501,)),
    Case("coding before chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (501,)),
    Case("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), (400,)),
    Case("chunked not last", post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), (400,)),
    Case("chunked in two lines", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), (400,)),
    Case("coding with vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), (400,)),
    Case("empty coding", post(b"Transfer-Encoding:", body=b"0\r\n\r\n"), (400,)),
    Case("chunk size no number", post(CHUNKED, body=b"xyz\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk size empty", post(CHUNKED, body=b"\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk size with 0x", post(CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk size with sign", post(CHUNKED, body=b"+3\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk size with space", post(CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk size huge", post(CHUNKED, body=b"f" * 16 + b"\r\nabc\r\n"), (400,)),
    Case("chunk above the limit", post(CHUNKED, body=b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n"), (413,)),
    Case("chunk longer than its size", post(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"), (400,)),
    Case("chunk line ended by LF", post(CHUNKED, body=b"3\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk ended by LF", post(CHUNKED, body=b"3\r\nabc\n0\r\n\r\n"), (400,)),
    Case("chunk extension with CR", post(CHUNKED, body=b"3;\ra\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk extension with an open quote", post(CHUNKED, body=b'3;a="b\r\nabc\r\n0\r\n\r\n'), (400,)),
    Case("chunk extension without a name", post(CHUNKED, body=b"3;\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk line too long", post(CHUNKED, body=b"3;" + b"a" * 2000), (400,)),
    Case("framing field as trailer", post(CHUNKED, body=b"0\r\nContent-Length: 3\r\n\r\n"), (400,)),
    Case("bad trailer", post(CHUNKED, body=b"0\r\nX : 3\r\n\r\n"), (400,)),
    # expectations
    Case("unknown expectation", post(b"Expect: 200-ok", b"Content-Length: 3", body=b"abc"), (417,)),
    Case("expectation without body", get(b"Expect: 100-continue"), (200,), closed=False),
    Case("expectation in another case", get(b"Expect: 100-Continue"), (200,), closed=False),
    Case("expectation in 1.0", get(b"Expect: nonsense", line=b"GET / HTTP/1.0"), (200,)),
]


def echo_gate(ctx: Context) -> Response | None:
    """Answer a request without a body at once."""
    return text(ctx) if ctx.request.body is None else None


async def echo(ctx: Context) -> Response:
    """Answer with the request's body."""
    body = b""
    assert ctx.request.body is not None
    while piece := await ctx.request.body.read():
        body += piece
    return text(ctx, body)


async def check(case: Case, pieces: list[bytes]) -> None:
    async with H1Edge(echo_gate, echo, limits=SMALL) as edge:
        reader, writer = await edge.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0)
        statuses = tuple([(await read_response(reader))[0] for _ in case.statuses])
        assert statuses == case.statuses
        if case.closed:
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        else:
            writer.write(get(b"Connection: close"))
            status, _fields, body = await read_response(reader)
            assert (status, body) == (200, b"hit\n")
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_is_answered_or_refused(case: Case) -> None:
    run(check(case, [case.data]))


# A client that asks to close and sends on cannot count on anything, its answer included. Empty lines are
# counted per read: they carry nothing.
UNCUT = {"nothing behind close is answered", "three empty lines before"}
CUTTABLE = [case for case in CASES if case.name not in UNCUT]


@pytest.mark.parametrize("case", CUTTABLE, ids=lambda case: case.name)
def test_the_same_byte_by_byte(case: Case) -> None:
    """Where the network cuts must not matter. A refusal may come before the last byte is sent."""

    step = 1 if len(case.data) < 400 else 97
    run(check(case, [case.data[i : i + step] for i in range(0, len(case.data), step)]))


def test_a_refusal_says_that_it_closes_and_why() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(get(host=b""))
            status, fields, body = await read_response(reader)
            assert status == 400
            assert fields.get(b"connection") == b"close"
            assert b"Host is missing" in body
            assert edge.finished[0].error is not None

    run(test())


def test_host_and_target_reach_the_stages_in_one_spelling() -> None:
    seen: list[tuple[bytes, bytes, bytes | None, bytes]] = []

    def gate(ctx: Context) -> Response:
        request = ctx.request
        seen.append((request.host, request.path, request.query, request.target))
        return text(ctx)

    async def test() -> None:
        async with H1Edge(gate) as edge:
            own = b"127.0.0.1:%d" % edge.port
            sent = [
                get(host=b"Host: Example.ORG:80"),
                get(host=b"Host: example.org.:8080", line=b"GET /a?b?c HTTP/1.1"),
                get(host=b"Host: example.org:", line=b"GET /? HTTP/1.1"),
                get(host=b"Host: [2001:DB8:0::1]:80", line=b"GET //x HTTP/1.1"),
                get(host=b"Host: a:81", line=b"GET http://A:81?q HTTP/1.1"),
                get(host=b"Host: a", line=b"OPTIONS http://a HTTP/1.1"),
                get(host=b"", line=b"GET / HTTP/1.0"),
            ]
            for data in sent:
                reader, writer = await edge.connect()
                writer.write(data)
                await read_response(reader)
            assert seen == [
                (b"example.org", b"/", None, b"/"),
                (b"example.org:8080", b"/a", b"b?c", b"/a?b?c"),
                (b"example.org", b"/", b"", b"/?"),
                (b"[2001:db8::1]", b"//x", None, b"//x"),
                (b"a:81", b"/", b"q", b"http://A:81?q"),
                (b"a", b"*", None, b"http://a"),
                (own, b"/", None, b"/"),
            ]

    run(test())


def test_contexts_carry_client_id_and_both_clocks() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            reader, writer = await edge.connect()
            writer.write(get() + get())
            await read_response(reader)
            await read_response(reader)
            first, second = edge.finished
            assert first.client is second.client
            assert first.client.address == "127.0.0.1"
            assert first.client.port == writer.get_extra_info("sockname")[1]
            assert first.client.bucket_key == b"\x7f\x00\x00\x01"
            assert first.client.listener == f"http://127.0.0.1:{edge.port}"
            assert not first.client.trusted
            assert len(first.request_id) == len(second.request_id) == 32
            assert first.request_id != second.request_id
            assert second.now_ns > first.now_ns
            assert abs((second.now_s - first.now_s) - (second.now_ns - first.now_ns) * 1e-9) < 1e-3
            assert first.status == 200

    run(test())


def test_a_configured_proxy_is_trusted() -> None:
    async def test() -> None:
        async with H1Edge(trusted=(ip_network("127.0.0.0/8"),)) as edge:
            reader, writer = await edge.connect()
            writer.write(get())
            await read_response(reader)
            assert edge.finished[0].client.trusted

    run(test())


def test_the_connection_ends_behind_the_last_request_allowed() -> None:
    async def test() -> None:
        async with H1Edge(limits=replace(SMALL, requests_per_connection=3)) as edge:
            reader, writer = await edge.connect()
            writer.write(get() * 5)
            fields = [(await read_response(reader))[1].get(b"connection") for _ in range(3)]
            assert fields == [None, None, b"close"]
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())
