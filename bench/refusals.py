"""What does refusing a connection before TLS cost, beside the handshake it saves? `python -m bench.refusals`

CPU time of the server per connection, all in the same run. Refused is 127.0.0.1, by the list at the top of
the edge's configuration, and by HAProxy's `tcp-request connection reject`; nginx `deny` answers 403 behind a
whole handshake. The handshakes are full ones of TLS 1.3, of an edge that refuses nobody.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import peers
from bench.edge import certificate
from bench.measure import LOAD_CORE, Load, cpu_ns, handshakes
from bench.peers import Peer

ADMIT, REFUSE = "203.0.113.0/24", "127.0.0.1"


@contextlib.contextmanager
def edgecluster(work: Path, chain: Path, key: Path, denied: str) -> Iterator[Peer]:
    """With everything on, a list at the top, a limit and a rate of connections."""
    port, tls_port = peers.free_port(), peers.free_port()
    rules = f"""
cache: {{memory: 64MiB}}
log: {{path: ""}}
access: {{deny: [{denied}]}}
limits: {{connections_per_address: 10000, connection_rate: 1000000/s}}
sites: [{{origin: "http://127.0.0.1:9"}}]
"""
    folder = work / denied.partition("/")[0]
    with peers.running_edge(folder, (port, tls_port), chain, key, rules) as pid:
        yield Peer("edgecluster", "", f"https://127.0.0.1:{tls_port}", (pid,))


@contextlib.contextmanager
def haproxy(work: Path, chain: Path, key: Path) -> Iterator[Peer]:
    """Rejects everybody when it has accepted."""
    port, tls_port = peers.free_port(), peers.free_port()
    rules = f"""
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend open
  bind 127.0.0.1:{port}
frontend closed
  bind 127.0.0.1:{tls_port} ssl crt {work}/haproxy.pem
  tcp-request connection reject if {{ src {REFUSE} }}
"""
    with peers.running_haproxy(work, port, chain, key, rules) as pid:
        yield Peer("haproxy", "", f"https://127.0.0.1:{tls_port}", (pid,))


def connect_and_wait(port: int, seconds: float) -> int:
    """Connect again and again until the time is over, each time until the other end has closed."""
    until, made = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        with (
            contextlib.suppress(ConnectionResetError),
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            client.recv(1)
        made += 1
    return made


def refused(peer: Peer, seconds: int) -> int:
    """As many as a process on the load core can make."""
    code = f"from bench.refusals import connect_and_wait as go; print(go({_port(peer)}, {seconds}))"
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-c", code]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shaken(peer: Peer, seconds: int) -> int:
    """Full handshakes of TLS 1.3."""
    return handshakes(Load(peer.https, handshake=("1.3", "full")), seconds)[0]


def _port(peer: Peer) -> int:
    return int(peer.https.rpartition(":")[2])


def cost_us(peer: Peer, load: Callable[[Peer, int], int], seconds: int) -> float:
    before = cpu_ns(peer.pids)
    made = load(peer, seconds)
    return (cpu_ns(peer.pids) - before) / 1000 / made


def main() -> None:
    """Take turns, print the medians."""
    parser = argparse.ArgumentParser(prog="refusals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        work = Path(name)
        chain, key = certificate(work)
        closed = stack.enter_context(edgecluster(work, chain, key, REFUSE))
        opened = stack.enter_context(edgecluster(work, chain, key, ADMIT))
        peer = stack.enter_context(haproxy(work, chain, key))
        rows = {
            "edgecluster refuses": (closed, refused),
            "haproxy rejects": (peer, refused),
            "edgecluster full TLS 1.3 handshake": (opened, shaken),
        }
        samples: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(arguments.rounds):
            for row, (server, load) in rows.items():
                samples[row].append(cost_us(server, load, arguments.seconds))
    for row, costs in samples.items():
        sys.stdout.write(f"{row:<36} {statistics.median(costs):8.1f} us of CPU per connection\n")


if __name__ == "__main__":
    main()
