"""Which server of a group answers, what is tried elsewhere when one fails, and what is learned from it."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from time import monotonic_ns
from typing import Any

import pytest

from shmcache.core import Segment
from tests.support.origin_client import PATIENCE_S, Upload, context, read_all, run, until
from tests.support.regions import open_segment
from tests.support.scripted_origin import Handler, ScriptedOrigin, Step, answer, script
from worker.cache.key import cache_key
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.origin.fetch import OriginFetch
from worker.origin.group import GroupFetch
from worker.origin.health import GroupHealth, ServerState
from worker.reasons import Fault, Side
from worker.settings import (
    BreakerSettings,
    EjectionSettings,
    GroupSettings,
    OriginSettings,
    ProbeSettings,
    RetrySettings,
)

WHOLE = answer(b"whole")
BUSY = answer(b"busy", "503 Service Unavailable")
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
LARGE_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
GENEROUS = RetrySettings(attempts=3, least=1000)
NEVER_EJECT = EjectionSettings(failures=0)

fresh_name = (f"group {number}" for number in count()).__next__


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


@contextmanager
def origins(*handlers: Handler | Sequence[Step]) -> Iterator[list[ScriptedOrigin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedOrigin(handler)) for handler in handlers]


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that is taken and never listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


class Group:
    """A group, its parts, and what became of the requests made of it."""

    def __init__(self, fetch: GroupFetch, health: GroupHealth, servers: list[OriginFetch]) -> None:
        self.fetch, self.health, self.servers = fetch, health, servers
        self.asked: list[Context] = []

    async def ask(self, method: bytes = b"GET", path: bytes = b"/", **options: Any) -> Any:
        """The answer to a new request."""
        self.asked.append(context(method, path, **options))
        return await self.fetch(self.asked[-1])

    async def failure(self, method: bytes = b"GET", **options: Any) -> EdgeError:
        with pytest.raises(EdgeError) as caught:
            await read_all((await self.ask(method, **options)).body)
        return caught.value

    @property
    def retries(self) -> int:
        return sum(ctx.retries for ctx in self.asked)

    def states(self) -> list[ServerState]:
        return [self.health.state(number, monotonic_ns()) for number in range(len(self.servers))]


@asynccontextmanager
async def grouped(
    segment: Segment, urls: Sequence[str], options: Sequence[dict[str, Any]] = (), **settings: Any
) -> AsyncIterator[Group]:
    """A group of the servers at `urls`, swept often; leaving it fails when a connection stays open.

    `options` are the servers' own settings.
    """
    servers = []
    for url, own in zip(urls, options or [{}] * len(urls), strict=True):
        scheme, _, address = url.partition("://")
        host, _, port = address.rpartition(":")
        servers.append(OriginSettings(scheme, host, int(port), **{"retries": 0, **own}))
    group = GroupSettings(fresh_name(), tuple(servers), **{"retry": GENEROUS, **settings})
    fetches = [OriginFetch(server, "edge-test") for server in servers]
    health = GroupHealth(segment.scoreboard, group)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.05)
            for fetch in fetches:
                fetch.sweep(monotonic_ns())

    sweeper = asyncio.create_task(sweep())
    try:
        yield Group(GroupFetch(group, fetches, health, cache_key), health, fetches)
    finally:
        for fetch in fetches:
            fetch.close()
        async with asyncio.timeout(PATIENCE_S):
            for fetch in fetches:
                await fetch.wait_closed()
        sweeper.cancel()


# who is asked


def test_servers_take_turns_and_the_context_names_the_one_that_answered(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, urls, [{"weight": 2}, {}]) as group:
            for _ in range(6):
                assert (await group.ask()).body == b"whole"
            assert Counter(ctx.origin for ctx in group.asked) == {urls[0]: 4, urls[1]: 2}
            assert group.retries == 0

    with origins([WHOLE], [WHOLE]) as both:
        urls = [origin.url for origin in both]
        run(main())
    assert [len(origin.requests) for origin in both] == [4, 2]


def test_the_key_decides_where_balance_is_by_hash(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [origin.url for origin in three], balance="hash") as group:
            for _ in range(3):
                for number in range(30):
                    await group.ask(path=b"/%d" % number)
            by_path = {ctx.request.path: ctx.origin for ctx in group.asked}
            assert all(by_path[ctx.request.path] == ctx.origin for ctx in group.asked)
            assert len(set(by_path.values())) == 3
            cached = context(path=b"/whatever")
            cached.key = cache_key(context(path=b"/1").request)
            await group.fetch(cached)
            assert cached.origin == by_path[b"/1"]

    with origins([WHOLE], [WHOLE], [WHOLE]) as three:
        run(main())


@pytest.mark.parametrize("balance", ["least-connections", "two-choices"])
def test_a_server_is_busy_until_its_answer_has_been_read(segment: Segment, balance: str) -> None:
    async def main() -> None:
        async with grouped(segment, [slow.url, quick.url], balance=balance) as group:
            while not slow.requests:
                slow_one = await group.ask()
            for _ in range(5):
                await group.ask()
            assert len(slow.requests) == 1
            slow_one.body.close()

    with origins([script(LARGE, "stall")], [WHOLE]) as (slow, quick):
        run(main())


def test_backups_are_asked_while_nobody_else_is_available(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [down, backup.url], [{}, {"backup": True}], ejection=eject) as group:
            for _ in range(4):
                assert (await group.ask()).status == 200
            assert [ctx.retries for ctx in group.asked] == [1, 1, 0, 0]
            assert group.states() == [ServerState.EJECTED, ServerState.HEALTHY]

    eject = EjectionSettings(failures=2, max_share=1.0)
    with refusing() as down, origins([WHOLE]) as (backup,):
        run(main())


def test_a_backup_is_left_alone_while_another_server_is_available(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [origin.url for origin in both], [{}, {"backup": True}]) as group:
            for _ in range(4):
                await group.ask()

    with origins([WHOLE], [WHOLE]) as both:
        run(main())
    assert [len(origin.requests) for origin in both] == [4, 0]


# what is tried elsewhere

ELSEWHERE = [
    (b"GET", None, script("close")),
    (b"GET", None, script("reset")),
    (b"GET", None, script(b"HTTP/1.1 200", "close")),
    (b"GET", None, script(answer(b"whole")[:-1], "close")),
    (b"GET", None, b"garbage garbage garbage"),
    (b"GET", None, BUSY),
    (b"GET", None, script(LARGE_BUSY, "stall")),
    (b"PUT", None, script("close")),
    (b"DELETE", None, BUSY),
]
NOT_ELSEWHERE = [
    (b"POST", None, script("close"), 502, Fault.TERMINATED),
    (b"PUT", b"abc", script("close"), 502, Fault.TERMINATED),
    (b"PATCH", None, b"garbage garbage garbage", 502, Fault.PROTOCOL),
    (b"GET", None, script("stall"), 504, Fault.RESPONSE_TIMEOUT),
    (b"GET", None, script(LARGE, "close"), 502, Fault.INCOMPLETE),
]


def shown(value: object) -> str:
    return value[:20].decode() if isinstance(value, bytes) else "script" if callable(value) else str(value)


@pytest.mark.parametrize(("method", "body", "step"), ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_what_a_server_cannot_have_answered_is_asked_of_another(
    segment: Segment, method: bytes, body: bytes | None, step: Step
) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=1, statuses=((502, 503),))
        async with grouped(segment, [broken.url, good.url], retry=retry, ejection=NEVER_EJECT) as group:
            response = await group.ask(method)
            assert (response.status, await read_all(response.body)) == (200, b"whole")
            assert (group.asked[0].retries, group.asked[0].origin) == (1, good.url)

    with origins([step], [WHOLE]) as (broken, good):
        run(main())
    assert [len(origin.requests) for origin in (broken, good)] == [1, 1]


@pytest.mark.parametrize(("method", "body", "step", "status", "fault"), NOT_ELSEWHERE, ids=shown)
def test_what_may_have_been_acted_upon_or_was_passed_on_is_not(
    segment: Segment, method: bytes, body: bytes | None, step: Step, status: int, fault: Fault
) -> None:
    async def main() -> None:
        timeout_s = 0.3 if fault is Fault.RESPONSE_TIMEOUT else 30
        options = [{"first_byte_timeout_s": timeout_s}, {}]
        async with grouped(segment, [broken.url, good.url], options) as group:
            upload = None if body is None else Upload([body], len(body))
            error = await group.failure(method, body=upload)
            assert (error.status, error.side, error.fault) == (status, Side.ORIGIN, fault)
            assert group.retries == 0

    with origins([step], [WHOLE]) as (broken, good):
        run(main())
    assert not good.requests


@pytest.mark.parametrize(
    ("method", "body", "statuses"),
    [(b"POST", None, ((503, 503),)), (b"PUT", b"abc", ((503, 503),)), (b"GET", None, ((500, 502),))],
    ids=["not-idempotent", "with-a-body", "not-configured"],
)
def test_a_status_that_may_not_be_tried_elsewhere_is_the_answer(
    segment: Segment, method: bytes, body: bytes | None, statuses: tuple[tuple[int, int], ...]
) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=3, statuses=statuses)
        async with grouped(segment, [busy.url, good.url], retry=retry) as group:
            upload = None if body is None else Upload([body], len(body))
            response = await group.ask(method, body=upload)
            assert (response.status, response.body) == (503, b"busy")

    with origins([BUSY], [WHOLE]) as (busy, good):
        run(main())
    assert not good.requests


def test_when_nothing_was_sent_any_request_goes_elsewhere_with_its_body(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [down, good.url]) as group:
            response = await group.ask(b"POST", body=Upload([b"abc", b"def"], 6))
            assert response.body == b"whole"
            assert group.retries == 1

    with refusing() as down, origins([WHOLE]) as (good,):
        run(main())
    assert good.requests[0].body == b"abcdef"


def test_the_only_server_is_asked_again_when_nothing_was_sent(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [down], retry=RetrySettings(attempts=2)) as group:
            error = await group.failure(b"POST")
            assert (error.status, error.fault, group.retries) == (502, Fault.CONNECT_REFUSED, 2)

    with refusing() as down:
        run(main())


def test_a_status_of_the_only_server_is_the_answer(segment: Segment) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=3, statuses=((500, 599),))
        async with grouped(segment, [busy.url], retry=retry) as group:
            assert (await group.ask()).status == 503

    with origins([BUSY]) as (busy,):
        run(main())
    assert len(busy.requests) == 1


def test_every_server_is_asked_once_before_the_last_answer_is_given(segment: Segment) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=5, statuses=((503, 503),))
        async with grouped(segment, [origin.url for origin in three], retry=retry) as group:
            assert (await group.ask()).status == 503
            assert group.retries == 2

    with origins([BUSY], [BUSY], [BUSY]) as three:
        run(main())
    assert [len(origin.requests) for origin in three] == [1, 1, 1]


def test_an_answer_that_is_not_passed_on_gives_its_connection_back(segment: Segment) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=1, statuses=((503, 503),))
        async with grouped(segment, [busy.url, good.url], retry=retry, ejection=NEVER_EJECT) as group:
            await group.ask()
            assert len(group.servers[0].pool.idle) == 1

    with origins([BUSY], [WHOLE]) as (busy, good):
        run(main())


def test_an_interim_answer_that_was_passed_on_binds_the_request_to_its_server(segment: Segment) -> None:
    async def main() -> None:
        told: list[int] = []

        def inform(ctx: Context, status: int, fields: Fields) -> None:
            told.append(status)

        async with grouped(segment, [broken.url, good.url]) as group:
            with pytest.raises(EdgeError) as caught:
                ctx = context()
                ctx.inform = inform
                await group.fetch(ctx)
            assert caught.value.fault is Fault.INCOMPLETE
            assert told == [103]

    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with origins([script(hint, "close")], [WHOLE]) as (broken, good):
        run(main())
    assert not good.requests


def test_a_request_that_was_cancelled_is_not_tried_again(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [slow.url, good.url]) as group:
            task = asyncio.create_task(group.ask())
            await until(lambda: bool(slow.requests))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not group.servers[1].pool.connections
            assert group.states() == [ServerState.HEALTHY] * 2

    with origins([script("stall")], [WHOLE]) as (slow, good):
        run(main())


# how often


def test_attempts_bound_the_retries_of_one_request(segment: Segment) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=2, least=1000)
        async with grouped(segment, urls, retry=retry, ejection=NEVER_EJECT) as group:
            assert (await group.failure()).fault is Fault.CONNECT_REFUSED
            assert group.retries == 2

    with ExitStack() as stack:
        urls = [stack.enter_context(refusing()) for _ in range(5)]
        run(main())


def test_the_budget_bounds_the_retries_of_all_requests(segment: Segment) -> None:
    async def main() -> None:
        retry = RetrySettings(attempts=3, budget=0.0, least=7)
        async with grouped(segment, urls, retry=retry, ejection=NEVER_EJECT) as group:
            for _ in range(20):
                assert (await group.failure()).fault is Fault.CONNECT_REFUSED
            assert group.retries == 7

    with ExitStack() as stack:
        urls = [stack.enter_context(refusing()) for _ in range(2)]
        run(main())


# what is learned


@pytest.mark.parametrize(
    "step", [script("close"), BUSY, b"garbage garbage garbage"], ids=["lost", "503", "garbage"]
)
def test_a_server_that_fails_in_a_row_is_ejected(segment: Segment, step: Step) -> None:
    async def main() -> None:
        eject = EjectionSettings(failures=3)
        retry = RetrySettings(attempts=1, statuses=((503, 503),))
        async with grouped(segment, [broken.url, good.url], ejection=eject, retry=retry) as group:
            for _ in range(20):
                assert (await group.ask()).status == 200
            assert group.states() == [ServerState.EJECTED, ServerState.HEALTHY]

    with origins([step], [WHOLE]) as (broken, good):
        run(main())
    assert len(broken.requests) == 3


def test_a_success_between_failures_keeps_a_server(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [flaky.url, good.url], ejection=EjectionSettings(failures=2)) as group:
            for _ in range(12):
                await group.ask()
            assert group.states() == [ServerState.HEALTHY] * 2

    with origins([BUSY, WHOLE] * 6, [WHOLE]) as (flaky, good):
        run(main())


def test_our_own_limits_and_the_clients_faults_are_no_failures_of_the_server(segment: Segment) -> None:
    async def main() -> None:
        options = [{"connections": 1, "queue": 0}]
        async with grouped(segment, [slow.url], options, ejection=EjectionSettings(failures=1)) as group:
            first = asyncio.create_task(group.ask())
            await until(lambda: bool(slow.requests))
            assert (await group.failure()).fault is Fault.CONNECTION_LIMIT
            slow.release()
            assert (await first).body == b"whole"
            error = await group.failure(b"POST", body=Upload([b"ab"], 6))
            assert (error.side, error.fault) == (Side.CLIENT, Fault.BAD_REQUEST)
            loop = context(fields=[(b"CDN-Loop", b"edge-test")])
            with pytest.raises(EdgeError) as caught:
                await group.fetch(loop)
            assert (caught.value.fault, loop.retries) == (Fault.LOOP, 0)
            assert group.states() == [ServerState.HEALTHY]

    with origins([script("stall", WHOLE)]) as (slow,):
        run(main())


def test_a_reached_limit_sends_the_request_elsewhere_and_never_to_the_same_again(segment: Segment) -> None:
    async def main() -> None:
        options = [{"connections": 1, "queue": 0}, {"backup": True}]
        async with grouped(segment, [slow.url, good.url], options) as group:
            first = asyncio.create_task(group.ask())
            await until(lambda: bool(slow.requests))
            assert (await group.ask()).body == b"whole"
            assert (group.asked[1].retries, group.asked[1].origin) == (1, good.url)
            slow.release()
            await first

    with origins([script("stall", WHOLE)], [WHOLE]) as (slow, good):
        run(main())


def test_all_are_asked_when_none_is_available(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [origin.url for origin in both], probe=ProbeSettings()) as group:
            for number in range(2):
                group.health.note_probe(number, False, monotonic_ns())
            assert group.states() == [ServerState.UNHEALTHY] * 2
            for _ in range(6):
                assert (await group.ask()).status == 200

    with origins([WHOLE], [WHOLE]) as both:
        run(main())
    assert [len(origin.requests) for origin in both] == [3, 3]


def test_a_server_that_probes_find_unhealthy_is_not_asked(segment: Segment) -> None:
    async def main() -> None:
        async with grouped(segment, [origin.url for origin in both], probe=ProbeSettings()) as group:
            group.health.note_probe(0, False, monotonic_ns())
            for _ in range(4):
                assert (await group.ask()).status == 200

    with origins([WHOLE], [WHOLE]) as both:
        run(main())
    assert [len(origin.requests) for origin in both] == [0, 4]


def test_an_open_breaker_fails_requests_at_once_until_one_succeeds(segment: Segment) -> None:
    async def main() -> None:
        breaker = BreakerSettings(share=0.5, requests=4, open_s=0.3)
        async with grouped(segment, [flaky.url], breaker=breaker, retry=RetrySettings(attempts=0)) as group:
            for _ in range(4):
                assert (await group.ask()).status == 503
            error = await group.failure()
            assert (error.status, error.side, error.fault) == (503, Side.ORIGIN, Fault.UNAVAILABLE)
            assert "its circuit breaker is open" in error.detail
            assert (group.asked[-1].origin, len(flaky.requests)) == ("", 4)
            await until(lambda: group.health.report(monotonic_ns()).breaker.state == "half-open")
            assert (await group.ask()).status == 200
            assert (await group.ask()).status == 200
            assert group.health.report(monotonic_ns()).breaker.state == "closed"

    with origins([BUSY] * 4 + [WHOLE]) as (flaky,):
        run(main())


def test_half_of_a_group_down_is_not_seen_by_anybody(segment: Segment) -> None:
    async def main() -> None:
        urls = [down, good[0].url, broken.url, good[1].url]
        async with grouped(segment, urls, retry=RetrySettings(attempts=3, least=1000)) as group:
            responses = await asyncio.gather(*(group.ask() for _ in range(100)))
            assert {response.status for response in responses} == {200}
            for _ in range(20):
                await group.ask()
            assert group.states()[0] == group.states()[2] == ServerState.EJECTED
            asked = len(broken.requests)
            for _ in range(20):
                await group.ask()
            assert len(broken.requests) == asked

    with refusing() as down, origins([WHOLE], [WHOLE], [script("close")]) as (*good, broken):
        run(main())
