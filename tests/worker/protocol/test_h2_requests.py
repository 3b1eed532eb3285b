"""What an HTTP/2 stream's head may hold and what becomes of it. The client is the `h2` package."""

from dataclasses import dataclass, field

import pytest

from tests.support.h1_edge import run, text
from tests.support.h2_edge import H2Edge
from worker.context import Context
from worker.message import Response
from worker.settings import Limits

PROTOCOL_ERROR = 1
GET = {b":method": b"GET", b":scheme": b"http", b":authority": b"a", b":path": b"/"}


@dataclass(frozen=True)
class Head:
    """Pseudo-fields changed or (None) left out, further fields; the status, or the code of the reset."""

    name: str
    pseudo: dict[bytes, bytes | None] = field(default_factory=dict)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    status: int | None = 200
    reset: int | None = None
    before: tuple[tuple[bytes, bytes], ...] = ()  # in front of the pseudo-fields


def malformed(name: str, pseudo: dict[bytes, bytes | None] | None = None, **options: object) -> Head:
    return Head(name, pseudo or {}, status=None, reset=PROTOCOL_ERROR, **options)  # type: ignore[arg-type]


HEADS = [
    Head("plain"),
    Head("Host that agrees", fields=((b"host", b"a"),)),
    Head("Host that agrees but for its default port", fields=((b"host", b"A:80"),)),
    Head("Host instead of :authority", {b":authority": None}, ((b"host", b"a"),)),
    Head("HEAD", {b":method": b"HEAD"}),
    Head("OPTIONS asterisk", {b":method": b"OPTIONS", b":path": b"*"}),
    Head("priority", fields=((b"priority", b"u=1, i"),)),
    Head("Host that differs", fields=((b"host", b"b"),), status=400),
    Head("another scheme", {b":scheme": b"https"}, status=421),
    Head("unknown method", {b":method": b"BREW"}, status=501),
    Head("unknown expectation", fields=((b"expect", b"tea"),), status=417),
    malformed("no host at all", {b":authority": None}),
    malformed("no :method", {b":method": None}),
    malformed("no :scheme", {b":scheme": None}),
    malformed("no :path", {b":path": None}),
    malformed("empty :path", {b":path": b""}),
    malformed(":path without a slash", {b":path": b"x"}),
    malformed(":path with a space", {b":path": b"/a b"}),
    malformed(":path with LF", {b":path": b"/a\nb"}),
    malformed(":path with NUL", {b":path": b"/a\x00b"}),
    malformed(":method with a space", {b":method": b"GET /"}),
    malformed(":authority with LF", {b":authority": b"a\r\nx: y"}),
    malformed("unknown pseudo-field", fields=((b":x", b"a"),)),
    malformed("pseudo-field of responses", fields=((b":status", b"200"),)),
    malformed("second :path", fields=((b":path", b"/b"),)),
    malformed("field before the pseudo-fields", before=((b"x", b"a"),)),
    malformed(
        "extended CONNECT, which is not offered",
        {b":method": b"CONNECT"},
        fields=((b":protocol", b"websocket"),),
    ),
    malformed("capital letter in a name", fields=((b"X", b"a"),)),
    malformed("Connection", fields=((b"connection", b"close"),)),
    malformed("Keep-Alive", fields=((b"keep-alive", b"1"),)),
    malformed("Proxy-Connection", fields=((b"proxy-connection", b"close"),)),
    malformed("Transfer-Encoding", fields=((b"transfer-encoding", b"chunked"),)),
    malformed("Upgrade", fields=((b"upgrade", b"h2c"),)),
    malformed("TE gzip", fields=((b"te", b"gzip"),)),
    malformed("whitespace before a value", fields=((b"x", b" a"),)),
    malformed("whitespace behind a value", fields=((b"x", b"a\t"),)),
    malformed("two lines in a value", fields=((b"x", b"a\r\nhost: b"),)),
    malformed("a request in a value", fields=((b"x", b"a\r\n\r\nGET / HTTP/1.1\r\nhost: b\r\n\r\n"),)),
    malformed("colon in a name", fields=((b"x: y\r\nz", b"a"),)),
    malformed("Content-Length without a body", fields=((b"content-length", b"3"),)),
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_a_head_is_answered_or_its_stream_reset(head: Head) -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client(checks=False) as client:
            pseudo = [(name, value) for name, value in {**GET, **head.pseudo}.items() if value is not None]
            stream = client.begin(pseudo=[*head.before, *pseudo], fields=head.fields)  # type: ignore[arg-type, list-item]
            answer = await client.answer(stream)
            assert (answer.status or None, answer.reset) == (head.status, head.reset)
            assert (await client.ask("/")).status == 200

    run(test())


def test_connect_is_answered_501() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client(checks=False) as client:
            stream = client.begin(pseudo=[(":method", "CONNECT"), (":authority", "a:443")], end=False)
            assert (await client.answer(stream)).status == 501

    run(test())


def test_a_request_is_the_same_to_the_stages_as_in_http1() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client(authority="Example.ORG:80") as client:
            fields = [("user-agent", "me"), ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]
            answer = await client.ask("/a/b?c=d?e", fields)
            ctx = edge.finished[0]
            request = ctx.request
            assert (request.method, request.scheme, request.host) == (b"GET", b"http", b"example.org")
            assert (request.target, request.path, request.query) == (b"/a/b?c=d?e", b"/a/b", b"c=d?e")
            assert request.version == b"2"
            assert request.body is None
            assert request.fields.items() == [
                (b"user-agent", b"me"), (b"x", b"y"), (b"host", b"Example.ORG:80"), (b"cookie", b"a=1; b=2"),
            ]  # fmt: skip
            assert request.fields.get(b"cookie") == b"a=1; b=2"
            assert (ctx.status, ctx.bytes_in) == (200, 0)
            assert ctx.bytes_out > len(answer.body)
            assert answer.fields["x-path"] == "/a/b"
            assert answer.fields["content-length"] == "4"
            assert "date" in answer.fields

    run(test())


def test_a_hundred_streams_at_once_are_each_answered() -> None:
    async def test() -> None:
        async with H2Edge() as edge, await edge.client() as client:
            streams = [client.begin(f"/{number}") for number in range(100)]
            for number, stream in enumerate(streams):
                assert (await client.answer(stream)).fields["x-path"] == f"/{number}"
            assert edge.tasks == set()

    run(test())


SMALL = Limits(request_line_bytes=256, header_bytes=1024, header_count=8, body_bytes=1000)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/", [("x", "a" * 900)], 200),
        ("/", [("x", "a" * 1100)], 431),
        ("/", [(f"x{number}", "a") for number in range(3)], 200),
        ("/", [(f"x{number}", "a") for number in range(9)], 431),
        ("/" + "a" * 300, [], 414),
    ],
)
def test_heads_are_limited_in_every_dimension(path: str, fields: list[tuple[str, str]], status: int) -> None:
    async def test() -> None:
        async with H2Edge(limits=SMALL) as edge, await edge.client(checks=False) as client:
            assert (await client.ask(path, fields)).status == status
            assert (await client.ask("/")).status == 200

    run(test())


def test_a_header_section_of_many_times_the_limit_ends_the_connection() -> None:
    async def test() -> None:
        async with H2Edge(limits=SMALL) as edge, await edge.client(checks=False) as client:
            # A few bytes each: the value is in the dynamic table after the first.
            client.begin("/", [("x", "a" * 500)] * 50)
            await client.until(lambda: client.goaways)
            assert client.goaways[-1][0] == 11  # ENHANCE_YOUR_CALM

    run(test())


def test_requests_per_connection_end_it_with_goaway() -> None:
    async def test() -> None:
        async with H2Edge(limits=Limits(requests_per_connection=3)) as edge, await edge.client() as client:
            for _ in range(3):
                assert (await client.ask("/")).status == 200
            await client.until(lambda: client.goaways)
            assert client.goaways == [(0, 5)]
            await client.until_closed()

    run(test())


def test_a_failing_stage_costs_its_own_request_only() -> None:
    def gate(ctx: Context) -> Response:
        if ctx.request.path == b"/bad":
            raise RuntimeError("on purpose")
        return text(ctx)

    async def test() -> None:
        async with H2Edge(gate) as edge, await edge.client() as client:
            assert (await client.ask("/bad")).status == 500
            assert (await client.ask("/")).status == 200

    run(test())
