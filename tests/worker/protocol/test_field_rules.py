"""One validator: what a header section may hold is the same in every version. Over real sockets."""

from dataclasses import dataclass

import pytest

from tests.support import h3_raw
from tests.support.h1_edge import run
from tests.support.h2_edge import H2Edge
from tests.support.h3_client import H3Client
from tests.support.h3_edge import H3Edge

PROTOCOL_ERROR = 1
MESSAGE_ERROR, DECOMPRESSION_FAILED = 0x10E, 0x200


@dataclass(frozen=True)
class Rule:
    """Field lines of a request that has a body of nothing; are they fine?"""

    name: str
    fields: tuple[tuple[bytes, bytes], ...]
    fine: bool = False
    authority: bytes = b"a"


RULES = [
    Rule("no field", (), fine=True),
    Rule("a field", ((b"x", b"a"),), fine=True),
    Rule("empty value", ((b"x", b""),), fine=True),
    Rule("tab in a value", ((b"x", b"a\tb"),), fine=True),
    Rule("obs-text in a value", ((b"x", b"caf\xe9"),), fine=True),
    Rule("every token character", ((b"!#$%&'*+-.^_`|~09az", b"a"),), fine=True),
    Rule("the same field twice", ((b"x", b"a"), (b"x", b"b")), fine=True),
    Rule("TE trailers", ((b"te", b"trailers"),), fine=True),
    Rule("authority with a port", (), fine=True, authority=b"a.example:8080"),
    Rule("IPv6 authority", (), fine=True, authority=b"[::1]:8080"),
    Rule("no name", ((b"", b"a"),)),
    Rule("space in a name", ((b"x y", b"a"),)),
    Rule("space behind a name", ((b"x ", b"a"),)),
    Rule("control character in a name", ((b"x\x01", b"a"),)),
    Rule("NUL in a name", ((b"x\x00", b"a"),)),
    Rule("obs-text in a name", ((b"caf\xe9", b"a"),)),
    Rule("parenthesis in a name", ((b"(x)", b"a"),)),
    Rule("LF in a name", ((b"x\ny", b"a"),)),
    Rule("CR in a value", ((b"x", b"a\rb"),)),
    Rule("LF in a value", ((b"x", b"a\nb"),)),
    Rule("CRLF in a value", ((b"x", b"a\r\n b"),)),
    Rule("NUL in a value", ((b"x", b"a\x00b"),)),
    Rule("control character in a value", ((b"x", b"a\x01b"),)),
    Rule("DEL in a value", ((b"x", b"a\x7fb"),)),
    Rule("Content-Length with a sign", ((b"content-length", b"+5"),)),
    Rule("Content-Length with a unit", ((b"content-length", b"5x"),)),
    Rule("empty Content-Length", ((b"content-length", b""),)),
    Rule("Content-Length of 19 digits", ((b"content-length", b"0" * 19),)),
    Rule("Content-Length as a list", ((b"content-length", b"0, 0"),)),
    Rule("two Content-Lengths", ((b"content-length", b"0"), (b"content-length", b"0"))),
    Rule(
        "Content-Length with Transfer-Encoding",
        ((b"content-length", b"0"), (b"transfer-encoding", b"chunked")),
    ),
    Rule("unknown Transfer-Encoding", ((b"transfer-encoding", b"cunked"),)),
    Rule("another Host", ((b"host", b"b"),)),
    Rule("two Hosts", ((b"host", b"a"), (b"host", b"a"))),
    Rule("space in the authority", (), authority=b"a b"),
    Rule("user information in the authority", (), authority=b"u@a"),
    Rule("empty label in the authority", (), authority=b"a..b"),
    Rule("empty label at the end of the authority", (), authority=b"a.."),
    Rule("port of six digits in the authority", (), authority=b"a:123456"),
    Rule("comma in the authority", (), authority=b"a,b"),
]
FORTY = tuple((b"x%d" % i, b"a") for i in range(40))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_same_rules_hold_for_every_version(rule: Rule) -> None:
    async def test() -> None:
        async with H2Edge() as edge:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in ((b"Host", rule.authority), *rule.fields))
            answer = await edge.exchange(b"GET / HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n")
            assert (answer[9:12] == b"200") is rule.fine
            if not rule.fine:
                assert answer[9:10] in (b"4", b"5")
            async with await edge.client(checks=False) as client:
                stream = client.begin(
                    fields=rule.fields,  # type: ignore[arg-type]
                    pseudo=[
                        (b":method", b"GET"),
                        (b":scheme", b"http"),
                        (b":path", b"/"),
                        (b":authority", rule.authority),
                    ],  # type: ignore[list-item]
                )
                came = await client.answer(stream)
                if rule.fine:
                    assert came.status == 200
                else:
                    assert came.status == 400 or came.reset == PROTOCOL_ERROR
                # Whatever was wrong was wrong with one stream: the connection goes on.
                assert (await client.ask("/")).status == 200

    run(test())


def ask_over_h3(client: H3Client, rule: Rule, path: bytes = b"/") -> int:
    """A request as the rule has it; its stream."""
    pseudo = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", path), (b":authority", rule.authority)]
    return client.open_request(
        h3_raw.frame(h3_raw.HEADERS, h3_raw.literal([*pseudo, *rule.fields])), end=True
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_same_rules_hold_for_http3(rule: Rule) -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            came = await client.answer(ask_over_h3(client, rule))
            if (b"", b"a") in rule.fields:  # ls-qpack takes a field without a name for damage
                assert client.closed_by == DECOMPRESSION_FAILED
                return
            if rule.fine:
                assert came.status == 200
            else:
                assert came.status == 400 or came.reset == MESSAGE_ERROR
            assert (await client.ask("/")).status == 200

    run(test())


def test_what_was_refused_over_http3_never_reached_a_stage() -> None:
    async def test() -> None:
        seen = []

        async with H3Edge() as edge:
            gate = edge.gate
            edge.gate = lambda ctx: seen.append(ctx.request.path) or gate(ctx)  # type: ignore[func-returns-value]
            for number, rule in enumerate(RULES):
                if not rule.fine:
                    async with await edge.client() as client:
                        await client.answer(ask_over_h3(client, rule, b"/%d" % number))
        assert seen == []

    run(test())


def test_what_was_refused_never_reached_a_stage() -> None:
    async def test() -> None:
        seen = []

        async with H2Edge() as edge:
            gate = edge.gate
            edge.gate = lambda ctx: seen.append(ctx.request.path) or gate(ctx)  # type: ignore[func-returns-value]
            async with await edge.client(checks=False) as client:
                for number, rule in enumerate(RULES):
                    if rule.fine:
                        continue
                    pseudo = [
                        (b":method", b"GET"),
                        (b":scheme", b"http"),
                        (b":path", b"/%d" % number),
                        (b":authority", rule.authority),
                    ]
                    await client.answer(client.begin(fields=rule.fields, pseudo=pseudo))  # type: ignore[arg-type]
        assert seen == []

    run(test())
