"""Active checks over real sockets: servers that answer, change their mind, stall, or are not there."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import trustme

from cluster.control.probes import Prober, Result, check
from shmcache.core import Segment
from tests.support.cluster import wait_until
from tests.support.ports import free_port
from tests.support.regions import open_segment
from tests.support.scripted_dns import NOTHING, NXDOMAIN, Records, ScriptedDns
from tests.support.scripted_origin import Handler, Recorded, ScriptedOrigin, Step, answer, script
from worker.origin.health import GroupHealth, ServerState
from worker.origin.resolve import Resolver
from worker.reasons import Fault
from worker.settings import GroupSettings, OriginSettings, ProbeSettings

PROBE = ProbeSettings(path="/health?full=1", interval_s=0.01, timeout_s=30.0, passes=2, failures=3)
HEALTHY, UNHEALTHY, _ = ServerState


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def server(origin: ScriptedOrigin, **settings: object) -> OriginSettings:
    found = OriginSettings("https" if origin.tls else "http", origin.host, origin.port)
    return replace(found, **settings)  # type: ignore[arg-type]


def check_once(settings: OriginSettings, probe: ProbeSettings = PROBE) -> Result:
    async def main() -> Result:
        async with aiohttp.ClientSession() as session:
            return await check(session, settings, probe, Resolver())

    return asyncio.run(main())


@asynccontextmanager
async def probing(
    segment: Segment, *groups: GroupSettings, resolvers: Sequence[str] = ()
) -> AsyncIterator[list[GroupHealth]]:
    """A prober at work; the health of each group."""
    healths = [GroupHealth(segment.scoreboard, group) for group in groups]
    task = asyncio.create_task(Prober(zip(groups, healths, strict=True), resolvers).run())
    try:
        yield healths
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(what: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, what)


def states(health: GroupHealth, servers: int) -> list[ServerState]:
    return [health.state(number, time.monotonic_ns()) for number in range(servers)]


# One check


def test_a_check_is_a_get_of_the_path_that_names_the_server() -> None:
    with ScriptedOrigin([answer(b"fine")]) as origin:
        assert check_once(server(origin)) == Result(True, status=200)
    [request] = origin.requests
    assert (request.method, request.target) == ("GET", "/health?full=1")
    assert request.headers["host"] == f"127.0.0.1:{origin.port}"
    assert request.headers["user-agent"] == "edgecluster-probe"


@pytest.mark.parametrize(
    ("host_header", "probe_host", "sent"),
    [("app.example", None, "app.example"), ("app.example", "check.example", "check.example")],
)
def test_the_host_is_the_probes_or_that_of_the_server(
    host_header: str, probe_host: str | None, sent: str
) -> None:
    with ScriptedOrigin([answer(b"fine")]) as origin:
        settings = server(origin, host_header=host_header)
        assert check_once(settings, replace(PROBE, host=probe_host)).passed
    assert origin.requests[0].headers["host"] == sent


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("302 Found", True),
        ("404 Not Found", False),
        ("503 Busy", False),
    ],
)
def test_the_status_decides_and_a_redirect_is_not_followed(status: str, passes: bool) -> None:
    with ScriptedOrigin([answer(b"", status, "Location: /elsewhere")]) as origin:
        result = check_once(server(origin))
    assert result == Result(passes, status=int(status[:3]))
    assert len(origin.requests) == 1


def test_the_statuses_that_pass_are_configured() -> None:
    probe = replace(PROBE, statuses=((404, 404), (500, 503)))
    for status, passes in (("200 OK", False), ("404 No", True), ("502 Bad", True), ("504 Bad", False)):
        with ScriptedOrigin([answer(b"", status)]) as origin:
            assert check_once(server(origin), probe).passed == passes


@pytest.mark.parametrize(
    ("handler", "fault"),
    [
        ([script("reset")], Fault.INCOMPLETE),
        ([script("close")], Fault.INCOMPLETE),
        ([script(b"HTTP/1.1 200", "close")], Fault.INCOMPLETE),
        ([script(b"what is this\r\n\r\n", "close")], Fault.PROTOCOL),
    ],
)
def test_an_answer_that_is_none_does_not_pass(handler: Handler, fault: Fault) -> None:
    with ScriptedOrigin(handler) as origin:
        result = check_once(server(origin))
    assert (result.passed, result.fault) == (False, fault)


def test_the_body_is_not_waited_for() -> None:
    with ScriptedOrigin([script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "stall")]) as origin:
        assert check_once(server(origin)).passed
        origin.release()


def test_no_answer_in_time_does_not_pass() -> None:
    with ScriptedOrigin([script("stall")]) as origin:
        result = check_once(server(origin), replace(PROBE, timeout_s=0.05))
        origin.release()
    assert (result.passed, result.reason) == (False, "http_response_timeout (no answer within 0.05 s)")


def test_a_server_that_is_not_there_does_not_pass() -> None:
    result = check_once(OriginSettings("http", "127.0.0.1", free_port()))
    assert (result.passed, result.fault) == (False, Fault.CONNECT_REFUSED)
    result = check_once(OriginSettings("http", "no-such-name.invalid", 80))
    assert (result.passed, result.fault) == (False, Fault.DNS)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_tls_is_as_the_server_is_configured(authority: trustme.CA, ca_file: str) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("app.example").configure_cert(tls)
    named: list[str | None] = []
    tls.sni_callback = lambda _, name, __: named.append(name)
    with ScriptedOrigin([answer(b"fine")], tls=tls) as origin:
        for settings, fault in (
            ({}, Fault.TLS_CERTIFICATE),  # an authority nobody knows
            ({"ca_file": ca_file}, Fault.TLS_CERTIFICATE),  # for another name
            ({"ca_file": ca_file, "server_name": "app.example"}, None),
            ({"verify": False}, None),
        ):
            result = check_once(server(origin, **settings))
            assert (result.passed, result.fault) == (fault is None, fault)
    assert "app.example" in named


def test_a_server_that_demands_a_certificate_is_shown_the_configured_one(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    ours = tmp_path / "ours.pem"
    authority.issue_cert("edge.example").private_key_and_cert_chain_pem.write_to_path(str(ours))
    with ScriptedOrigin([answer(b"fine")], tls=tls) as origin:
        settings = server(origin, ca_file=ca_file)
        assert not check_once(settings).passed
        assert check_once(replace(settings, client_certificate=str(ours))).passed


def test_a_plain_server_where_tls_is_expected_does_not_pass() -> None:
    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> Result:
        async with (
            await asyncio.start_server(refuse, "127.0.0.1", 0) as plain,
            aiohttp.ClientSession() as session,
        ):
            port = plain.sockets[0].getsockname()[1]
            return await check(session, OriginSettings("https", "127.0.0.1", port), PROBE, Resolver())

    result = asyncio.run(main())
    assert (result.passed, result.fault) == (False, Fault.TLS)


# The prober


class Flipping:
    """An origin whose answer can be changed."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status

    def __call__(self, request: Recorded) -> Step:
        return answer(b"", self.status)


