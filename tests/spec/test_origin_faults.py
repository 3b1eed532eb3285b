"""Whatever an origin does wrong: what the client reads, how often the origin was asked, what the log says.

One edge of two workers is asked all rows of the table at once; each test then looks at one row.
"""

import asyncio
import datetime
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from tests.support.scripted_dns import NOTHING, NXDOMAIN, SERVFAIL, Records, ScriptedDns
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire, answer, chunked, script
from tests.support.versions import VERSIONS, Ends, ask_over
from worker.reasons import Fault
from worker.settings import LogSettings, OriginSettings, RouteSettings, SiteSettings

HEAD = b"HTTP/1.1 200 OK\r\n"
LARGE = HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(1000)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
STORED = answer(b"stored", headers=("Cache-Control: max-age=1, stale-if-error=600", "Age: 30"))


async def endless_head(wire: Wire) -> None:
    await wire.write(HEAD)
    while True:
        await wire.write(b"X-Endless: yes\r\n" * 100)


async def endless_interim(wire: Wire) -> None:
    while True:
        await wire.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def endless_body(wire: Wire) -> None:
    await wire.write(CHUNKED)
    while True:
        await wire.write(b"5\r\nhello\r\n")
        await wire.pause(0.05)


@dataclass(frozen=True)
class Row:
    """One fault. `status` 200: the answer had begun, and is cut."""

    name: str
    step: Step | None  # what the scripted origin does; None: the fault lies in how it is reached
    status: int
    fault: Fault
    detail: str  # part of the log's reason
    route: str = "plain"
    retries: int | None = 0  # None: it depends on which side is faster
    method: str = "GET"

    @property
    def path(self) -> str:
        return f"/{self.route}/{self.name.replace(' ', '-')}"


