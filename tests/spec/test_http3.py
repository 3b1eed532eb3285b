"""A whole cluster asked over HTTP/3: many connections on many workers, which die, move and are replaced."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.h3_client import H3Client, open_client
from tests.support.late_imports import SAID
from tests.support.nat import Nat
from tests.support.quic_client import QuicClient
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire, answer
from tests.support.versions import Ends, ask_over

WORKERS = 4
STORED = "Cache-Control: max-age=600"
PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 16
NO_ERROR = 0x100  # RFC 9114 8.1


def handler(request: Recorded) -> Step:
    async def in_two_halves(wire: Wire) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PIECE) * PIECES}\r\nCache-Control: no-store\r\n\r\n"
        await wire.write(head.encode() + PIECE * (PIECES // 2))
        await wire.stall()
        await wire.write(PIECE * (PIECES // 2))

    if request.target.startswith("/halves"):
        return in_two_halves
    if request.target == "/past-the-edge":
        return answer(b"come to me", headers=['Alt-Svc: h3=":9"; ma=60', "Cache-Control: no-store"])
    return answer(request.target.encode(), headers=STORED)


@dataclass
class Running:
    """The edge under test and its origin."""

    edge: Cluster
    origin: ScriptedOrigin

    @property
    def port(self) -> int:
        return urlsplit(self.edge.urls[0]).port or 0

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    async def client(self, port: int | None = None, **options: Any) -> H3Client:
        pem = (self.edge.settings.state_dir / "tls" / "ca.pem").read_bytes()
        return await open_client(port or self.port, pem, authority="localhost", idle_timeout=60.0, **options)

    @asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[list[H3Client]]:
        """So many connections at once."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(await self.client()) for _ in range(count)]

    def totals(self) -> Counter[str]:
        """The metrics without labels, by name without prefix and suffix."""
        with urlopen(f"{self.edge.admin_url}/metrics") as answered:
            text = answered.read().decode()
        lines = [line.split() for line in text.splitlines() if not line.startswith("#") and "{" not in line]
        return Counter(
            {name.removeprefix("edgecluster_").removesuffix("_total"): int(float(v)) for name, v in lines}
        )


def lane(client: H3Client | QuicClient) -> int:
    """Of the worker that serves it."""
    return int(client.quic._peer_cid.cid[0])


def member(client: H3Client | QuicClient) -> int:
    return int(client.quic._peer_cid.cid[1])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with ScriptedOrigin(handler, keep_bodies=False) as origin:
        made = settings(
            tmp_path,
            origin=origin.url,
            workers=WORKERS,
            schemes=("https", "http"),
            drain_timeout_s=60.0,
            admin=True,
        )
        with Cluster(made) as edge:
            yield Running(edge, origin)


async def assert_serves(client: H3Client, path: str) -> None:
    came = await client.ask(path)
    assert (came.status, bytes(came.body)) == (200, path.encode())


def test_hundreds_of_connections_spread_over_the_workers_and_none_is_lost(running: Running) -> None:
    count = 240

    async def go() -> Counter[int]:
        async with running.clients(count) as clients:
            await asyncio.gather(*(assert_serves(one, f"/{i % 7}") for i, one in enumerate(clients)))
            await asyncio.gather(*(assert_serves(one, f"/{i % 5}") for i, one in enumerate(clients)))
            assert not any(one.closed for one in clients)
            return Counter(map(lane, clients))

    lanes = asyncio.run(go())
    assert set(lanes) == set(range(WORKERS))
    assert min(lanes.values()) > count // WORKERS // 3
    totals = wait_until(lambda: (t := running.totals())["quic_handshakes"] == count and t)
    assert totals["quic_handshake_failures"] == totals["quic_handed_over_datagrams"] == 0
    assert totals["quic_received_datagrams"] > count * 4
    assert totals["quic_sent_datagrams"] > count * 4


