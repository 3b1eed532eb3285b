"""Fields that a route changes on requests to its origin."""

import asyncio
from collections.abc import Awaitable

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.origin.request_head import RequestHead
from worker.origin.request_rules import RuledFetch
from worker.settings import HeaderSettings, OriginSettings


def sent(
    rules: HeaderSettings, ctx: Context, extra: Fields | None = None, drop: tuple[bytes, ...] = ()
) -> list[bytes]:
    """The lines of the request's head that stand for fields of the client, the cache or a rule."""
    head = RequestHead(OriginSettings("http", "127.0.0.1", 8081), "edge", "edge-1")
    heads: list[bytes] = []

    def fetch(ctx: Context, extra: Fields | None = None, drop: tuple[bytes, ...] = ()) -> Awaitable[Response]:
        heads.append(head.build(ctx, b"GET", None, extra, drop))
        return answer()

    async def answer() -> Response:
        return Response(200, Fields())

    async def run() -> None:
        await RuledFetch(fetch, rules)(ctx, extra, drop)

    asyncio.run(run())
    own = (b"host", b"via", b"cdn-loop", b"forwarded", b"x-request-id", b"x-real-ip")
    return [
        line
        for line in heads[0].split(b"\r\n")[1:-2]
        if not line.lower().startswith((b"x-forwarded-", *(name + b":" for name in own)))
    ]


CHANGES = [
    pytest.param(HeaderSettings(set=((b"X-A", b"new"),)), [b"X-B: 1", b"X-A: new"], id="set"),
    pytest.param(HeaderSettings(add=((b"X-A", b"new"),)), [b"x-a: old", b"X-B: 1", b"X-A: new"], id="add"),
    pytest.param(HeaderSettings(remove=(b"x-a", b"x-c")), [b"X-B: 1"], id="remove"),
    pytest.param(
        HeaderSettings(set=((b"X-A", b"1"),), add=((b"X-A", b"2"),), remove=(b"x-b",)),
        [b"X-A: 1", b"X-A: 2"],
        id="all",
    ),
]


@pytest.mark.parametrize(("rules", "lines"), CHANGES)
def test_changes(rules: HeaderSettings, lines: list[bytes]) -> None:
    assert sent(rules, make_context((b"x-a", b"old"), (b"X-B", b"1"))) == lines


def test_what_the_cache_asks_with_is_kept_beside_the_rules() -> None:
    extra = Fields.of([(b"If-None-Match", b'"1"'), (b"Accept-Encoding", b"gzip")])
    ctx = make_context((b"Accept-Encoding", b"gzip, x"), (b"X-B", b"1"))
    rules = HeaderSettings(set=((b"X-A", b"1"),), remove=(b"accept-encoding",))
    assert sent(rules, ctx, extra, (b"accept-encoding",)) == [b"X-B: 1", b"X-A: 1", b'If-None-Match: "1"']
