"""A whole cluster, asked over HTTP/2 by curl, nghttp and h2load, and reloaded under load."""

import asyncio
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.h2_client import H2Client
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire, answer, chunked
from tests.support.versions import trusting

MIB = 1024**2
LARGE = 100 * MIB
GROWTH_BYTES = 24 * MIB
STORED = "Cache-Control: max-age=600"


def handler(request: Recorded) -> Step:
    async def down(wire: Wire) -> None:
        await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
        for _ in range(LARGE // MIB):
            await wire.write(b"x" * MIB)

    if request.target == "/large":
        return down
    if request.target == "/trailers":
        return chunked(b"abc", trailers=["Grpc-Status: 0"], headers=["Trailer: Grpc-Status"])
    if request.method == "PUT":
        return answer(b"put", headers="Cache-Control: no-store")
    return answer(b"hello" * 20, headers=STORED)


@dataclass(frozen=True)
class Running:
    edge: Cluster
    origin: ScriptedOrigin
    plain: str
    tls: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ScriptedOrigin(handler, keep_bodies=False) as origin:
        made = settings(tmp_path_factory.mktemp("s"), origin=origin.url, schemes=("http", "https"))
        with Cluster(with_worker(made, http2_plain=True)) as edge:
            yield Running(edge, origin, edge.urls[0], edge.urls[1])


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def curl(*arguments: str) -> list[str]:
    """Version, status, then what `arguments` print."""
    return output("curl", "-sk", "-w", "\n%{http_version} %{http_code}", *arguments).rsplit("\n", 1)[::-1]


@pytest.mark.parametrize("option", ["--http2", "--http2-prior-knowledge"])
def test_curl_gets_a_miss_and_then_hits(running: Running, option: str) -> None:
    url = (running.tls if option == "--http2" else running.plain) + "/curl" + option
    answers = [curl(option, "-D", "-", url) for _ in range(4)]
    assert {version for version, _ in answers} == {"2 200"}
    states = ["hit" if "; hit" in head else "fwd" if "fwd=uri-miss" in head else head for _, head in answers]
    assert states == ["fwd", "hit", "hit", "hit"]


def test_http1_goes_on_beside_it(running: Running) -> None:
    assert curl("--http1.1", running.tls + "/one")[0] == "1.1 200"
    assert curl(running.plain + "/one")[0] == "1.1 200"
    assert curl("--http2", running.plain + "/one")[0] == "1.1 200"  # Upgrade: h2c is ignored


def test_nghttp_gets_many_at_once(running: Running) -> None:
    urls = [f"{running.tls}/nghttp/{number}" for number in range(20)]
    told = output("nghttp", "-nv", "-m2", *urls)
    assert told.count(":status: 200") == 40
    assert "RST_STREAM" not in told


def test_trailers_pass_from_the_origin(running: Running) -> None:
    told = output("nghttp", "-nv", "-H", "te: trailers", running.tls + "/trailers")
    assert re.search(r"\(stream_id=\d+\) grpc-status: 0", told)


@pytest.mark.parametrize("streams", [1, 100])
def test_h2load_has_every_request_answered(running: Running, streams: int) -> None:
    for url in (running.tls, running.plain):
        told = output("h2load", "-n", "4000", "-c", "4", "-m", str(streams), url + "/h2load")
        assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in told
        assert "status codes: 4000 2xx" in told


def test_misses_of_a_hundred_streams_are_all_answered(running: Running) -> None:
    async def test() -> None:
        parts = urlsplit(running.plain)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        async with H2Client(reader, writer, authority="edge.test") as client:
            streams = [client.begin(f"/miss/{number}") for number in range(100)]
            for stream in streams:
                assert (await client.answer(stream)).body == b"hello" * 20

    asyncio.run(test())


def resident_bytes(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def test_a_hundred_mebibytes_down_and_up_do_not_grow_a_worker(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(LARGE)
    curl("--http2", running.tls + "/warm-up")
    pids = running.edge.pids
    before = resident_bytes(pids)
    assert output(
        "curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{size_download}", running.tls + "/large"
    ) == str(LARGE)
    assert curl("--http2", "-T", str(file), running.tls + "/up") == ["2 200", "put"]
    assert resident_bytes(pids) - before < GROWTH_BYTES


@dataclass
class Report:
    requests: int = 0
    connections: int = 0
    lost: list[str] = field(default_factory=list)


async def keep_asking(url: str, stopping: threading.Event, report: Report, number: int) -> None:
    """Five streams at a time; after a GOAWAY, what it does not count is asked again on a new connection."""
    parts = urlsplit(url)
    tls = trusting("h2") if parts.scheme == "https" else None
    while not stopping.is_set():
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
        report.connections += 1
        async with H2Client(reader, writer, scheme=parts.scheme, authority="edge.test") as client:
            while not stopping.is_set() and not client.goaways and not client.closed:
                streams = [client.begin(f"/load/{number}/{index}") for index in range(5)]
                for stream in streams:
                    came = await client.answer(stream)
                    if came.ended and came.status == 200 and came.body == b"hello" * 20:
                        report.requests += 1
                    elif not client.goaways or stream <= client.goaways[-1][1]:
                        report.lost.append(f"{stream}: {came}, {client.goaways}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_reload_under_load_drops_nothing(running: Running, scheme: str) -> None:
    stopping, report = threading.Event(), Report()
    url = running.tls if scheme == "https" else running.plain

    async def load() -> None:
        await asyncio.gather(*(keep_asking(url, stopping, report, number) for number in range(8)))

    thread = threading.Thread(target=lambda: asyncio.run(load()))
    thread.start()
    try:
        for _ in range(2):
            old = running.edge.pids
            running.edge.reload()
            wait_until(lambda: not any(psutil.pid_exists(pid) for pid in old))  # noqa: B023
    finally:
        stopping.set()
        thread.join()
    assert report.lost == []
    assert report.connections > 8  # they were told to go
    assert report.requests > 100
