"""Guards of a whole edge: proxies that say who comes, methods, and how many of one client there may be."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.cluster import PATIENCE_S, wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire, answer
from tests.support.versions import VERSIONS, Ends, ask_over
from worker.reasons import TurnedAway

PROXIED = """
admin: http://127.0.0.1:0
listen:
  - {{ url: http://127.0.0.1:0, proxy_protocol: true }}
  - {{ url: https://127.0.0.1:0, proxy_protocol: true }}
trusted_proxies: [127.0.0.1]
access: {{ deny: [203.0.113.0/24] }}
sites: [{{ origin: {origin} }}]
"""

LIMITED = """
admin: http://127.0.0.1:0
limits: {{ connections_per_address: 6, requests_per_address: 3 }}
sites:
  - origin: {origin}
    cache: false
    routes: [{{ prefix: /read, methods: [GET, POST] }}]
"""

HAPROXY = """
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend plain
  bind 127.0.0.1:{plain}
  default_backend plain
frontend tls
  bind 127.0.0.1:{tls}
  default_backend tls
backend plain
  server edge 127.0.0.1:{to_plain} {sends}
backend tls
  server edge 127.0.0.1:{to_tls} {sends}
"""


async def nothing(wire: Wire) -> None:
    """Answer no more than the edge waits for."""
    await wire.read()


def who(request: Recorded) -> Step:
    """Tell what the edge says of the client; nothing of /slow."""
    if request.target == "/slow":
        return nothing
    said = f"{request.headers['x-forwarded-for']} {request.headers['x-forwarded-proto']}"
    return answer(said.encode(), headers="Cache-Control: no-store")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEdge]:
    with ScriptedOrigin(who) as origin:
        with configured_edge(tmp_path_factory.mktemp("e"), PROXIED.format(origin=origin.url)) as edge:
            yield edge


@contextlib.contextmanager
def haproxy(edge: ConfiguredEdge, directory: Path, sends: str) -> Iterator[Ends]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("haproxy is not installed (Debian: apt install haproxy)")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ends = Ends(one.getsockname()[1], other.getsockname()[1])
    config = directory / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            plain=ends.plain, tls=ends.tls, to_plain=edge.ends.plain, to_tls=edge.ends.tls, sends=sends
        )
    )
    process = subprocess.Popen([program, "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(ends.tls) or process.poll() is not None)
        assert process.poll() is None
        yield ends
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize(
    "sends", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl proxy-v2-options crc32c"]
)
def test_haproxy_says_who_comes(proxied: ConfiguredEdge, tmp_path: Path, sends: str) -> None:
    with haproxy(proxied, tmp_path, sends) as ends:
        for version in ("h1", "h1+TLS", "h2", "h2+TLS"):
            told = asyncio.run(ask_over(version, ends, "/")).body
            assert told == b"127.0.0.1 https" if version.endswith("TLS") else b"127.0.0.1 http"


@pytest.mark.parametrize(
    ("client", "served"), [("192.0.2.7", True), ("203.0.113.9", False), ("2001:db8::7", True)]
)
def test_lists_and_forwarding_are_about_the_announced_client(
    proxied: ConfiguredEdge, client: str, served: bool
) -> None:
    before = turned_away(proxied, TurnedAway.ACCESS)
    family, target = ("TCP6", "::1") if ":" in client else ("TCP4", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", proxied.ends.plain)) as connection:
        head = f"PROXY {family} {client} {target} 4711 80\r\n"
        connection.sendall(f"{head}GET / HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n".encode())
        got = _all_of(connection)
    assert got.startswith(b"HTTP/1.1 200") is served
    assert got.endswith(f"{client} http".encode()) is served
    assert turned_away(proxied, TurnedAway.ACCESS) - before == (not served)


def test_curl_as_a_proxy_is_understood_and_without_it_is_not(proxied: ConfiguredEdge) -> None:
    for url, more in (
        (f"http://127.0.0.1:{proxied.ends.plain}/", []),
        (f"https://127.0.0.1:{proxied.ends.tls}/", ["-k"]),
    ):
        told = subprocess.run(
            ["curl", "-s", "--haproxy-protocol", *more, url], capture_output=True, check=True
        )
        assert told.stdout.startswith(b"127.0.0.1 http")
        before = turned_away(proxied, TurnedAway.PROXY)
        refused = subprocess.run(["curl", "-s", *more, url], capture_output=True, check=False)
        assert (refused.returncode != 0, refused.stdout) == (True, b"")
        wait_until(lambda: turned_away(proxied, TurnedAway.PROXY) == before + 1)  # noqa: B023


def test_a_listener_behind_a_proxy_has_no_http3(proxied: ConfiguredEdge) -> None:
    assert proxied.cluster.status["http3"] == []


def _all_of(connection: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def turned_away(edge: ConfiguredEdge, reason: TurnedAway) -> int:
    """So many connections, of all workers."""
    with urlopen(f"{edge.cluster.admin_url}/metrics") as response:
        text = response.read().decode()
    found = re.search(rf'^edgecluster_turned_away_total{{reason="{reason}"}} (\d+)$', text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ConfiguredEdge, ScriptedOrigin]]:
    with ScriptedOrigin(who) as origin:
        with configured_edge(tmp_path_factory.mktemp("e"), LIMITED.format(origin=origin.url)) as edge:
            yield edge, origin


@pytest.mark.parametrize("version", VERSIONS)
def test_a_route_answers_the_methods_it_takes(
    limited: tuple[ConfiguredEdge, ScriptedOrigin], version: str
) -> None:
    edge = limited[0].by(version)
    assert edge.ask("/read/x", method="HEAD").status == 200
    assert edge.ask("/read/x").status == 200
    refused = edge.ask("/read/x", method="DELETE")
    assert (refused.status, refused.fields["allow"]) == (405, "GET, HEAD, POST")
    assert edge.ask("/other", method="DELETE").status == 200


class Held:
    """Requests of one address that an edge has under way."""

    def __init__(self, edge: ConfiguredEdge, source: str) -> None:
        self.edge = edge
        self.source = source
        self.sockets: list[socket.socket] = []

    def connect(self) -> socket.socket:
        address = "127.0.0.1", self.edge.ends.plain
        made = socket.create_connection(address, PATIENCE_S, source_address=(self.source, 0))
        self.sockets.append(made)
        return made

    def ask(self, path: str) -> socket.socket:
        made = self.connect()
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n".encode())
        return made

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@pytest.fixture
def held(limited: tuple[ConfiguredEdge, ScriptedOrigin]) -> Iterator[Held]:
    made = Held(limited[0], f"127.0.1.{next(_sources)}")
    yield made
    made.close()


_sources = count(1)


def is_served(connection: socket.socket) -> bool:
    """Whether the edge answers on it, with whatever."""
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
        return connection.recv(1) == b"H"
    except (ConnectionResetError, BrokenPipeError):
        return False


def test_one_address_has_so_many_connections_in_all_workers_and_again_when_they_are_closed(
    held: Held,
) -> None:
    connections = [held.connect() for _ in range(6)]
    assert all(is_served(connection) for connection in connections)
    assert not any(is_served(held.connect()) for _ in range(6))
    assert turned_away(held.edge, TurnedAway.CONNECTIONS) >= 6
    connections[0].close()
    wait_until(lambda: is_served(held.connect()))


def test_connections_of_a_killed_worker_count_no_more(held: Held) -> None:
    connections = [held.connect() for _ in range(6)]
    assert all(is_served(connection) for connection in connections)
    for pid in held.edge.cluster.pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(held.edge.cluster.pids) == 2)
    served = [wait_until(lambda: _served(held)) for _ in range(6)]
    assert len(served) == 6
    assert not is_served(held.connect())


def _served(held: Held) -> socket.socket | None:
    made = held.connect()
    return made if is_served(made) else None


def test_one_address_has_so_many_requests_under_way_in_all_workers(
    limited: tuple[ConfiguredEdge, ScriptedOrigin], held: Held
) -> None:
    edge, origin = limited
    before = len(origin.requests)
    slow = [held.ask("/slow") for _ in range(3)]
    wait_until(lambda: len(origin.requests) == before + 3)
    refused = held.ask("/")
    assert b"429 Too Many Requests" in (head := refused.recv(4096))
    assert b"Retry-After: 1\r\n" in head
    other = Held(edge, "127.0.2.1")
    assert b"200 OK" in other.ask("/").recv(4096)
    other.close()
    slow[0].close()  # its request is over, and its place is free
    refused.settimeout(PATIENCE_S)
    wait_until(lambda: _status(refused) == 200)


def _status(connection: socket.socket) -> int:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
    return int(connection.recv(4096).split(b" ")[1])