def test_a_killed_worker_takes_only_its_own_connections_along(running: Running) -> None:
    async def go() -> None:
        async with running.clients(24) as clients, Nat(running.address) as nat:
            behind = await running.client(nat.port)
            async with behind:
                await assert_serves(behind, "/before")
                killed = lane(behind)
                os.kill(running.edge.pids[killed], signal.SIGKILL)
                await asyncio.to_thread(wait_until, lambda: len(running.edge.pids) == WORKERS)
                others = [one for one in clients if lane(one) != killed]
                assert len(others) >= 5
                await asyncio.gather(*(assert_serves(one, "/after") for one in others))
                # Its successor has never heard of the connection, and can prove that it may say so.
                behind.begin("/to the dead")
                tokens = {one.stateless_reset_token for one in behind.quic._peer_cid_available}
                tokens.add(behind.quic._peer_cid.stateless_reset_token)
                await nat.until_heard(lambda packet: packet[-16:] in tokens)
            async with await running.client() as newcomer:
                await assert_serves(newcomer, "/new")

    asyncio.run(go())
    assert wait_until(lambda: running.totals()["quic_stateless_resets"] >= 1)


@pytest.mark.parametrize("workers", [WORKERS, 2, 6])
def test_a_reload_loses_no_connection(running: Running, workers: int) -> None:
    """Those of the old generation go on by hand-over, are told to go, and end when they are through."""

    async def go() -> None:
        async with running.clients(12) as clients:
            old = {member(one) for one in clients}
            streams = [one.begin(f"/halves/{i}") for i, one in enumerate(clients)]
            await asyncio.to_thread(running.origin.wait_for, lambda origin: origin.stalled == len(clients))
            changed = await asyncio.to_thread(
                running.edge.reload, replace(running.edge.settings, workers=workers)
            )
            assert changed["ok"], changed
            async with running.clients(8) as newcomers:
                await asyncio.gather(*(assert_serves(one, "/new") for one in newcomers))
                assert not {member(one) for one in newcomers} & old
                running.origin.release()
                for one, stream in zip(clients, streams, strict=True):
                    came = await one.answer(stream)
                    assert (came.status, len(came.body)) == (200, len(PIECE) * PIECES)
                    assert came.body == PIECE * PIECES
                    await one.until_closed()
                    assert one.goaways
                    assert one.closed_by == NO_ERROR
                await asyncio.gather(*(assert_serves(one, "/newer") for one in newcomers))

    asyncio.run(go())
    wait_until(lambda: {worker["generation"] for worker in running.edge.workers} == {2})
    assert running.totals()["quic_handed_over_datagrams"] > 100
    running.edge.configure(running.edge.settings)


def test_a_stop_lets_answers_under_way_finish(running: Running) -> None:
    async def go() -> None:
        async with running.clients(6) as clients:
            streams = [one.begin(f"/halves/{i}") for i, one in enumerate(clients)]
            await asyncio.to_thread(running.origin.wait_for, lambda origin: origin.stalled == len(clients))
            stop = asyncio.create_task(asyncio.to_thread(running.edge.stop))
            await asyncio.to_thread(wait_until, lambda: "stopping" in running.edge.output)
            running.origin.release()
            for one, stream in zip(clients, streams, strict=True):
                assert (await one.answer(stream)).body == PIECE * PIECES
                await one.until_closed()
                assert one.closed_by == NO_ERROR
            assert await stop == 0

    asyncio.run(go())


def test_a_stop_does_not_wait_for_a_client_that_left_without_a_word(running: Running) -> None:
    async def go() -> None:
        async with QuicClient(running.address) as client:
            await client.connect()
            client.abandon()

    asyncio.run(go())
    assert wait_until(lambda: running.totals()["connections_open"] == 1)
    assert running.edge.stop() == 0  # long before `drain_timeout`, or it would not come back in time


