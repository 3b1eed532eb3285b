"""What does a request passed on cost at the edge, by HTTP/1.1 and by HTTP/2? `python -m bench.origins`

nginx serves 1 KiB and 64 KiB, marked no-store, on a listener for each version; one edge asks both, on routes
of their own, in turn. The figure is the edge's CPU time per request, so it can be compared within a run only.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.measure import LOAD_CORE, SERVER_CORE, Load, sample
from bench.peers import Peer

FILES = {"1 KiB": "o/0.bin", "64 KiB": "64k.bin"}
PATHS = {"http/1.1": "one", "h2": "two"}
CONNECTIONS = 64


@contextlib.contextmanager
def origin(work: Path) -> Iterator[tuple[int, int]]:
    """nginx with the tree, under the names of both routes. Yields the port of each version."""
    plain, http2 = peers.free_port(), peers.free_port()
    config = work / "origins.conf"
    config.write_text(f"""
worker_processes 1; daemon off; pid {work}/origins.pid; error_log {work}/origins.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600s;
  http2_max_concurrent_streams 256;
  default_type application/octet-stream; client_body_temp_path {work}/origins-body;
  open_file_cache max=20000 inactive=600s; add_header Cache-Control "no-store";
  server {{
    listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{http2} http2 backlog=4096; root {work}/tree;
    location /one/ {{ alias {work}/tree/; }}
    location /two/ {{ alias {work}/tree/; }}
  }}
}}
""")
    with peers.running(["nginx", "-c", str(config)], LOAD_CORE, plain, work / "origins.out"):
        yield plain, http2


@contextlib.contextmanager
def edge(work: Path, plain: int, http2: int) -> Iterator[Peer]:
    """edgecluster with one worker, a route for each version."""
    port = peers.free_port()
    config = work / "edge.yaml"
    config.write_text(f"""
listen: ["http://127.0.0.1:{port}"]
workers: 1
cache: {{memory: 64MiB}}
log: {{path: "{work}/edge.log"}}
limits: {{requests_per_connection: 100000000}}
sites:
  - origin: "http://127.0.0.1:{plain}"
    routes:
      - {{prefix: /two/, origin: {{url: "http://127.0.0.1:{http2}", protocol: h2}}}}
""")
    command = [
        sys.executable,
        "-m",
        "cluster",
        "start",
        "--config",
        str(config),
        "--state-dir",
        f"{work}/state",
    ]
    with peers.running(command, SERVER_CORE, port, work / "edge.out") as process:
        yield Peer("edgecluster", f"http://127.0.0.1:{port}", "", (process.pid,))


def compare(work: Path, rounds: int, seconds: int) -> None:
    """Measure both in turn and print medians and ratios."""
    work.chmod(0o755)  # nginx drops root and still has to read the tree
    peers.make_tree(work / "tree", 1)
    with origin(work) as ports, edge(work, *ports) as peer:
        for name, file in FILES.items():
            costs: dict[str, list[float]] = {protocol: [] for protocol in PATHS}
            for _ in range(rounds):
                for protocol, prefix in PATHS.items():
                    load = Load(f"{peer.http}/{prefix}/{file}", connections=CONNECTIONS)
                    found = sample(peer.pids, load, seconds)
                    if found.errors:
                        raise RuntimeError(f"{found.errors} errors by {protocol}")
                    costs[protocol].append(found.cpu_us_per_request)
                    sys.stdout.write(
                        f"{name:7} {protocol:9} {found.cpu_us_per_request:7.2f} us per request\n"
                    )
            one, two = (statistics.median(costs[protocol]) for protocol in PATHS)
            sys.stdout.write(
                f"{name} passed on: http/1.1 {one:.1f} us, h2 {two:.1f} us, ratio {two / one:.2f}\n"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.origins", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="edgecluster-bench-") as directory:
        compare(Path(directory), arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
