"""Bodies of requests and answers pass through a whole edge as they are, whatever their size and framing."""

import asyncio
from hashlib import sha256
from random import Random

import pytest

from tests.support.caching_edge import CachingEdge, is_hit
from tests.support.exchanges import Arriving
from tests.support.scripted_origin import Wire, answer, chunked

SIZES = [0, 1, 16384, 65535, 65536, 1_000_000]


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


def upload(edge: CachingEdge, path: str, pieces: list[bytes], *, announced: bool) -> Arriving:
    async def main() -> Arriving:
        async with edge.connect() as client:
            fields = [("content-length", str(sum(map(len, pieces))))] if announced else []
            stream = client.begin(path, fields, method="PUT", end=False)
            await client.upload(stream, pieces)
            return await client.answer(stream)

    return asyncio.run(main())


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_goes_up_whole(edge: CachingEdge, size: int, announced: bool) -> None:
    path = edge.script(lambda request: answer(sha256(request.body).hexdigest().encode()))
    data = content(size)
    pieces = [data[at : at + 50_000] for at in range(0, size, 50_000)]
    came = upload(edge, path, pieces, announced=announced)
    assert (came.status, came.ended, came.body.decode()) == (200, True, sha256(data).hexdigest())
    (request,) = edge.asked(path)
    assert request.body_bytes == size


@pytest.mark.parametrize("storing", ["no-store", "max-age=60"])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_comes_down_whole(edge: CachingEdge, size: int, framing: str, storing: str) -> None:
    data = content(size)
    field = f"Cache-Control: {storing}"

    async def until_close(wire: Wire) -> None:
        await wire.write(f"HTTP/1.1 200 OK\r\n{field}\r\nConnection: close\r\n\r\n".encode() + data)
        wire.close()

    pieces = [data[at : at + 50_000] for at in range(0, size, 50_000)]
    steps = {"length": answer(data, headers=field), "chunks": chunked(*pieces, headers=[field])}
    path = edge.script(lambda request: steps.get(framing, until_close))
    for number in range(2):
        came = edge.ask(path)
        assert (came.status, came.whole, came.body) == (200, True, data)
        assert is_hit(came) is (number == 1 and storing == "max-age=60")


def test_a_body_that_is_shorter_than_announced_reaches_no_origin_as_a_whole(edge: CachingEdge) -> None:
    """The client ends its connection in the middle: the origin must not take the part for the whole."""
    path = edge.script(lambda request: answer(b"taken"))

    async def main() -> None:
        async with edge.connect() as client:
            stream = client.begin(path, [("content-length", "100000")], method="PUT", end=False)
            sending = asyncio.ensure_future(client.upload(stream, [bytes(1000)]))
            await asyncio.wait([sending], timeout=0.2)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(main())
    assert edge.ask(edge.serve()).status == 200
    assert edge.asked(path) == []