T, I, P = Fault.TERMINATED, Fault.INCOMPLETE, Fault.PROTOCOL  # noqa: E741 - columns of the table
ROWS = [
    # connecting
    Row("refuses", None, 502, Fault.CONNECT_REFUSED, "connection refused", "refused", 1),
    Row("resets at once", None, 502, T, "", "reset", None),
    Row("plain text for TLS", None, 502, Fault.TLS, "WRONG_VERSION_NUMBER", "tls-plain", 1),
    Row("self-signed", None, 502, Fault.TLS_CERTIFICATE, "self-signed certificate", "tls-self"),
    Row("unknown authority", None, 502, Fault.TLS_CERTIFICATE, "local issuer certificate", "tls-unknown"),
    Row("wrong name", None, 502, Fault.TLS_CERTIFICATE, "IP address mismatch", "tls-name"),
    Row("expired", None, 502, Fault.TLS_CERTIFICATE, "certificate has expired", "tls-expired"),
    Row("name is gone", None, 502, Fault.DNS, "cannot resolve gone.test: Domain name not found", "dns-gone"),
    Row("DNS fails", None, 502, Fault.DNS, "cannot resolve fails.test: DNS server returned", "dns-fails"),
    Row("DNS is silent", None, 504, Fault.DNS_TIMEOUT, "cannot resolve silent.test", "dns-silent"),
    # before the body
    Row("closes before the head", script("close"), 502, T, "before its answer began"),
    Row("resets before the head", script("reset"), 502, T, "before its answer began"),
    Row("closes in the head", script(HEAD, "close"), 502, I, "in the middle of its answer's head"),
    Row("resets in the head", script(HEAD, 0.1, "reset"), 502, I, "in the middle of its answer's head"),
    Row("a POST is not repeated", script("close"), 502, T, "before its answer began", method="POST"),
    Row("garbage", b"garbage garbage", 502, P, "not the start of an HTTP/1.1 answer"),
    Row("both lengths", CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n0\r\n\r\n", 502, P, "Content-Length"),
    Row("two lengths", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502, P, "Content-Length"),
    Row("head too large", HEAD + b"A: " + b"b" * 9000, 502, Fault.RESPONSE_HEADER_SIZE, "8192 bytes"),
    Row("endless head", endless_head, 502, Fault.RESPONSE_HEADER_SIZE, "8192 bytes"),
    Row("endless interim", endless_interim, 502, P, "more than 32 interim answers"),
    Row("stalls before the head", script("stall"), 504, Fault.RESPONSE_TIMEOUT, "no answer within 0.6 s"),
    Row("stalls in the head", script(HEAD, "stall"), 504, Fault.RESPONSE_TIMEOUT, "no answer within 0.6 s"),
    # a small body is awaited whole, so that its end decides the status
    Row("closes in a small body", script(answer(b"hello")[:-1], "close"), 502, I, "middle of the body"),
    Row("resets in a small body", script(answer(b"hello")[:-1], "reset"), 502, I, "middle of the body"),
    Row("stalls in a small body", script(answer(b"hello")[:-1], "stall"), 504, Fault.READ_TIMEOUT, "0.6 s"),
    # what has begun is cut
    Row("closes in the body", script(LARGE, "close"), 200, I, "middle of the body"),
    Row("resets in the body", script(LARGE, 0.1, "reset"), 200, I, "middle of the body"),
    Row("closes in chunks", script(CHUNKED + b"5\r\nhel", "close"), 200, I, "middle of the body"),
    Row("resets in chunks", script(CHUNKED + b"5\r\nhel", 0.1, "reset"), 200, I, "middle of the body"),
    Row("resets before its end", script(HEAD + b"\r\nhello", 0.1, "reset"), 200, I, "middle of the body"),
    Row("stalls in the body", script(LARGE, "stall"), 200, Fault.READ_TIMEOUT, "no byte of the body"),
    Row("stalls in chunks", script(CHUNKED + b"5\r\nhel", "stall"), 200, Fault.READ_TIMEOUT, "no byte"),
    Row("bad chunk size", script(CHUNKED + b"5\r\nhello\r\n", 0.1, b"zz\r\n"), 200, P, "chunked coding"),
    # limits
    Row("never done", endless_body, 200, Fault.RESPONSE_TIMEOUT, "within 0.9 s (`total_timeout`)", "total"),
    Row("late", script("stall"), 504, Fault.RESPONSE_TIMEOUT, "within 0.9 s (`total_timeout`)", "total"),
    Row("body too large", answer(bytes(1001)), 502, Fault.RESPONSE_BODY_SIZE, "(`max_response`)", "size"),
    Row("chunks too large", script(chunked(bytes(900))[:-5], 0.1, chunked(bytes(900))[len(CHUNKED) :]), 200,
        Fault.RESPONSE_BODY_SIZE, "(`max_response`)", "size"),
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What became of a row, asked with nothing stored and with a stale response that may serve."""

    over: str
    bare: Answer
    line: dict[str, Any]
    stale: Answer
    stale_line: dict[str, Any]
    reached: int  # requests with nothing stored that the origin has read


class Edge:
    """Origins of all kinds and the edge in front of them."""

    def __init__(self, state_dir: Path) -> None:
        self.log = state_dir / "access.log"
        self.stack = ExitStack()
        self.steps = {row.path: row.step for row in ROWS}
        self.stored: set[str] = set()
        self.flaps = 0
        enter = self.stack.enter_context
        dns = enter(ScriptedDns())
        dns.answers |= {"gone.test": NXDOMAIN, "fails.test": SERVFAIL, "silent.test": NOTHING}
        dns.answers["two.test"] = Records("127.0.0.2", "127.0.0.1")
        self.origin = enter(ScriptedOrigin(self.reply))
        self.deaf = enter(ScriptedOrigin([script("stall")], read_body=False))
        resetting = enter(ScriptedOrigin([], on_connect=script("reset")))
        speaking = enter(ScriptedOrigin([], on_connect=script(answer(b"plain"), "close")))
        ca, stranger = trustme.CA(), trustme.CA()
        ca.cert_pem.write_to_path(state_dir / "ca.pem")
        plain = OriginSettings(
            "http", "127.0.0.1", self.origin.port, connect_timeout_s=10, first_byte_timeout_s=0.6,
            idle_timeout_s=0.6, header_bytes=8192, keepalive_connections=0,  # a reused one is tried again
        )  # fmt: skip
        patient = replace(plain, first_byte_timeout_s=60, idle_timeout_s=60)
        tls = replace(plain, scheme="https", ca_file=str(state_dir / "ca.pem"))
        self.origins = {
            "plain": plain,
            "patient": patient,
            "refused": replace(plain, port=free_port()),
            "reset": replace(plain, port=resetting.port),
            "tls-plain": replace(tls, port=speaking.port),
            "tls-self": replace(tls, port=enter(ScriptedOrigin([], tls=_self_signed(stranger))).port),
            "tls-unknown": replace(tls, port=enter(_tls_origin(stranger, "127.0.0.1")).port),
            "tls-name": replace(tls, port=enter(_tls_origin(ca, "other.test")).port),
            "tls-expired": replace(tls, port=enter(_tls_origin(ca, "127.0.0.1", days=-1)).port),
            "dns-gone": replace(plain, host="gone.test"),
            "dns-fails": replace(plain, host="fails.test"),
            "dns-silent": replace(plain, host="silent.test", connect_timeout_s=0.5),
            "dns-two": replace(plain, host="two.test", retries=0),
            "total": replace(patient, total_timeout_s=0.9),
            "size": replace(plain, response_bytes=1000),
            "deaf": replace(plain, port=self.deaf.port),
            "full": replace(patient, connections=1, queue=0),
            "queue": replace(patient, connections=1, queue_timeout_s=0.5),
            "patient-queue": replace(patient, connections=1, queue_timeout_s=60),
        }
        self.dying = ScriptedOrigin([STORED], port=free_port()).__enter__()
        self.origins["dying"] = replace(plain, port=self.dying.port)
        made = settings(state_dir, log=LogSettings(str(self.log)), schemes=("http", "https"))
        routes = [RouteSettings(name, f"/{name}/".encode(), o) for name, o in self.origins.items()]
        sites = (SiteSettings("all", (), tuple(routes)),)
        made = with_worker(made, sites=sites, resolvers=(dns.address,), http2_plain=True)
        self.ends = Ends.of(enter(Cluster(made)).urls)

    def reply(self, request: Recorded) -> Step:
        """Paths of the table fail, each after one good answer when it ends in /stale."""
        target = request.target.partition("?")[0]
        path = target.removesuffix("/stale")
        if path != target and request.target not in self.stored:
            self.stored.add(request.target)
            return STORED
        if path.endswith("/flaps"):
            self.flaps += 1
            return answer(b"x") if self.flaps % 2 == 0 else answer(b"", "503 Service Unavailable")
        if path.endswith("/held"):
            return script("stall", answer(b"held"))
        return self.steps.get(path) or answer(b"x", headers="Cache-Control: no-store")

    async def ask(self, path: str, method: str = "GET", over: str = "h1") -> tuple[Answer, dict[str, Any]]:
        """An answer and its line in the log."""
        got = await ask_over(over, self.ends, path, method=method, fields="Accept: application/json\r\n")
        while True:
            for line in self.log.read_text().splitlines():
                logged: dict[str, Any] = json.loads(line)
                if is_of(logged, got, path):
                    return got, logged
            await asyncio.sleep(0.1)

    async def run(self, row: Row, over: str) -> Result:
        """A row, by paths that no other version has asked for."""
        path = f"{row.path}?{over}"
        bare, line = await self.ask(path, row.method, over)
        reached = sum(request.target == path for request in self.origin.requests)
        path = f"{row.path}/stale?{over}"
        if row.step is not None:
            stored, _ = await self.ask(path, over=over)
            assert stored.body == b"stored"
        stale, stale_line = await self.ask(path, over=over)
        return Result(over, bare, line, stale, stale_line, reached)


def is_of(logged: dict[str, Any], got: Answer, path: str) -> bool:
    """Is it this answer's line? Of a cut one nothing may have come; no other of its path has a fault."""
    if "x-request-id" in got.fields:
        same: bool = logged["request_id"] == got.fields["x-request-id"]
        return same
    return f"{logged['path']}?{logged.get('query')}" == path and "fault" in logged


def assert_is_cut(got: Answer, over: str) -> None:
    """What has begun ends for everybody to see. In QUIC its reset may overtake it (RFC 9000 3.2)."""
    assert not got.whole
    assert got.status == 200 or (over, got.status) == ("h3", 0)


def _tls_origin(ca: trustme.CA, name: str, days: int = 30) -> ScriptedOrigin:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = datetime.datetime.now(datetime.UTC)
    begin, end = now - datetime.timedelta(days=60), now + datetime.timedelta(days=days)
    ca.issue_cert(name, not_before=begin, not_after=end).configure_cert(tls)
    return ScriptedOrigin([answer(b"never")], tls=tls)


def _self_signed(ca: trustme.CA) -> ssl.SSLContext:
    """A server whose certificate is that of an authority nobody knows."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ca.cert_pem.tempfile() as certificate, ca.private_key_pem.tempfile() as key:
        tls.load_cert_chain(certificate, key)
    return tls


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    running = Edge(tmp_path_factory.mktemp("faults"))
    with running.stack:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def results(edge: Edge, request: pytest.FixtureRequest) -> dict[str, Result]:
    """All rows at once, for most of them wait for some timeout."""

    async def run_all() -> list[Result]:
        return await asyncio.gather(*(edge.run(row, request.param) for row in ROWS))

    return dict(zip([row.name for row in ROWS], asyncio.run(run_all()), strict=True))


def assert_is_error_page(got: Answer, status: int, fault: Fault) -> None:
    """The answer for a failed origin says who failed (RFC 9457, 9209), is not kept, and hides the inside."""
    assert got.status == status
    assert got.fields["proxy-status"] == f"edgecluster; error={fault}"
    assert got.fields["cache-control"] == "no-store"
    page = json.loads(got.body)
    assert (page["failed"], page["reason"]) == ("origin", fault)
    assert "127.0.0.1" not in got.body.decode()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_origin_that_fails(results: dict[str, Result], row: Row) -> None:
    got, line = results[row.name].bare, results[row.name].line
    if row.status == 200:
        assert_is_cut(got, results[row.name].over)
    else:
        assert_is_error_page(got, row.status, row.fault)
    assert (line["status"], line["side"], line["fault"]) == (row.status, "origin", row.fault)
    assert row.detail in line["detail"]
    retries = line.get("retries", 0)
    assert row.retries is None or retries == row.retries
    if row.step is not None:
        assert results[row.name].reached == 1 + retries


@pytest.mark.parametrize("row", [row for row in ROWS if row.step is not None], ids=lambda row: row.name)
def test_a_stale_response_is_served_while_no_answer_has_begun(results: dict[str, Result], row: Row) -> None:
    got, line = results[row.name].stale, results[row.name].stale_line
    if row.status == 200:
        assert_is_cut(got, results[row.name].over)
        assert line["fault"] == row.fault
    else:
        assert (got.status, got.body) == (200, b"stored")
        assert line["cache"] == "stale"
        assert "proxy-status" not in got.fields


def test_a_stale_response_is_served_when_the_origin_is_gone(edge: Edge) -> None:
    async def main() -> None:
        first, _ = await edge.ask("/dying/page")
        edge.dying.__exit__(None, None, None)
        second, line = await edge.ask("/dying/page")
        assert (first.body, second.body) == (b"stored", b"stored")
        assert line["cache"] == "stale"
        gone, line = await edge.ask("/dying/other")
        assert_is_error_page(gone, 502, Fault.CONNECT_REFUSED)

    asyncio.run(main())


def test_an_origin_that_takes_no_request_body(edge: Edge) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.ends.plain)
        writer.write(b"PUT /deaf/x HTTP/1.1\r\nHost: a\r\nContent-Length: 64000000\r\n\r\n")
        writer.write(bytes(64_000_000))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 504 ")
        assert "Proxy-Status: edgecluster; error=connection_write_timeout\r\n" in head
        writer.transport.abort()

    asyncio.run(main())
    line = wait_until(lambda: [row for row in edge.log.read_text().splitlines() if '"path":"/deaf/x"' in row])
    logged = json.loads(line[0])
    assert (logged["fault"], logged.get("retries", 0)) == (Fault.WRITE_TIMEOUT, 0)
    assert "took no byte of the request body" in logged["detail"]


def test_an_origin_that_flaps_is_neither_retried_nor_hidden(edge: Edge) -> None:
    async def main() -> None:
        for status in (503, 200, 503, 200):
            got, line = await edge.ask("/plain/flaps")
            assert (got.status, line["origin_status"], line.get("retries", 0)) == (status, status, 0)
            assert "proxy-status" not in got.fields  # the origin's own answer

    asyncio.run(main())


def test_another_address_of_the_name_takes_over(edge: Edge) -> None:
    async def main() -> None:
        for number in range(4):
            got, line = await edge.ask(f"/dns-two/{number}")
            assert (got.status, line.get("retries", 0)) == (200, 0)

    asyncio.run(main())


def test_requests_above_the_connections_are_refused_or_wait(edge: Edge) -> None:
    """Two workers, a connection each: of three requests at once, at least one finds none."""

    async def main() -> None:
        def refused(where: str) -> list[str]:
            return [row for row in edge.log.read_text().splitlines() if f'"path":"/{where}/' in row]

        paths = [f"/{where}/{n}/held" for where in ("full", "queue", "patient-queue") for n in range(3)]
        held = [asyncio.create_task(edge.ask(path)) for path in paths]
        while not (refused("full") and refused("queue")):  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.05)
        for where, words in (
            ("full", "(`connections`), and 0 requests wait"),
            ("queue", "(`queue_timeout`)"),
        ):
            line = json.loads(refused(where)[0])
            assert (line["status"], line["fault"]) == (503, Fault.CONNECTION_LIMIT)
            assert words in line["detail"]
        edge.origin.release()
        answers = [got for got, _ in await asyncio.gather(*held)]
        for got in answers[:6]:
            if got.status == 503:
                assert_is_error_page(got, 503, Fault.CONNECTION_LIMIT)
                assert got.fields["retry-after"]
            else:
                assert got.body == b"held"
        assert [got.body for got in answers[6:]] == [b"held"] * 3  # whoever may wait longer is served

    asyncio.run(main())


def test_an_edge_that_is_its_own_origin_refuses_the_loop(tmp_path: Path) -> None:
    port = free_port()
    made = settings(tmp_path, origin=f"http://127.0.0.1:{port}", log=LogSettings(str(tmp_path / "log")))
    made = with_worker(made, listeners=(replace(made.worker.listeners[0], port=port),))
    with Cluster(made):
        got = asyncio.run(ask(port, "/round", fields="Accept: application/json\r\n"))
        assert got.status == 508
        assert got.fields["proxy-status"] == "edgecluster; error=proxy_loop_detected"
        lines = wait_until(lambda: (found := (tmp_path / "log").read_text().splitlines())[1:] and found)
        assert sorted(json.loads(line).get("fault", "") for line in lines) == ["", "proxy_loop_detected"]


# RFC 9209 2.3 and the registry it makes
REGISTERED = frozenset(
    """
    dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
    destination_ip_unroutable connection_refused connection_terminated connection_timeout
    connection_read_timeout connection_write_timeout connection_limit_reached tls_protocol_error
    tls_certificate_error tls_alert_received http_request_error http_request_denied http_response_incomplete
    http_response_header_section_size http_response_header_size http_response_body_size
    http_response_trailer_section_size http_response_trailer_size http_response_transfer_coding
    http_response_content_coding http_response_timeout http_upgrade_failed http_protocol_error
    proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected
    """.split()
)


def test_what_proxy_status_says_is_registered() -> None:
    faults = list(Fault)
    of_origins = faults[faults.index(Fault.DNS) : faults.index(Fault.UNAVAILABLE) + 1]
    assert {*of_origins, Fault.LOOP, Fault.INTERNAL} <= REGISTERED
