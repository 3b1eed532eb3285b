"""What does a WebSocket message cost at the proxy, beside nginx in the same run? `python -m bench.tunnels`

A message of 64 bytes goes from the client through the proxy to the origin and comes back, on 64 connections,
each with one message under way. Client and origin are bare uvloop protocols on the other core, so that they
can keep the proxy busy; the figure is the proxy's CPU time per message and direction.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench import peers
from bench.measure import LOAD_CORE, SERVER_CORE, cpu_ns
from bench.peers import Peer

CONNECTIONS = 64
MESSAGE = b"x" * 64
ASK = b"GET /ws HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Echo(asyncio.Protocol):
    """The origin: switches, then gives everything back."""

    def __init__(self) -> None:
        self.switched = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data if self.switched else SWITCH)  # type: ignore[attr-defined]
        self.switched = True


class PingPong(asyncio.Protocol):
    """A client: the next message when the last one is back."""

    def __init__(self, count: list[int]) -> None:
        self.count = count
        self.switched = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(ASK)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self.switched:
            self.count[0] += len(data)
        elif not data.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(f"no switch: {data[:200]!r}")
        self.switched = True
        self.transport.write(MESSAGE)  # type: ignore[attr-defined]


@contextlib.contextmanager
def nginx(work: Path, origin_port: int) -> Iterator[Peer]:
    """nginx as its documentation has WebSockets proxied, one worker."""
    port = peers.free_port()
    config = work / "tunnels.conf"
    config.write_text(f"""
worker_processes 1; daemon off; pid {work}/tunnels.pid; error_log {work}/tunnels.err;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {work}/tunnels-body; proxy_temp_path {work}/tunnels-temp;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{origin_port}; proxy_http_version 1.1; proxy_read_timeout 3600s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
  }}
}}
""")
    with peers.running(["nginx", "-c", str(config)], SERVER_CORE, port, work / "tunnels.out") as process:
        yield Peer("nginx", f"http://127.0.0.1:{port}", "", (process.pid,))


async def cost_us(peer: Peer, seconds: float) -> tuple[float, float]:
    """(CPU microseconds per message and direction, messages per second) of one run."""
    loop = asyncio.get_running_loop()
    host, _, port = peer.http.rpartition("/")[2].partition(":")
    count = [0]
    transports = [
        (await loop.create_connection(lambda: PingPong(count), host, int(port)))[0]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.3)
    before, spent = count[0], cpu_ns(peer.pids)
    await asyncio.sleep(seconds)
    messages, spent = 2 * (count[0] - before) // len(MESSAGE), cpu_ns(peer.pids) - spent
    for transport in transports:
        transport.close()
    await asyncio.sleep(0.1)
    return spent / 1000 / max(messages, 1), messages / seconds


async def compare(work: Path, rounds: int, seconds: float) -> None:
    """Measure both in turn and print the medians and their ratio."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    origin_port = server.sockets[0].getsockname()[1]
    certificate, key = work / "bench.pem", work / "bench.key"
    with (
        nginx(work, origin_port) as one,
        peers.edgecluster(work, origin_port, certificate, key) as two,
    ):
        costs: dict[str, list[float]] = {one.name: [], two.name: []}
        for _ in range(rounds):
            for peer in (one, two):
                cost, rate = await cost_us(peer, seconds)
                costs[peer.name].append(cost)
                sys.stdout.write(f"{peer.name:12} {cost:6.2f} us per message, {rate:9.0f} messages/s\n")
        medians = {name: statistics.median(values) for name, values in costs.items()}
        ratio = medians[two.name] / medians[one.name]
        sys.stdout.write(
            f"64-byte message through a tunnel: edgecluster {medians[two.name]:.2f} us, "
            f"nginx {medians[one.name]:.2f} us, ratio {ratio:.2f}\n"
        )
    server.close()


def make_certificate(work: Path) -> None:
    """What edgecluster's second listener needs."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(work / "bench.key"), "-out", str(work / "bench.pem"), "-days", "2",
         "-subj", "/CN=bench"],
        check=True, capture_output=True,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.tunnels", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="edgecluster-bench-") as directory:
        make_certificate(Path(directory))
        uvloop.run(compare(Path(directory), arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
