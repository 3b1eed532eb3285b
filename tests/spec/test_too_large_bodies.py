"""Bodies of unknown length that prove too large for the cache: all who read along get them whole."""

import asyncio
from pathlib import Path

from tests.spec.test_shared_hits import port_of
from tests.support.client import ask_many
from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire
from worker.settings import CacheSettings

CLIENTS = 12
BODY = bytes(range(256)) * 4096  # 1 MiB
HALF = len(BODY) // 2


def page(request: Recorded) -> Step:
    """The whole in chunks of unknown number, slowly; the rest where somebody asks for it by tag."""
    if "if-range" in request.headers:
        assert request.headers["if-range"] == '"e"'
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        told = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        head = f'HTTP/1.1 206 Partial Content\r\nETag: "e"\r\nContent-Range: {told}\r\n'
        head += f"Content-Length: {len(BODY) - start}\r\n\r\n"
        return head.encode() + BODY[start:]

    async def slowly(wire: Wire) -> None:
        head = (
            'HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nETag: "e"\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        await wire.write(head.encode())
        for piece in (BODY[:HALF], BODY[HALF:]):
            await wire.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await wire.pause(0.5)
        await wire.write(b"0\r\n\r\n")

    return slowly


def test_all_who_read_along_in_any_worker_get_it_whole(tmp_path: Path) -> None:
    cache = CacheSettings(max_object_bytes=HALF + 1000)
    with (
        ScriptedOrigin(page) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=2, cache=cache)) as edge,
    ):
        replies = asyncio.run(ask_many(port_of(edge), "/large", CLIENTS))
    assert [(reply.status, reply.whole) for reply in replies] == [(200, True)] * CLIENTS
    assert all(reply.body == BODY for reply in replies)
    assert origin.errors == []
    assert any("if-range" in request.headers for request in origin.requests)
