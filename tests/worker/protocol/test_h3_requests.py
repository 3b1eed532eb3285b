"""What an HTTP/3 stream's head may hold and what becomes of it. The client is aioquic's."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.h1_edge import run, text
from tests.support.h3_client import H3Client
from tests.support.h3_edge import H3Edge
from worker.context import Context
from worker.message import Response
from worker.settings import Limits

MESSAGE_ERROR = 0x10E
EXCESSIVE_LOAD = 0x107
GET = {b":method": b"GET", b":scheme": b"https", b":authority": b"a", b":path": b"/"}
EXTENDED: dict[bytes, bytes | None] = {b":method": b"CONNECT"}
WEBSOCKET = ((b":protocol", b"websocket"),)


@dataclass(frozen=True)
class Head:
    """Pseudo-fields changed or (None) left out, further fields; the status, or the code of the reset."""

    name: str
    pseudo: dict[bytes, bytes | None] = field(default_factory=dict)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    status: int | None = 200
    reset: int | None = None
    before: tuple[tuple[bytes, bytes], ...] = ()  # in front of the pseudo-fields


def malformed(name: str, pseudo: dict[bytes, bytes | None] | None = None, **options: Any) -> Head:
    return Head(name, pseudo or {}, status=None, reset=MESSAGE_ERROR, **options)


HEADS = [
    Head("plain"),
    Head("Host that agrees", fields=((b"host", b"a"),)),
    Head("Host that agrees but for its default port", fields=((b"host", b"A:443"),)),
    Head("Host instead of :authority", {b":authority": None}, ((b"host", b"a"),)),
    Head("HEAD", {b":method": b"HEAD"}),
    Head("OPTIONS asterisk", {b":method": b"OPTIONS", b":path": b"*"}),
    Head("priority", fields=((b"priority", b"u=1, i"),)),
    Head("Host that differs", fields=((b"host", b"b"),), status=400),
    Head("another scheme", {b":scheme": b"http"}, status=421),
    Head("unknown method", {b":method": b"BREW"}, status=501),
    Head("unknown expectation", fields=((b"expect", b"tea"),), status=417),
    Head("CONNECT", {b":method": b"CONNECT", b":scheme": None, b":path": None}, status=501),
    Head("no host at all", {b":authority": None}, status=400),
    Head(":path without a slash", {b":path": b"x"}, status=400),
    malformed("no :method", {b":method": None}),
    malformed("no :scheme", {b":scheme": None}),
    malformed("no :path", {b":path": None}),
    malformed("empty :path", {b":path": b""}),
    malformed(":path with a space", {b":path": b"/a b"}),
    malformed(":path with LF", {b":path": b"/a\nb"}),
    malformed(":path with NUL", {b":path": b"/a\x00b"}),
    malformed(":method with a space", {b":method": b"GET /"}),
    malformed(":authority with LF", {b":authority": b"a\r\nx: y"}),
    malformed("unknown pseudo-field", fields=((b":x", b"a"),)),
    malformed("pseudo-field of responses", fields=((b":status", b"200"),)),
    malformed("second :path", fields=((b":path", b"/b"),)),
    malformed("field before the pseudo-fields", before=((b"x", b"a"),)),
    Head("WebSocket where no route lets it through", EXTENDED, WEBSOCKET, status=501),
    Head("extended CONNECT for another protocol", EXTENDED, ((b":protocol", b"connect-udp"),), status=501),
    Head(
        "extended CONNECT with Content-Length", EXTENDED, (*WEBSOCKET, (b"content-length", b"0")), status=400
    ),
    Head("extended CONNECT for another scheme", {**EXTENDED, b":scheme": b"http"}, WEBSOCKET, status=421),
    Head(
        "extended CONNECT without :authority", {**EXTENDED, b":authority": None}, fields=WEBSOCKET, status=400
    ),
    malformed(":protocol without CONNECT", fields=WEBSOCKET),
    malformed("extended CONNECT without :path", {**EXTENDED, b":path": None}, fields=WEBSOCKET),
    malformed("extended CONNECT without :scheme", {**EXTENDED, b":scheme": None}, fields=WEBSOCKET),
    malformed("second :protocol", EXTENDED, fields=WEBSOCKET * 2),
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
        async with H3Edge() as edge, await edge.client() as client:
            pseudo = [(name, value) for name, value in {**GET, **head.pseudo}.items() if value is not None]
            stream = client.begin(pseudo=[*head.before, *pseudo], fields=head.fields)
            answer = await client.answer(stream)
            assert (answer.status or None, answer.reset) == (head.status, head.reset)
            assert (await client.ask("/")).status == 200

    run(test())


def test_a_request_is_the_same_to_the_stages_as_in_http1() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client(authority="Example.ORG:443") as client:
            fields = [(b"user-agent", b"me"), (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
            answer = await client.ask("/a/b?c=d?e", fields)
            ctx = edge.finished[0]
            request = ctx.request
            assert (request.method, request.scheme, request.host) == (b"GET", b"https", b"example.org")
            assert (request.target, request.path, request.query) == (b"/a/b?c=d?e", b"/a/b", b"c=d?e")
            assert request.version == b"3"
            assert request.body is None
            assert request.fields.items() == [
                (b"user-agent", b"me"), (b"x", b"y"), (b"host", b"Example.ORG:443"), (b"cookie", b"a=1; b=2"),
            ]  # fmt: skip
            assert (ctx.status, ctx.bytes_in) == (200, 0)
            assert ctx.bytes_out > len(answer.body)
            assert answer.fields["x-path"] == "/a/b"
            assert answer.fields["content-length"] == "4"
            assert "date" in answer.fields
            assert (ctx.client.address, ctx.client.tls_version) == ("127.0.0.1", "TLSv1.3")
            assert ctx.client.tls_cipher == edge.link.cipher

    run(test())


def test_a_hit_is_given_to_the_link_at_once_without_a_task() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            await client.ask("/")
            given = len(edge.link.sends)
            stream = client.begin("/")
            await client.answer(stream)
            assert [sent for sent in edge.link.sends[given:] if sent[0] == stream] == [
                (stream, edge.finished[1].bytes_out, True)
            ]
            assert edge.tasks == set()

    run(test())


def test_a_hundred_streams_at_once_are_each_answered() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            streams = [client.begin(f"/{number}", flush=False) for number in range(100)]
            client.flush()
            for number, stream in enumerate(streams):
                assert (await client.answer(stream)).fields["x-path"] == f"/{number}"

    run(test())


SMALL = Limits(request_line_bytes=256, header_bytes=1024, header_count=8, body_bytes=1000)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/", [(b"x", b"a" * 900)], 200),
        ("/", [(b"x", b"a" * 1100)], 431),
        ("/", [(b"x%d" % number, b"a") for number in range(3)], 200),
        ("/", [(b"x%d" % number, b"a") for number in range(9)], 431),
        ("/" + "a" * 300, [], 414),
    ],
)
def test_heads_are_limited_in_every_dimension(
    path: str, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    async def test() -> None:
        async with H3Edge(limits=SMALL) as edge, await edge.client() as client:
            assert (await client.ask(path, fields)).status == status
            assert (await client.ask("/")).status == 200

    run(test())


def unfolded(client: H3Client) -> None:
    """Few bytes that stand for many: the value is in the dynamic table after the first."""
    client.begin("/", [(b"x", b"a" * 500)])
    client.begin("/", [(b"x", b"a" * 500)] * 40)


def too_many(client: H3Client) -> None:
    client.begin("/", [(b"x", b"a")] * 100)


def too_long(client: H3Client) -> None:
    client.begin("/", [(b"x%d" % number, b"\xff" * 1000) for number in range(9)])


@pytest.mark.parametrize("attack", [unfolded, too_many, too_long], ids=lambda attack: attack.__name__)
def test_a_header_section_of_many_times_the_limit_ends_the_connection(attack: Any) -> None:
    async def test() -> None:
        async with H3Edge(limits=SMALL) as edge, await edge.client() as client:
            await client.ask("/")
            attack(client)
            await client.until_closed()
            assert client.closed_by == EXCESSIVE_LOAD

    run(test())


def test_requests_per_connection_end_it_with_goaway() -> None:
    async def test() -> None:
        async with (
            H3Edge(limits=Limits(requests_per_connection=3)) as edge,
            await edge.client() as client,
        ):
            for _ in range(3):
                assert (await client.ask("/")).status == 200
            await client.until_closed()
            assert client.goaways == [12]
            assert client.closed_by == 0x100

    run(test())


def test_a_failing_stage_costs_its_own_request_only() -> None:
    def gate(ctx: Context) -> Response:
        if ctx.request.path == b"/bad":
            raise RuntimeError("on purpose")
        return text(ctx)

    async def test() -> None:
        async with H3Edge(gate) as edge, await edge.client() as client:
            assert (await client.ask("/bad")).status == 500
            assert (await client.ask("/")).status == 200

    run(test())
