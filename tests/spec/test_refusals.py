"""Who is refused, and what cannot be served: the same over every version, and nothing reaches the origin."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Answer
from tests.support.cluster import wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.versions import VERSIONS, connect

MIB = 1024**2
BURST = 3
CONFIG = """
log: {{path: {log}}}
limits: {{header: 8KiB, request_line: 4KiB, body: 1MiB}}
sites:
  - hosts: [edge.test]
    origin: {url}
    routes:
      - {{prefix: /denied/, access: {{deny: 127.0.0.0/8}}}}
      - {{prefix: /allowed/, access: {{allow: 127.0.0.0/8, default: deny}}}}
      - {{prefix: /nobody/, origin: 'http://127.0.0.1:{nobody}'}}
"""
LIMITED = """
      - {{prefix: /limited/{version}/, rate_limits: [{{name: '{version}', rate: 1/h, burst: {burst}}}]}}
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin(lambda request: answer(b"served", headers="Cache-Control: no-store")) as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refusals") / "access.log"


@pytest.fixture(scope="module")
def running(origin: ScriptedOrigin, log: Path) -> Iterator[ConfiguredEdge]:
    text = CONFIG.format(url=origin.url, log=log, nobody=free_port())
    text += "".join(LIMITED.lstrip("\n").format(version=version, burst=BURST) for version in VERSIONS)
    with configured_edge(log.parent, text) as edge:
        yield edge


@pytest.fixture
def edge(running: ConfiguredEdge, over: str) -> ConfiguredEdge:
    return running.by(over)


def line_of(log: Path, got: Answer) -> dict[str, object]:
    """What the access log says of an answer."""
    own = f'"request_id":"{got.fields["x-request-id"]}"'
    (line,) = wait_until(lambda: [one for one in log.read_text().splitlines() if own in one])
    said: dict[str, object] = json.loads(line)
    return said


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_address_on_the_list_is_refused(
    edge: ConfiguredEdge, origin: ScriptedOrigin, log: Path, method: str
) -> None:
    before = len(origin.requests)
    got = edge.ask("/denied/x", "Accept: text/html", "Content-Length: 0", method=method)
    assert got.status == 403
    assert got.fields["content-type"].startswith("text/html")
    if method != "HEAD":
        assert got.fields["x-request-id"] in got.body.decode()
    assert (line_of(log, got)["status"], line_of(log, got)["block"]) == (403, "access-list")
    assert len(origin.requests) == before


def test_an_address_that_the_list_allows_is_served(edge: ConfiguredEdge) -> None:
    assert (edge.ask("/allowed/x").status, edge.ask("/allowed/x").body) == (200, b"served")


def test_a_list_is_asked_for_the_path_as_it_is_meant(edge: ConfiguredEdge) -> None:
    for spelling in ("/%64enied/x", "/allowed/../denied/x", "/./denied/x", "/a/%2e%2e/denied/x"):
        assert edge.ask(spelling).status == 403, spelling


def test_requests_above_the_rate_are_refused(edge: ConfiguredEdge, origin: ScriptedOrigin, log: Path) -> None:
    before = len(origin.requests)
    answers = [edge.ask(f"/limited/{edge.over}/x", "Accept: application/json") for _ in range(BURST + 2)]
    assert [got.status for got in answers] == [200] * BURST + [429] * 2
    assert int(answers[-1].fields["retry-after"]) > 60
    assert "ratelimit" in answers[-1].fields
    assert json.loads(answers[-1].body)["reason"] == "rate-limit"
    assert line_of(log, answers[-1])["block"] == "rate-limit"
    assert len(origin.requests) - before == BURST


def test_a_host_that_is_not_served_is_misdirected(
    edge: ConfiguredEdge, origin: ScriptedOrigin, log: Path
) -> None:
    before = len(origin.requests)
    for name in ("other.test", "edge.test.other", "sub.edge.test"):
        got = edge.ask("/", name=name)
        assert (got.status, line_of(log, got)["fault"]) == (421, "unknown-host")
    assert edge.ask("/", name="EDGE.test:8443").status == 200
    assert len(origin.requests) == before + 1


@pytest.mark.parametrize(
    "name", ["", "edge.test:x", "a@edge.test", "edge.test/x", "edge test", "edge.test,b"]
)
def test_what_is_no_host_is_refused(edge: ConfiguredEdge, origin: ScriptedOrigin, name: str) -> None:
    """HTTP/2 and 3 may also reset the stream: a malformed request (RFC 9113 8.1.1, RFC 9114 4.1.2)."""
    before = len(origin.requests)
    got = edge.ask("/", name=name)
    assert got.status == 400 or (edge.over not in ("h1", "h1+TLS") and (got.status, got.whole) == (0, False))
    assert len(origin.requests) == before


REFUSED = [  # method, path, fields -> status, fault
    pytest.param("GET", "/" + "x" * 5000, (), 414, "uri-too-long", id="a long path"),
    pytest.param("GET", "/", ("X-Long: " + "x" * 9000,), 431, "header-too-large", id="a long field"),
    pytest.param("GET", "/", ("X-Many: 0123456789",) * 500, 431, "header-too-large", id="many fields"),
    pytest.param("POST", "/", ("Expect: tea",), 417, "expectation-failed", id="an unknown expectation"),
    pytest.param("BREW", "/", (), 501, "bad-request", id="an unknown method"),
    pytest.param("GET", "/%00", (), 400, "bad-request", id="a null"),
]


@pytest.mark.parametrize(("method", "path", "fields", "status", "fault"), REFUSED)
def test_what_cannot_be_served_is_refused(
    edge: ConfiguredEdge, origin: ScriptedOrigin, log: Path, method: str, path: str, fields: tuple[str, ...],
    status: int, fault: str,
) -> None:  # fmt: skip
    before = len(origin.requests)
    got = edge.ask(path, *fields, method=method)
    line = line_of(log, got)
    assert (got.status, line["status"], line["fault"]) == (status, status, fault)
    assert len(origin.requests) == before
    assert edge.ask("/").status == 200


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])
def test_a_body_above_the_limit_is_refused(edge: ConfiguredEdge, announced: bool) -> None:
    async def main() -> int:
        async with connect(edge.over, edge.ends) as client:
            fields = [("content-length", str(2 * MIB))] if announced else []
            stream = client.begin("/", fields, method="POST", end=False)
            sending = asyncio.ensure_future(client.upload(stream, [bytes(MIB)] * 2))
            came = await client.head(stream)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return came.status

    assert asyncio.run(main()) == 413


PAGES = [  # what the client asks for -> media type
    pytest.param((), "text/plain", id="nothing"),
    pytest.param(("Accept: text/html,*/*;q=0.8",), "text/html", id="a browser"),
    pytest.param(("Accept: application/json",), "application/json", id="JSON"),
    pytest.param(("Accept: application/problem+json",), "application/problem+json", id="a problem"),
]


@pytest.mark.parametrize(("fields", "media_type"), PAGES)
def test_an_error_page_says_who_failed_as_the_client_wants_to_read_it(
    edge: ConfiguredEdge, fields: tuple[str, ...], media_type: str
) -> None:
    got = edge.ask("/nobody/", *fields)
    assert got.status == 502
    assert got.fields["content-type"].partition(";")[0] == media_type
    assert got.fields["proxy-status"] == "edgecluster; error=connection_refused"
    assert got.fields["cache-control"] == "no-store"
    assert got.fields["x-request-id"] in got.body.decode()
    assert "127.0.0.1" not in got.body.decode()
    assert int(got.fields["content-length"]) == len(got.body)
