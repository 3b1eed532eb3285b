"""Many requests, one fetch, in however many workers they arrive."""

import asyncio
from pathlib import Path

from tests.spec.test_shared_hits import port_of
from tests.support.client import ask, ask_many
from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import ScriptedOrigin, answer, script

CLIENTS = 200


def test_a_slow_origin_asked_by_200_clients_through_4_workers_gets_one_request(tmp_path: Path) -> None:
    page = answer(b"slow" * 500, headers="Cache-Control: max-age=60")
    with (
        ScriptedOrigin([script(1.0, page)]) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=4)) as edge,
    ):
        replies = asyncio.run(ask_many(port_of(edge), "/cold", CLIENTS))
    assert len(origin.requests) == 1
    assert [reply.status for reply in replies] == [200] * CLIENTS
    assert {reply.body for reply in replies} == {b"slow" * 500}


def test_when_the_origin_dies_amid_the_fetch_nobody_takes_the_part_for_the_whole(tmp_path: Path) -> None:
    size = 400_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {size}\r\n\r\n".encode()
    page = answer(b"z" * size, headers="Cache-Control: max-age=60")
    first = script(head + b"z" * 100_000, 1.0, "reset")
    with (
        ScriptedOrigin([first, page]) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=4)) as edge,
    ):
        port = port_of(edge)
        replies = asyncio.run(ask_many(port, "/dies", CLIENTS))
        asked = len(origin.requests)
        again = asyncio.run(ask(port, "/dies"))
    for reply in replies:
        assert (reply.status == 502 and reply.whole) or (reply.status == 200 and not reply.whole), (
            reply.fields
        )
    assert asked == 1
    assert len(origin.requests) == 2
    assert (again.status, again.whole, again.body) == (200, True, b"z" * size)


def test_waiters_go_alone_when_the_response_is_not_storable(tmp_path: Path) -> None:
    page = answer(b"mine", headers="Cache-Control: private")
    with (
        ScriptedOrigin([script(0.5, page), page]) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=2)) as edge,
    ):
        replies = asyncio.run(ask_many(port_of(edge), "/private", 20))
    assert {reply.body for reply in replies} == {b"mine"}
    assert len(origin.requests) == 20


def test_waiters_in_every_worker_get_the_first_byte_before_the_origin_has_sent_the_last(
    tmp_path: Path,
) -> None:
    """The origin sends the second half only when all clients have some of the first."""
    half = 100_000
    head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {2 * half}\r\n\r\n".encode()
    slow = script(head + b"a" * half, "stall", b"b" * half)

    async def main(port: int) -> list[bytes]:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in opened:
            writer.write(b"GET /slow HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n")
        for reader, _ in opened:
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(1000) == b"a" * 1000
        origin.release()
        rests = [await reader.readexactly(2 * half - 1000) for reader, _ in opened]
        for _, writer in opened:
            writer.close()
        return rests

    with (
        ScriptedOrigin([slow]) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=2)) as edge,
    ):
        rests = asyncio.run(asyncio.wait_for(main(port_of(edge)), 60))
    assert set(rests) == {b"a" * (half - 1000) + b"b" * half}
    assert len(origin.requests) == 1
