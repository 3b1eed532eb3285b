"""Many requests, one fetch, in however many workers they arrive."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.support.caching_edge import CachingEdge
from tests.support.exchanges import Arriving
from tests.support.scripted_origin import Recorded, Step, Wire, answer, script

CLIENTS = 200


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    with CachingEdge(tmp_path_factory.mktemp("edge"), workers=4) as running:
        yield running


def test_a_slow_origin_asked_by_200_clients_through_4_workers_gets_one_request(edge: CachingEdge) -> None:
    page = answer(b"slow" * 500, headers="Cache-Control: max-age=60")
    path = edge.script(lambda request: script(1.0, page))
    replies = edge.ask_many(path, CLIENTS)
    assert len(edge.asked(path)) == 1
    assert [reply.status for reply in replies] == [200] * CLIENTS
    assert {reply.body for reply in replies} == {b"slow" * 500}


def test_when_the_origin_dies_amid_the_fetch_nobody_takes_the_part_for_the_whole(edge: CachingEdge) -> None:
    """It dies when all clients have some of what it sent."""
    size = 400_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {size}\r\n\r\n".encode()
    page = answer(b"z" * size, headers="Cache-Control: max-age=60")
    had: list[bool] = []

    async def dies(wire: Wire) -> None:
        await wire.write(head + b"z" * 100_000)
        while len(had) < CLIENTS:
            await wire.pause(0.01)
        wire.reset()

    steps = iter([dies, page])
    path = edge.script(lambda request: next(steps))

    async def ask() -> Arriving:
        async with edge.connect() as client:
            stream = client.begin(path)
            assert await client.body(stream, 1000) == b"z" * 1000
            had.append(True)
            return await client.answer(stream)

    async def ask_all() -> list[Arriving]:
        return await asyncio.gather(*(ask() for _ in range(CLIENTS)))

    replies = asyncio.run(ask_all())
    asked = len(edge.asked(path))
    again = edge.ask(path)
    assert {(reply.status, reply.ended) for reply in replies} == {(200, False)}
    assert asked == 1
    assert len(edge.asked(path)) == 2
    assert (again.status, again.whole, again.body) == (200, True, b"z" * size)


def test_waiters_go_alone_when_the_response_is_not_storable(edge: CachingEdge) -> None:
    page = answer(b"mine", headers="Cache-Control: private")
    asked: list[Recorded] = []

    def first_slowly(request: Recorded) -> Step:
        asked.append(request)
        return script(0.5, page) if len(asked) == 1 else page

    path = edge.script(first_slowly)
    replies = edge.ask_many(path, 20)
    assert {reply.body for reply in replies} == {b"mine"}
    assert len(asked) == 20


def test_waiters_in_every_worker_get_the_first_byte_before_the_origin_has_sent_the_last(
    edge: CachingEdge,
) -> None:
    """The origin sends the second half only when all clients have some of the first."""
    half = 100_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {2 * half}\r\n\r\n".encode()
    had: list[bool] = []

    async def slowly(wire: Wire) -> None:
        await wire.write(head + b"a" * half)
        while not had:
            await wire.pause(0.01)
        await wire.write(b"b" * half)

    path = edge.script(lambda request: slowly)

    async def main() -> list[bytes]:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(edge.connect()) for _ in range(20)]
            streams = [client.begin(path) for client in clients]
            for client, stream in zip(clients, streams, strict=True):
                assert await client.body(stream, 1000) == b"a" * 1000
            had.append(True)
            return [
                await client.body(stream, 2 * half) for client, stream in zip(clients, streams, strict=True)
            ]

    rests = asyncio.run(main())
    assert set(rests) == {b"a" * (half - 1000) + b"b" * half}
    assert len(edge.asked(path)) == 1
