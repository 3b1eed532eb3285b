"""Names with several addresses: all are tried, and none is used that DNS has dropped."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.origin_client import context, fetching, run, until
from tests.support.ports import free_port
from tests.support.scripted_dns import NOTHING, NXDOMAIN, SERVFAIL, Records, ScriptedDns
from tests.support.scripted_origin import ScriptedOrigin, answer, script
from worker.errors import EdgeError
from worker.origin.resolve import Resolver
from worker.reasons import Fault, Side

NAME = "origin.test"
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture
def dns() -> Iterator[ScriptedDns]:
    with ScriptedDns() as running:
        yield running


def named(dns: ScriptedDns, port: int, scheme: str = "http", **options):
    resolver = Resolver([dns.address], hosts=Path("/nonexistent"))
    return fetching(f"{scheme}://{NAME}:{port}", resolver=resolver, **options)


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """An address whose queue is full, so that it leaves connection requests without any answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield


async def failure(fetch, ctx=None) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await fetch(ctx or context())
    assert caught.value.side is Side.ORIGIN
    return caught.value


def test_the_addresses_of_a_name_take_turns(dns):
    async def main():
        dns.answers[NAME] = Records(FIRST, SECOND)
        async with named(dns, one.port) as fetch:
            tasks = [asyncio.create_task(fetch(context())) for _ in range(4)]
            await until(lambda: len(one.requests) + len(other.requests) == 4)
            one.release()
            other.release()
            await asyncio.gather(*tasks)
        assert (one.connections, other.connections) == (2, 2)

    hold = [script("stall", answer(b"x"))]
    with ScriptedOrigin(hold, host=FIRST) as one, ScriptedOrigin(hold, host=SECOND, port=one.port) as other:
        run(main())


def test_an_address_that_refuses_is_passed_over_and_avoided(dns):
    async def main():
        dns.answers[NAME] = Records(FIRST, SECOND)
        async with named(dns, origin.port, keepalive_s=0, retries=0) as fetch:
            for _ in range(4):
                ctx = context()
                assert (await fetch(ctx)).body == b"x"
                assert ctx.retries == 0
            assert set(fetch.pool.dialer.failed_ns) == {FIRST}

    with ScriptedOrigin([answer(b"x")], host=SECOND) as origin:
        run(main())


def test_an_address_that_is_silent_holds_up_one_connection_only_for_a_moment(dns):
    async def main():
        dns.answers[NAME] = Records(FIRST, SECOND)
        async with named(dns, origin.port, keepalive_s=0, retries=0, connect_timeout_s=30) as fetch:
            for _ in range(4):
                assert (await fetch(context())).body == b"x"
            assert set(fetch.pool.dialer.failed_ns) == {FIRST}

    with ScriptedOrigin([answer(b"x")], host=SECOND) as origin, silent(FIRST, origin.port):
        run(main())


def test_all_addresses_that_refuse_are_one_failure(dns):
    port = free_port()

    async def main():
        dns.answers[NAME] = Records(FIRST, SECOND, "::1")
        async with named(dns, port, retries=2) as fetch:
            ctx = context()
            error = await failure(fetch, ctx)
            assert (error.status, error.fault, error.retryable) == (502, Fault.CONNECT_REFUSED, True)
            assert ctx.retries == 2

    run(main())


def test_both_families_are_tried(dns):
    async def main():
        dns.answers[NAME] = Records(FIRST, "::1")
        async with named(dns, origin.port, retries=0) as fetch:
            assert (await fetch(context())).body == b"x"

    with ScriptedOrigin([answer(b"x")], host="::1") as origin:
        run(main())


def test_connections_to_an_address_that_dns_has_dropped_are_not_used_any_more(dns):
    async def main():
        dns.answers[NAME] = Records(FIRST, ttl_s=0)
        async with named(dns, old.port) as fetch:
            assert (await fetch(context())).body == b"old"
            busy = asyncio.create_task(fetch(context(path=b"/slow")))
            await until(lambda: len(old.requests) == 2)
            assert (await fetch(context())).body == b"old"
            dns.answers[NAME] = Records(SECOND, ttl_s=0)
            await until(lambda: len(fetch.pool.connections) == 1)  # the idle one is closed
            assert (await fetch(context())).body == b"new"
            old.release()
            assert (await busy).body == b"slow"
            await until(lambda: len(fetch.pool.connections) == 1)
            assert (await fetch(context())).body == b"new"
        assert (old.connections, new.connections) == (2, 1)

    def reply(request):
        return script("stall", answer(b"slow")) if request.target == "/slow" else answer(b"old")

    with (
        ScriptedOrigin(reply, host=FIRST) as old,
        ScriptedOrigin([answer(b"new")], host=SECOND, port=old.port) as new,
    ):
        run(main())


def test_a_name_with_several_addresses_over_tls(dns, tmp_path):
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def main():
        dns.answers[NAME] = Records(THIRD, SECOND)
        async with named(dns, good.port, "https", ca_file=str(tmp_path / "ca.pem")) as fetch:
            for _ in range(3):
                assert (await fetch(context())).body == b"x"
        dns.answers[NAME] = Records(FIRST, SECOND)
        options = {"ca_file": str(tmp_path / "ca.pem"), "keepalive_s": 0, "retries": 1}
        async with named(dns, good.port, "https", **options) as fetch:
            retries = 0
            for _ in range(4):
                ctx = context()
                assert (await fetch(ctx)).body == b"x"
                retries += ctx.retries
            assert retries == 1  # the one that speaks no TLS was tried once
            assert set(fetch.pool.dialer.failed_ns) == {FIRST}

    with (
        ScriptedOrigin([answer(b"x")], host=SECOND, tls=tls) as good,
        ScriptedOrigin([], host=FIRST, port=good.port, on_connect=script(answer(b"plain"), "close")),
    ):
        run(main())


@pytest.mark.parametrize(
    ("said", "status", "fault", "words"),
    [
        (NXDOMAIN, 502, Fault.DNS, "Domain name not found"),
        (Records(), 502, Fault.DNS, "no data"),
        (SERVFAIL, 502, Fault.DNS, "general failure"),
        (NOTHING, 504, Fault.DNS_TIMEOUT, "no answer within 0.3 s"),
    ],
    ids=["no such name", "no address", "failure", "silence"],
)
def test_a_name_without_an_address_is_a_failure_of_dns(dns, said, status, fault, words):
    async def main():
        dns.answers[NAME] = said
        async with named(dns, 80, retries=3, connect_timeout_s=0.3 if said is NOTHING else 30) as fetch:
            ctx = context()
            error = await failure(fetch, ctx)
            assert (error.status, error.fault, error.retryable) == (status, fault, True)
            assert f"http://{NAME}:80: cannot resolve {NAME}: " in error.detail
            assert words in error.detail
            assert ctx.retries == 0
            assert not fetch.pool.connections

    run(main())


def test_a_numeric_host_asks_nobody(dns):
    async def main():
        resolver = Resolver([dns.address], hosts=Path("/nonexistent"))
        async with fetching(origin.url, resolver=resolver) as fetch:
            assert (await fetch(context())).body == b"x"
            await asyncio.sleep(0.1)  # a few sweeps

    with ScriptedOrigin([answer(b"x")]) as origin:
        run(main())
    assert not dns.questions