def test_a_server_that_flips_is_unhealthy_and_healthy_again_and_said_so_once(
    segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        group = GroupSettings("app", (server(one), server(other)), probe=PROBE)
        async with probing(segment, group) as [health]:
            await until(lambda: len(one.requests) > 3 and len(other.requests) > 3)
            assert states(health, 2) == [HEALTHY, HEALTHY]
            flipping.status = "503 Busy"
            await until(lambda: states(health, 2) == [UNHEALTHY, HEALTHY])
            report = health.report(time.monotonic_ns()).servers[0]
            assert (report.reason, report.since_ns > 0) == ("status 503", True)
            seen = len(one.requests)
            await until(lambda: len(one.requests) > seen + 3)
            flipping.status = "200 OK"
            await until(lambda: states(health, 2) == [HEALTHY, HEALTHY])

    flipping = Flipping()
    caplog.set_level(logging.INFO, "edgecluster.control")
    with ScriptedOrigin(flipping) as one, ScriptedOrigin(Flipping()) as other:
        asyncio.run(main())
        assert [record.getMessage() for record in caplog.records] == [
            f"group 'app': {one.url} is unhealthy: status 503",
            f"group 'app': {one.url} is healthy again: status 200",
        ]


def test_names_are_those_of_the_configured_resolvers(segment: Segment) -> None:
    async def main() -> None:
        group = GroupSettings(
            "app",
            (
                server(origin, host="localhost"),  # from /etc/hosts
                server(origin, host="app.test"),
                server(origin, host="gone.test"),
                server(origin, host="silent.test"),
            ),
            probe=replace(PROBE, timeout_s=0.5),
        )
        async with probing(segment, group, resolvers=(dns.address,)) as [health]:
            await until(lambda: states(health, 4) == [HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY])
            reasons = [found.reason for found in health.report(time.monotonic_ns()).servers]
            assert reasons == ["", "", "dns_error", "http_response_timeout"]
            await until(lambda: {one.headers["host"] for one in origin.requests} == hosts)

    with ScriptedOrigin(Flipping()) as origin, ScriptedDns() as dns:
        hosts = {f"{name}:{origin.port}" for name in ("localhost", "app.test")}
        dns.answers |= {"app.test": Records("127.0.0.1"), "gone.test": NXDOMAIN, "silent.test": NOTHING}
        asyncio.run(main())
        assert dns.asked("localhost") == 0
        assert dns.asked("app.test") == 1  # for as long as its time to live


def test_a_server_of_two_groups_is_checked_for_each(segment: Segment) -> None:
    async def main() -> None:
        strict = GroupSettings("strict", (server(origin),), probe=replace(PROBE, path="/strict"))
        easy = GroupSettings("easy", (server(origin),), probe=replace(PROBE, path="/easy"))
        unchecked = GroupSettings("unchecked", (server(origin),))
        async with probing(segment, strict, easy, unchecked) as healths:
            await until(lambda: states(healths[0], 1) == [UNHEALTHY])
            await until(lambda: {request.target for request in origin.requests} == {"/strict", "/easy"})
            assert states(healths[1], 1) == states(healths[2], 1) == [HEALTHY]

    def judge(request: Recorded) -> Step:
        return answer(b"", "500 No" if request.target == "/strict" else "200 OK")

    with ScriptedOrigin(judge) as origin:
        asyncio.run(main())


def test_a_server_that_stalls_delays_no_other(segment: Segment) -> None:
    async def main() -> None:
        group = GroupSettings("app", (server(slow), server(quick)), probe=PROBE)
        async with probing(segment, group):
            await until(lambda: slow.stalled > 0 and len(quick.requests) > 5)
        slow.release()

    with ScriptedOrigin([script("stall")]) as slow, ScriptedOrigin(Flipping()) as quick:
        asyncio.run(main())


def test_a_new_prober_goes_on_from_what_the_last_one_found(
    segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    async def first(group: GroupSettings) -> None:
        async with probing(segment, group) as [health]:
            await until(lambda: states(health, 1) == [UNHEALTHY])

    async def second(group: GroupSettings) -> None:
        async with probing(segment, group) as [health]:
            seen = len(origin.requests)
            await until(lambda: len(origin.requests) > seen + 1)
            assert states(health, 1) == [UNHEALTHY]

    with ScriptedOrigin(Flipping("500 No")) as origin:
        group = GroupSettings("app", (server(origin),), probe=PROBE)
        asyncio.run(first(group))
        asyncio.run(second(group))
    assert caplog.text.count("is unhealthy") == 1


def test_a_check_that_breaks_in_our_own_hands_is_said_and_ends_nothing(
    segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        nonsense: tuple[tuple[int, int], ...] = ((200, "299"),)  # type: ignore[assignment]
        groups = [
            GroupSettings("broken", (server(origin),), probe=replace(PROBE, statuses=nonsense)),
            GroupSettings("whole", (server(origin),), probe=replace(PROBE, statuses=((500, 599),))),
        ]
        async with probing(segment, *groups) as healths:
            await until(lambda: states(healths[1], 1) == [UNHEALTHY])
            await until(lambda: caplog.text.count("in group 'broken' failed by itself") > 1)
            assert states(healths[0], 1) == [HEALTHY]

    with ScriptedOrigin(Flipping()) as origin:
        asyncio.run(main())
