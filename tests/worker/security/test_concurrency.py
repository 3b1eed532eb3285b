"""Requests that a client has under way at once."""

from collections.abc import Iterator
from time import monotonic_ns

import pytest

from shmcache.core import Segment
from tests.support.regions import open_segment
from worker.context import Client, Context
from worker.fields import Fields
from worker.message import Request, Response
from worker.reasons import Block
from worker.security.concurrency import ConcurrencyGate


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        segment.join(0, monotonic_ns())
        yield segment


def refuse(ctx: Context, status: int, block: Block) -> Response:
    ctx.block = block
    return Response(status, Fields.of([]), b"", 0)


def asked(key: bytes) -> Context:
    request = Request(b"GET", b"http", b"a", b"/", b"/", None, b"1.1", Fields.of([]))
    return Context(request, Client("192.0.2.7", 1, key, "http://127.0.0.1:80"), b"0" * 32, 0, 0.0)


def test_a_client_has_so_many_requests_under_way_and_more_once_one_is_over(segment: Segment) -> None:
    gate = ConcurrencyGate(segment.presence, 2, refuse)
    first, second, third, other = asked(b"me"), asked(b"me"), asked(b"me"), asked(b"you")
    assert [gate(ctx) for ctx in (first, second, other)] == [None] * 3
    response = gate(third)
    assert response is not None
    assert (response.status, response.fields.get(b"retry-after"), third.block) == (
        429,
        b"1",
        Block.CONCURRENCY,
    )
    gate.finish(third)  # it was none of those under way
    assert gate(asked(b"me")) is not None
    gate.finish(first)
    gate.finish(first)
    assert [gate(asked(b"me")) is None for _ in range(2)] == [True, False]
