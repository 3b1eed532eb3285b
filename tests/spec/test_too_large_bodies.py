"""Bodies of unknown length that prove too large for the cache: all who read along get them whole."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import CachingEdge
from tests.support.scripted_origin import Recorded, Step, Wire
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


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    rules = CacheSettings(max_object_bytes=HALF + 1000)
    with CachingEdge(tmp_path_factory.mktemp("edge"), rules) as running:
        yield running


def test_all_who_read_along_in_any_worker_get_it_whole(edge: CachingEdge) -> None:
    path = edge.script(page)
    replies = edge.ask_many(path, CLIENTS)
    assert [(reply.status, reply.whole) for reply in replies] == [(200, True)] * CLIENTS
    assert all(reply.body == BODY for reply in replies)
    assert edge.origin.errors == []
    assert any("if-range" in request.headers for request in edge.asked(path))
