"""The servers measured: edgecluster and, with the same job to do, nginx and HAProxy; and nginx as origin.

Each starts on free loopback ports, pinned to its core, in a directory of its own, and is ended by pid.
`full` nginx does what edgecluster always does: writes an access log, checks an address list and a rate limit.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.measure import LOAD_CORE, SERVER_CORE

LOG_FORMAT = (
    """log_format edge escape=json '{"time":"$time_iso8601","request_id":"$request_id","""
    """"client":"$remote_addr","method":"$request_method","host":"$host","path":"$request_uri","""
    """"status":$status,"bytes_out":$bytes_sent,"duration":$request_time,"cache":"$upstream_cache_status","""
    """"user_agent":"$http_user_agent"}';"""
)


@dataclass(frozen=True, slots=True)
class Peer:
    """One running server under test."""

    name: str
    http: str
    https: str
    pids: tuple[int, ...]
    quic: bool = False  # speaks HTTP/3 at the port of https


def free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once something accepts on `port`; RuntimeError when the process ends first."""
    for _ in range(400):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port} after 20 s")


@contextlib.contextmanager
def running(command: list[str], core: int, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`command` pinned to `core`, until the block ends."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        wait_listening(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def make_tree(root: Path, objects: int) -> None:
    """The origin's files: `objects` bodies of 1 KiB under /o/, one of 64 KiB and one of 1 MiB, all
    incompressible."""
    (root / "o").mkdir(parents=True)
    for number in range(objects):
        (root / "o" / f"{number}.bin").write_bytes(os.urandom(1024))
    (root / "64k.bin").write_bytes(os.urandom(64 * 1024))
    (root / "1m.bin").write_bytes(os.urandom(1024 * 1024))


@contextlib.contextmanager
def origin(work: Path) -> Iterator[int]:
    """nginx serving the tree; /pass/ is the same tree marked no-store. Yields the port."""
    port = free_port()
    config = work / "origin.conf"
    config.write_text(f"""
worker_processes 1; daemon off; pid {work}/origin.pid; error_log {work}/origin.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600s;
  default_type application/octet-stream; client_body_temp_path {work}/origin-body;
  open_file_cache max=20000 inactive=600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {work}/tree;
    location / {{ add_header Cache-Control "public, max-age=3600"; }}
    location /pass/ {{ alias {work}/tree/; add_header Cache-Control "no-store"; }}
  }}
}}
""")
    with running(["nginx", "-c", str(config)], LOAD_CORE, port, work / "origin.out"):
        yield port


@contextlib.contextmanager
def nginx(work: Path, origin_port: int, certificate: Path, key: Path, *, full: bool) -> Iterator[Peer]:
    """nginx with proxy_cache, one worker."""
    name = "nginx-full" if full else "nginx"
    port, tls_port = free_port(), free_port()
    extra = (
        f"""{LOG_FORMAT} access_log {work}/{name}.log edge buffer=64k flush=1s;
  limit_req_zone $binary_remote_addr zone=l:10m rate=1000000r/s;"""
        if full
        else "access_log off;"
    )
    gates = "limit_req zone=l burst=100000 nodelay; deny 203.0.113.0/24; allow all;" if full else ""
    config = work / f"{name}.conf"
    config.write_text(f"""
