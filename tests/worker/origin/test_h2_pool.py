"""Which HTTP/2 connection a request goes on, who waits for one, and what the TLS handshake decides."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.origin_client import Upload, context, fetching, read_all, run, until
from tests.support.ports import free_port
from tests.support.scripted_dns import Records, ScriptedDns
from tests.support.scripted_h2_origin import H2Origin, H2Request, H2Wire
from tests.support.scripted_origin import ScriptedOrigin, Wire, answer
from worker.context import Context
from worker.errors import EdgeError
from worker.message import TunnelEnd
from worker.origin.h2 import pool as h2_pool
from worker.origin.resolve import Resolver
from worker.reasons import Fault, Side
from worker.settings import RouteSettings

AUTHORITY = trustme.CA()
MAX_CONCURRENT_STREAMS = 3


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def server_context(*protocols: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(tls)
    if protocols:
        tls.set_alpn_protocols(list(protocols))
    return tls


async def hello(wire: H2Wire, request: H2Request) -> None:
    await wire.answer(request, await wire.whole(request) or b"hello")


async def held(wire: H2Wire, request: H2Request) -> None:
    await wire.stall()
    await hello(wire, request)


async def failure(fetch, ctx: Context | None = None) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await fetch(ctx or context())
    return caught.value


# how many


def test_more_requests_than_an_origin_takes_get_more_connections():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            asked = [asyncio.create_task(fetch(context())) for _ in range(5)]
            await until(lambda: origin.stalled == 5)
            assert origin.connections == 3
            assert fetch.in_flight() == 5
            origin.release()
            assert {answer.body for answer in await asyncio.gather(*asked)} == {b"hello"}
            assert fetch.in_flight() == 0

    with H2Origin(held, settings={MAX_CONCURRENT_STREAMS: 2}) as origin:
        run(main())


def test_no_connection_carries_more_requests_than_the_settings_allow():
    async def main():
        async with fetching(origin.url, protocol="h2", streams=4) as fetch:
            asked = [asyncio.create_task(fetch(context())) for _ in range(10)]
            await until(lambda: origin.stalled == 10)
            assert origin.connections == 3
            origin.release()
            await asyncio.gather(*asked)

    with H2Origin(held) as origin:
        run(main())


def test_requests_wait_in_turn_when_all_places_are_taken():
    async def main():
        async with fetching(origin.url, protocol="h2", streams=2, connections=1, queue=3) as fetch:
            asked = [asyncio.create_task(fetch(context(path=b"/held"))) for _ in range(2)]
            await until(lambda: origin.stalled == 2)
            waiting = [asyncio.create_task(fetch(context(path=b"/%d" % n))) for n in range(3)]
            await until(lambda: len(fetch.pool.waiting) == 3)
            assert fetch.in_flight() == 5
            error = await failure(fetch)
            assert (error.status, error.side, error.fault) == (503, Side.ORIGIN, Fault.CONNECTION_LIMIT)
            assert error.retryable and "`queue`" in error.detail
            waiting[1].cancel()
            origin.release()
            await asyncio.gather(*asked, waiting[0], waiting[2])
        assert [request.path for request in origin.requests] == ["/held", "/held", "/0", "/2"]
        assert origin.connections == 1

    with H2Origin(held) as origin:
        run(main())


def test_nobody_waits_longer_than_the_queue_allows():
    async def main():
        options = {"streams": 1, "connections": 1, "queue_timeout_s": 0.2}
        async with fetching(origin.url, protocol="h2", **options) as fetch:
            first = asyncio.create_task(fetch(context()))
            await until(lambda: origin.stalled == 1)
            error = await failure(fetch)
            assert (error.status, error.fault) == (503, Fault.CONNECTION_LIMIT)
            assert "`queue_timeout`" in error.detail
            assert not fetch.pool.waiting
            origin.release()
            assert (await first).body == b"hello"
            assert (await fetch(context())).body == b"hello"

    with H2Origin(held) as origin:
        run(main())


def test_the_place_of_whoever_was_cancelled_goes_to_the_next():
    """Each is cancelled in the moment in which it gets its place."""
    queued: list[bool] = []

    async def first_held(wire: H2Wire, request: H2Request) -> None:
        while request.path == "/first" and not queued:  # noqa: ASYNC110 (the test runs in another loop)
            await asyncio.sleep(0.001)
        await hello(wire, request)

    async def main():
        async with fetching(origin.url, protocol="h2", streams=1, connections=1) as fetch:
            for _ in range(20):
                queued.clear()
                first = asyncio.create_task(fetch(context(path=b"/first")))
                second = asyncio.create_task(fetch(context()))
                await until(lambda: len(fetch.pool.waiting) == 1)
                third = asyncio.create_task(fetch(context()))
                await until(lambda: len(fetch.pool.waiting) == 2)
                first.add_done_callback(lambda _, second=second: second.cancel())
                queued.append(True)
                results = await asyncio.gather(first, second, third, return_exceptions=True)
                assert results[2].body == b"hello"
                assert fetch.in_flight() == 0

    with H2Origin(first_held) as origin:
        run(main())


# how long


def test_an_idle_connection_is_closed_in_order():
    async def main():
        async with fetching(origin.url, protocol="h2", keepalive_s=0.2) as fetch:
            await fetch(context())
            await until(lambda: not fetch.pool.connections)
            await until(lambda: not origin.open_connections)
            assert origin.wires[0].goaways == [0]
            assert (await fetch(context())).body == b"hello"

    with H2Origin(hello) as origin:
        run(main())
    assert origin.connections == 2


def test_no_more_idle_connections_are_kept_than_asked_for():
    async def main():
        async with fetching(origin.url, protocol="h2", streams=1, keepalive_connections=2) as fetch:
            asked = [asyncio.create_task(fetch(context())) for _ in range(6)]
            await until(lambda: origin.stalled == 6)
            assert origin.connections == 6
            origin.release()
            await asyncio.gather(*asked)
            await until(lambda: origin.open_connections == 2)
            assert len(fetch.pool.connections) == 2

    with H2Origin(held) as origin:
        run(main())


def test_a_draining_pool_ends_with_its_last_answer():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            asked = asyncio.create_task(fetch(context()))
            await until(lambda: origin.stalled == 1)
            fetch.close()
            assert fetch.pool.connections
            origin.release()
            assert (await asked).body == b"hello"
            await fetch.wait_closed()
            assert (await fetch(context())).body == b"hello"  # what is still to come gets through
            await fetch.wait_closed()

    with H2Origin(held) as origin:
        run(main())


# which version


@pytest.mark.parametrize("protocol", ["h2", "auto"])
def test_over_tls_an_origin_that_has_it_is_asked_by_http2(ca_file, protocol):
    async def main():
        async with fetching(origin.url, protocol=protocol, ca_file=ca_file) as fetch:
            for _ in range(3):
                assert (await fetch(context(b"POST", body=Upload([b"secret"])))).body == b"secret"
        assert origin.connections == 1
        assert origin.requests[0].fields[":scheme"] == "https"

    with H2Origin(hello, tls=server_context("h2", "http/1.1")) as origin:
        run(main())


@pytest.mark.parametrize("offered", [("http/1.1",), ()], ids=["http/1.1 by ALPN", "no ALPN"])
def test_where_either_will_do_an_origin_may_choose_http1(ca_file, offered):
    async def main():
        async with fetching(origin.url, protocol="auto", ca_file=ca_file) as fetch:
            answers = await asyncio.gather(*(fetch(context()) for _ in range(5)))
            assert {answer.body for answer in answers} == {b"plain"}
            for _ in range(5):
                assert (await fetch(context(b"POST", body=Upload([b"x"])))).body == b"plain"
            assert fetch.in_flight() == 0
            assert len(fetch.pool.plain.idle) == origin.connections <= 5

    with ScriptedOrigin([answer(b"plain")], tls=server_context(*offered)) as origin:
        run(main())


def test_an_origin_that_learns_http2_is_asked_by_it_after_a_while(ca_file, monkeypatch):
    monkeypatch.setattr(h2_pool, "LEARN_AGAIN_S", 0.2)

    async def main():
        async with fetching(old.url, protocol="auto", ca_file=ca_file) as fetch:
            assert (await fetch(context())).body == b"plain"
            old.__exit__(None, None, None)
            with H2Origin(hello, tls=server_context("h2"), port=old.port) as new:
                await asyncio.sleep(0.3)
                assert (await fetch(context())).body == b"hello"
                assert new.requests

    with ScriptedOrigin([answer(b"plain")], tls=server_context("http/1.1"), port=free_port()) as old:
        run(main())


@pytest.mark.parametrize("offered", [("http/1.1",), ()], ids=["http/1.1 by ALPN", "no ALPN"])
def test_an_origin_without_http2_is_refused_where_nothing_else_will_do(ca_file, offered):
    async def main():
        async with fetching(origin.url, protocol="h2", ca_file=ca_file, retries=0) as fetch:
            error = await failure(fetch)
            assert (error.status, error.side) == (502, Side.ORIGIN)
            assert error.fault is Fault.TLS
            assert error.retryable

    with ScriptedOrigin([answer(b"plain")], tls=server_context(*offered)) as origin:
        run(main())
    assert not origin.requests


def test_a_certificate_is_verified_as_ever(ca_file):
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.TLS_CERTIFICATE)

    with H2Origin(hello, tls=server_context("h2")) as origin:
        run(main())


# upgrades


def upgrading() -> Context:
    ctx = context(fields=[(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")])
    ctx.request.upgrade = b"websocket"
    ctx.route = RouteSettings("all", b"/", None)  # type: ignore[arg-type]
    return ctx


def test_an_upgrade_gets_a_connection_of_its_own_by_http1(ca_file):
    async def switching(wire: Wire) -> None:
        await wire.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await wire.stall()

    async def main():
        async with fetching(origin.url, protocol="auto", ca_file=ca_file) as fetch:
            response = await fetch(upgrading())
            assert response.status == 101
            tunnel: TunnelEnd = response.body  # type: ignore[assignment]
            tunnel.close()
            origin.release()

    with ScriptedOrigin([switching], tls=server_context("h2", "http/1.1")) as origin:
        run(main())
    assert origin.requests[0].headers["upgrade"] == "websocket"


def test_an_upgrade_is_refused_where_only_http2_is_spoken():
    async def main():
        async with fetching(origin.url, protocol="h2") as fetch:
            error = await failure(fetch, upgrading())
            assert (error.status, error.side) == (501, Side.EDGE)
            assert "`protocol: auto`" in error.detail
            assert await read_all((await fetch(context())).body) == b"hello"

    with H2Origin(hello) as origin:
        run(main())
    assert len(origin.requests) == 1


# names


def test_a_connection_to_an_address_that_dns_has_dropped_takes_no_new_requests():
    async def main(dns: ScriptedDns):
        resolver = Resolver([dns.address], hosts=Path("/nonexistent"))
        dns.answers["origin.test"] = Records("127.0.0.1", ttl_s=0)
        url = f"http://origin.test:{one.port}"
        async with fetching(url, resolver=resolver, protocol="h2") as fetch:
            held_up = asyncio.create_task(fetch(context()))
            await until(lambda: one.stalled == 1)
            dns.answers["origin.test"] = Records("127.0.0.2", ttl_s=60)
            await until(lambda: fetch.pool.connections[0].retired)
            assert (await fetch(context(b"POST", body=Upload([b"moved"])))).body == b"moved"
            one.release()
            assert (await held_up).body == b"hello"
            await until(lambda: not one.open_connections)

    with ScriptedDns() as dns, H2Origin(held) as one, H2Origin(hello, host="127.0.0.2", port=one.port) as two:
        run(main(dns))
    assert (len(one.requests), len(two.requests)) == (1, 1)
