"""A body larger than memory should hold passes through a worker piece by piece, in both directions."""

import asyncio
from collections.abc import Iterator

import psutil
import pytest

from tests.support.caching_edge import CachingEdge
from tests.support.scripted_origin import Recorded, Step, Wire

MIB = 1024**2
PIECE = bytes(range(256)) * 4096  # 1 MiB
GROWTH_BYTES = 32 * MIB
PIECES = {"h1": 1024, "h3": 48}  # by how quick the version's client in Python is: a gibibyte over h1
USUAL_PIECES = 96


def handler(request: Recorded) -> Step:
    async def down(wire: Wire) -> None:
        count = int(request.target.rpartition("/")[2])
        await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {count * len(PIECE)}\r\n\r\n".encode())
        for _ in range(count):
            await wire.write(PIECE)

    async def up(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    return up if request.method == "POST" else down


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    with CachingEdge(tmp_path_factory.mktemp("edge"), workers=1) as running:
        running.origin.handler = handler
        running.origin.keep_bodies = False
        yield running


def resident_bytes(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


async def _download(edge: CachingEdge, count: int) -> None:
    async with edge.connect() as client:
        stream = client.begin(f"/{edge.over}/{count}")
        for _ in range(count):
            assert await client.body(stream, len(PIECE)) == PIECE
        assert (await client.answer(stream)).ended


async def _upload(edge: CachingEdge, count: int) -> int:
    async with edge.connect() as client:
        length = [("content-length", str(count * len(PIECE)))]
        stream = client.begin("/up", length, method="POST", end=False)
        await client.upload(stream, (PIECE for _ in range(count)))
        return (await client.answer(stream)).status


def test_a_large_body_down_and_up_does_not_grow_a_worker(edge: CachingEdge) -> None:
    count = PIECES.get(edge.over, USUAL_PIECES)
    edge.ask("/0")
    pids = edge.cluster.pids
    before = resident_bytes(pids)
    asyncio.run(_download(edge, count))
    assert resident_bytes(pids) - before < GROWTH_BYTES
    assert asyncio.run(_upload(edge, count)) == 204
    assert resident_bytes(pids) - before < GROWTH_BYTES
    assert edge.origin.requests[-1].body_bytes == count * len(PIECE)
