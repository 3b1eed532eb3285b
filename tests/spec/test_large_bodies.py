"""A body larger than memory should hold passes through a worker piece by piece, in both directions."""

import asyncio
from pathlib import Path

import psutil

from tests.spec.test_shared_hits import port_of
from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire

GIB = 1024**3
PIECE = bytes(range(256)) * 4096  # 1 MiB
GROWTH_BYTES = 32 * 1024**2


def handler(request: Recorded) -> Step:
    async def down(wire: Wire) -> None:
        await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n".encode())
        for _ in range(GIB // len(PIECE)):
            await wire.write(PIECE)

    async def up(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    return up if request.method == "POST" else down


def resident_bytes(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


async def _download(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * len(PIECE))
    writer.write(b"GET /big HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(GIB // len(PIECE)):
        assert await reader.readexactly(len(PIECE)) == PIECE
    rest = await reader.read()
    writer.close()
    return len(rest)


async def _upload(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: {GIB}\r\n\r\n".encode())
    for _ in range(GIB // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
    line = await reader.readline()
    writer.close()
    return line


def test_a_gibibyte_down_and_up_does_not_grow_a_worker(tmp_path: Path) -> None:
    with (
        ScriptedOrigin(handler, keep_bodies=False) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=1)) as edge,
    ):
        port = port_of(edge)
        before = resident_bytes(edge.pids)
        assert asyncio.run(_download(port)) == 0
        after_download = resident_bytes(edge.pids)
        assert asyncio.run(_upload(port)) == b"HTTP/1.1 204 No Content\r\n"
        after_upload = resident_bytes(edge.pids)
    assert origin.requests[-1].body_bytes == GIB
    assert after_download - before < GROWTH_BYTES
    assert after_upload - before < GROWTH_BYTES