def test_a_download_goes_on_when_the_client_comes_from_another_port(running: Running) -> None:
    async def go() -> None:
        async with Nat(running.address) as nat, await running.client(nat.port) as client:
            stream = client.begin("/halves")
            await client.until(lambda: len(client.answers[stream].body) > len(PIECE))
            await nat.rebind()
            # The edge hears of the new port by what comes from there: all before may be acknowledged.
            client.quic.send_ping(1)
            client.flush()
            running.origin.release()
            came = await client.answer(stream)
            assert came.body == PIECE * PIECES
            await assert_serves(client, "/afterwards")

    asyncio.run(go())


def test_what_is_lost_on_the_way_is_sent_again(running: Running) -> None:
    running.origin.release()

    async def go() -> None:
        async with Nat(running.address, loss=0.05) as nat, await running.client(nat.port) as client:
            for turn in range(3):
                came = await client.ask(f"/halves/{turn}")
                assert came.body == PIECE * PIECES
            nat.loss = 0.0  # else nobody might hear that the client leaves

    asyncio.run(go())


def test_sessions_are_resumed_by_other_workers_and_after_a_reload(running: Running) -> None:
    async def series(ticket: Any, count: int) -> tuple[Any, list[bool], list[int]]:
        resumed, lanes = [], []
        for _ in range(count):
            async with QuicClient(running.address, session_ticket=ticket) as client:
                await client.connect()
                await client.until(lambda client=client: client.tickets)
                assert client.completed is not None
                resumed.append(client.completed.session_resumed)
                lanes.append(lane(client))
                ticket = client.tickets[-1]
        return ticket, resumed, lanes

    async def go() -> None:
        ticket, resumed, lanes = await series(None, 16)
        assert resumed == [False, *[True] * 15]
        assert len(set(lanes)) > 1
        await asyncio.to_thread(running.edge.reload)
        _, resumed, _ = await series(ticket, 8)
        assert all(resumed)

    asyncio.run(go())


def test_a_worker_imports_nothing_for_it_after_the_fork(tmp_path: Path) -> None:
    """Its user may not be allowed to read Python's files."""
    mains = ("tests.support.late_imports:main", "cluster.control:run")
    with ScriptedOrigin(handler) as origin:
        made = settings(tmp_path, origin=origin.url, schemes=("https",), workers=1)
        with Cluster(made, mains=mains) as edge:
            running = Running(edge, origin)

            async def go() -> None:
                async with await running.client() as client:
                    await assert_serves(client, "/page")

            asyncio.run(go())
        (said,) = (line for line in edge.lines if line.startswith(SAID))
    assert not said.removeprefix(SAID).split()


@pytest.mark.parametrize("version", ["h1+TLS", "h2+TLS", "h1", "h3"])
def test_clients_that_came_by_tls_are_told_of_http3(running: Running, version: str) -> None:
    async def alt_svc(path: str) -> str | None:
        if version == "h3":
            async with await running.client() as client:
                return (await client.ask(path)).fields.get("alt-svc")
        return (await ask_over(version, Ends.of(running.edge.urls), path)).fields.get("alt-svc")

    told = f'h3=":{running.port}"; ma=86400' if version.endswith("+TLS") else None
    for path in ("/stored", "/stored", "/past-the-edge"):
        assert asyncio.run(alt_svc(path)) == told


def test_switched_off_nobody_is_told_of_it(running: Running) -> None:
    """The generation before takes connections for a moment after a reload, hence the waiting."""

    def is_told() -> bool:
        return "alt-svc" in asyncio.run(ask_over("h1+TLS", Ends.of(running.edge.urls), "/")).fields

    running.edge.reload(with_worker(running.edge.settings, http3=False))
    wait_until(lambda: not is_told())
    running.edge.reload(running.edge.settings)
    wait_until(is_told)

    async def go() -> None:
        async with await running.client() as client:
            await assert_serves(client, "/again")

    asyncio.run(go())