worker_processes 1; daemon off; pid {work}/{name}.pid; error_log {work}/{name}.err;
events {{ worker_connections 8192; }}
http {{
  {extra}
  keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; tcp_nopush on;
  open_file_cache max=20000 inactive=600s;
  client_body_temp_path {work}/{name}-body; proxy_temp_path {work}/{name}-temp;
  proxy_cache_path {work}/{name}-cache keys_zone=c:64m levels=1:2 max_size=2g inactive=1h use_temp_path=off;
  upstream o {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    {gates}
    location / {{ proxy_pass http://o; proxy_cache c; add_header X-Cache $upstream_cache_status; }}
    location /pass/ {{ proxy_pass http://o; }}
  }}
}}
""")
    with running(["nginx", "-c", str(config)], SERVER_CORE, port, work / f"{name}.out") as process:
        yield Peer(name, f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}", (process.pid,))


@contextlib.contextmanager
def haproxy(work: Path, origin_port: int, certificate: Path, key: Path) -> Iterator[Peer]:
    """HAProxy with its small-object cache."""
    port, tls_port = free_port(), free_port()
    rules = f"""
  maxconn 8192
  tune.bufsize 131072
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  timeout http-keep-alive 600s
  http-reuse always
cache c
  total-max-size 512
  max-object-size 100000
  max-age 3600
frontend f
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{tls_port} ssl crt {work}/haproxy.pem alpn h2,http/1.1
  use_backend pass if {{ path_beg /pass/ }}
  default_backend cached
backend cached
  http-request cache-use c
  http-response cache-store c
  server o 127.0.0.1:{origin_port}
backend pass
  server o 127.0.0.1:{origin_port}
"""
    with running_haproxy(work, port, certificate, key, rules) as pid:
        yield Peer("haproxy", f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}", (pid,))


@contextlib.contextmanager
def running_haproxy(work: Path, port: int, certificate: Path, key: Path, rules: str) -> Iterator[int]:
    """HAProxy with one thread; `rules` go on in its global section, and find the certificate with its key in
    `work`/haproxy.pem. Its pid."""
    (work / "haproxy.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    config = work / "haproxy.cfg"
    config.write_text(f"global\n  nbthread 1\n{rules}")
    with running(["haproxy", "-f", str(config)], SERVER_CORE, port, work / "haproxy.out") as process:
        yield process.pid


@contextlib.contextmanager
def caddy(work: Path, certificate: Path, key: Path) -> Iterator[Peer]:
    """Caddy with the origin's files, which it has no cache for but the kernel's; one thread runs Go."""
    port = free_port()
    config = work / "Caddyfile"
    config.write_text(f"""
{{
  admin off
  auto_https off
}}
https://localhost:{port}, https://127.0.0.1:{port} {{
  bind 127.0.0.1
  tls {certificate} {key}
  root * {work}/tree
  file_server
}}
""")
    command = ["env", f"HOME={work}", "GOMAXPROCS=1", "caddy", "run", "--adapter", "caddyfile", "--config"]
    with running([*command, str(config)], SERVER_CORE, port, work / "caddy.out") as process:
        yield Peer("caddy", "", f"https://127.0.0.1:{port}", (process.pid,), quic=True)


@contextlib.contextmanager
def edgecluster(work: Path, origin_port: int, certificate: Path, key: Path) -> Iterator[Peer]:
    """edgecluster with everything on: access log, metrics, an address list, a rate limit."""
    port, tls_port = free_port(), free_port()
    rules = f"""
cache: {{memory: 512MiB}}
log: {{path: "{work}/edgecluster.log"}}
limits: {{requests_per_connection: 100000000}}
sites:
  - name: bench
    routes:
      - prefix: /
        origin: "http://127.0.0.1:{origin_port}"
        access: {{deny: ["203.0.113.0/24"]}}
        rate_limits: [{{name: per-client, rate: 1000000/s, burst: 1000000}}]
"""
    with running_edge(work / "edgecluster", (port, tls_port), certificate, key, rules) as pid:
        yield Peer(
            "edgecluster",
            f"http://127.0.0.1:{port}",
            f"https://127.0.0.1:{tls_port}",
            (pid,),
            quic=find_spec("worker.protocol.h3.connection") is not None,
        )


@contextlib.contextmanager
def running_edge(
    work: Path, ports: tuple[int, int], certificate: Path, key: Path, rules: str
) -> Iterator[int]:
    """edgecluster with one worker on these ports, plain and TLS; `rules` are the rest of its configuration.
    `work` is made for it alone. Its pid."""
    port, tls_port = ports
    work.mkdir()
    config = work / "edge.yaml"
    config.write_text(
        f'listen: ["http://127.0.0.1:{port}", "https://127.0.0.1:{tls_port}"]\nworkers: 1\n'
        f'tls: {{certificate: "{certificate}", key: "{key}"}}\n{rules}'
    )
    command = [sys.executable, "-m", "cluster", "start", "--config", str(config)]
    state = ["--state-dir", str(work / "state")]
    with running([*command, *state], SERVER_CORE, port, work / "edge.out") as process:
        yield process.pid


def first_line(*command: str) -> str:
    """What a command says about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def machine() -> dict[str, str]:
    """Where it was measured, and which commit."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "unknown",
    )  # fmt: skip
    return {
        "commit": first_line("git", "rev-parse", "--short", "HEAD"),
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
    }


def versions() -> dict[str, str]:
    """What was measured, for the record."""
    return {
        **machine(),
        "nginx": first_line("nginx", "-v"),
        "haproxy": first_line("haproxy", "-v").split(" - ")[0],
        "caddy": first_line("caddy", "version"),
        "openssl": ssl.OPENSSL_VERSION,
    }


def missing_programs() -> list[str]:
    """Programs the benchmark needs that are not installed."""
    return [
        name
        for name in ("nginx", "haproxy", "caddy", "wrk", "h2load", "gtlsclient", "taskset", "openssl")
        if shutil.which(name) is None
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    fields: dict[str, str]  # names in lower case
    body: bytes


def fetch(url: str, fields: dict[str, str] | None = None) -> Answer:
    """One GET, any certificate accepted."""
    context = ssl._create_unverified_context() if url.startswith("https") else None
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers=fields or {}), context=context, timeout=20
        )
    except urllib.error.HTTPError as error:  # a 304, too
        answer = error
    with answer:
        return Answer(
            answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        )


def fetch_by_quic(url: str, work: Path) -> Answer:
    """One GET over HTTP/3, by ngtcp2's client."""
    directory = work / "quic"
    directory.mkdir(exist_ok=True)
    port, _, path = url.split(":")[2].partition("/")
    command = ["gtlsclient", "--exit-on-all-streams-close", "--no-http-dump", f"--download={directory}"]
    done = subprocess.run(
        [*command, "127.0.0.1", port, url], check=True, capture_output=True, text=True, timeout=20
    )
    fields = dict(re.findall(r"\[([a-z:][a-z0-9-]*): (.*)\]$", done.stdout + done.stderr, re.MULTILINE))
    return Answer(int(fields[":status"]), fields, (directory / Path(path).name).read_bytes())


def dump(path: Path, record: object) -> None:
    """Keep a run's numbers as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
