"""Names are asked for anew by their TTL, once for all who wait, and outlive the servers that knew them."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.origin_client import run, until
from tests.support.scripted_dns import AAAA, NOTHING, NXDOMAIN, SERVFAIL, Records, ScriptedDns
from worker.origin import resolve
from worker.origin.resolve import ResolveError, Resolver, from_hosts, is_numeric

NAME = "origin.test"
LONG = 1000  # more than MAX_TTL_S


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def dns() -> Iterator[ScriptedDns]:
    with ScriptedDns() as running:
        running.answers[NAME] = Records("192.0.2.1", "192.0.2.2", ttl_s=LONG)
        yield running


@asynccontextmanager
async def resolving(dns: ScriptedDns, clock: Clock, hosts: Path = Path("/nonexistent")):
    """`ask()` gives the addresses."""
    resolver = Resolver([dns.address], hosts=hosts, clock=clock)

    async def ask(timeout_s: float = 30.0) -> list[str]:
        return sorted(await resolver.resolve(NAME, timeout_s))

    try:
        yield ask
    finally:
        await resolver.close()


async def error_of(ask) -> ResolveError:
    with pytest.raises(ResolveError) as caught:
        await ask()
    return caught.value


def test_an_answer_is_kept_for_its_time_and_then_asked_for_in_the_background(dns):
    async def main():
        clock = Clock()
        async with resolving(dns, clock) as ask:
            assert await ask() == ["192.0.2.1", "192.0.2.2"]
            dns.answers[NAME] = Records("192.0.2.3", ttl_s=LONG)
            clock.now_s += resolve.MAX_TTL_S - resolve.REFRESH_S - 1
            assert await ask() == ["192.0.2.1", "192.0.2.2"]
            assert dns.asked(NAME) == 1
            clock.now_s += 2
            assert await ask() == ["192.0.2.1", "192.0.2.2"]  # without waiting
            while await ask() != ["192.0.2.3"]:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.005)
            assert dns.asked(NAME) == 2

    run(main())


def test_an_answer_whose_time_is_over_is_waited_for(dns):
    async def main():
        clock = Clock()
        async with resolving(dns, clock) as ask:
            await ask()
            dns.answers[NAME] = Records("192.0.2.3", "2001:db8::3")
            clock.now_s += resolve.MAX_TTL_S + 1
            assert await ask() == ["192.0.2.3", "2001:db8::3"]

    run(main())


def test_many_who_wait_make_one_query(dns):
    async def main():
        async with resolving(dns, Clock()) as ask:
            assert len(await asyncio.gather(*(ask() for _ in range(50)))) == 50
            waiters = [asyncio.create_task(ask()) for _ in range(3)]
            waiters[0].cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        assert (dns.asked(NAME), dns.asked(NAME, AAAA)) == (1, 1)

    run(main())


def test_a_time_of_nothing_is_a_second(dns):
    async def main():
        clock = Clock()
        dns.answers[NAME] = Records("192.0.2.1", ttl_s=0)
        async with resolving(dns, clock) as ask:
            await ask()
            clock.now_s += 0.4
            await ask()
            assert dns.asked(NAME) == 1
            clock.now_s += 0.7
            await ask()
            assert dns.asked(NAME) == 2

    run(main())


@pytest.mark.parametrize("script", [NXDOMAIN, Records()], ids=["no such name", "no address"])
def test_a_name_that_does_not_exist_is_asked_for_once_a_second(dns, script):
    async def main():
        clock = Clock()
        dns.answers[NAME] = script
        async with resolving(dns, clock) as ask:
            assert (await error_of(ask)).is_final
            clock.now_s += 0.9
            assert (await error_of(ask)).is_final
            assert dns.asked(NAME) == 1
            dns.answers[NAME] = Records("192.0.2.1")
            clock.now_s += 0.2
            assert await ask() == ["192.0.2.1"]

    run(main())


def test_a_name_that_is_gone_is_not_used_on(dns):
    async def main():
        clock = Clock()
        async with resolving(dns, clock) as ask:
            await ask()
            dns.answers[NAME] = NXDOMAIN
            clock.now_s += resolve.MAX_TTL_S + 1
            assert (await error_of(ask)).is_final

    run(main())


def test_the_last_answer_is_used_on_for_an_hour_while_servers_fail(dns, caplog):
    async def main():
        clock = Clock()
        async with resolving(dns, clock) as ask:
            await ask()
            dns.answers[NAME] = SERVFAIL
            clock.now_s += resolve.MAX_TTL_S + 1
            assert await ask() == ["192.0.2.1", "192.0.2.2"]
            assert "cannot resolve origin.test: going on with 192.0.2.1, 192.0.2.2" in caplog.text
            asked = dns.asked(NAME)
            clock.now_s += resolve.RETRY_S - 1
            await ask()
            assert dns.asked(NAME) == asked
            clock.now_s += resolve.STALE_S - resolve.RETRY_S - 1
            assert await ask() == ["192.0.2.1", "192.0.2.2"]
            await until(lambda: dns.asked(NAME) > asked)
            clock.now_s += 10
            error = await error_of(ask)
            assert not error.is_final
            assert not error.timed_out
            dns.answers[NAME] = Records("192.0.2.3")
            clock.now_s += 1.1
            assert await ask() == ["192.0.2.3"]

    run(main())


def test_a_silent_server_holds_up_only_who_knows_no_address(dns, monkeypatch):
    monkeypatch.setattr(resolve, "STALE_WAIT_S", 0.05)

    async def main():
        clock = Clock()
        async with resolving(dns, clock) as ask:
            await ask()
            dns.answers[NAME] = NOTHING
            clock.now_s += resolve.MAX_TTL_S + 1
            assert await ask() == ["192.0.2.1", "192.0.2.2"]
        async with resolving(dns, clock) as ask:
            error = await error_of(lambda: ask(0.05))
            assert error.timed_out
            assert "within 0.05 s" in str(error)

    run(main())


def test_the_file_of_hosts_comes_first_and_is_read_again(dns, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.8 other.test\n192.0.2.9 Origin.test # ours\n")

    async def main():
        clock = Clock()
        async with resolving(dns, clock, hosts) as ask:
            assert await ask() == ["192.0.2.9"]
            hosts.write_text("")
            clock.now_s += resolve.HOSTS_TTL_S - resolve.REFRESH_S - 1
            assert await ask() == ["192.0.2.9"]
            assert not dns.questions
            clock.now_s += resolve.REFRESH_S + 2
            assert await ask() == ["192.0.2.1", "192.0.2.2"]

    run(main())


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("127.0.0.1 localhost a.test\n::1 A.TEST\n", ("127.0.0.1", "::1")),
        ("127.0.0.1\ta.test\n127.0.0.1 b.test a.test\n", ("127.0.0.1",)),
        ("# 127.0.0.1 a.test\n\n127.0.0.1 # a.test\nnonsense a.test\n127.0.0.1 aa.test", ()),
        ("fe80::1%eth0 a.test", ("fe80::1%eth0",)),
    ],
)
def test_lines_of_the_file_of_hosts(tmp_path, text, addresses):
    path = tmp_path / "hosts"
    path.write_text(text)
    assert from_hosts(path, "a.test") == addresses


@pytest.mark.parametrize(
    ("host", "is_it"), [("127.0.0.1", True), ("::1", True), ("127.1", False), ("a.test", False)]
)
def test_numeric_hosts(host, is_it):
    assert is_numeric(host) == is_it
