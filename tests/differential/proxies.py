"""The proxies compared: edgecluster, nginx, Varnish and Apache Traffic Server in front of one origin.

Each runs in a directory of its own on free loopback ports, as whoever starts it, and is ended by pid. Their
configurations ask them to honour what they can: only what is said here differs from Debian's defaults.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.cluster import Cluster, settings, wait_until
from tests.support.ports import free_port

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """One running proxy."""

    name: str
    port: int


@contextlib.contextmanager
def running(
    command: list[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """`command` until the block ends, once it listens on `port`; else RuntimeError with its words."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env={**os.environ, "PATH": path, **(environment or {})}
        )
    try:
        _wait_listening(port, process, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}:\n{log.read_text()}")


@contextlib.contextmanager
def edgecluster(work: Path, origin_port: int) -> Iterator[Proxy]:
    """Two workers, every setting at its default."""
    with Cluster(settings(work / "edgecluster", origin=f"http://127.0.0.1:{origin_port}", workers=2)) as edge:
        wait_until(lambda: len(edge.pids) == 2)
        port = urlsplit(edge.url).port
        assert port is not None
        yield Proxy("edgecluster", port)


@contextlib.contextmanager
def nginx(work: Path, origin_port: int) -> Iterator[Proxy]:
    """proxy_cache that validates, serves stale where fields allow it, and heeds requests' Cache-Control.

    RFC 9111 3.5 is put in words of nginx: an answer to an authorised request is stored only by permission.
    """
    port = free_port()
    config = work / "nginx.conf"
    config.write_text(f"""
daemon off; pid {work}/nginx.pid; error_log {work}/nginx.err; worker_processes 2;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-temp;
  fastcgi_temp_path {work}/nginx-f; uwsgi_temp_path {work}/nginx-u; scgi_temp_path {work}/nginx-s;
  proxy_cache_path {work}/nginx-cache keys_zone=c:16m levels=1:2 inactive=1h use_temp_path=off;
  map $http_cache_control $asks_anew {{
    default 0; "~*no-cache" 1; "~*no-store" 1; "~*max-age=0" 1; "" $pragma;
  }}
  map $http_pragma $pragma {{ default 0; "~*no-cache" 1; }}
  map $http_cache_control $asks_no_store {{ default 0; "~*no-store" 1; }}
  map $upstream_http_cache_control $may_share {{
    default 0; "~*public" 1; "~*s-maxage" 1; "~*must-revalidate" 1;
  }}
  map "$may_share$http_authorization" $not_shared {{ default 0; "~^0." 1; }}
  upstream o {{ server 127.0.0.1:{origin_port} max_fails=0; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://o; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_cache c; proxy_cache_revalidate on; proxy_cache_background_update on;
      proxy_cache_bypass $asks_anew; proxy_no_cache $asks_no_store $not_shared;
    }}
  }}
}}
""")
    with running(["nginx", "-c", str(config)], port, work / "nginx.out"):
        yield Proxy("nginx", port)


@contextlib.contextmanager
def varnish(work: Path, origin_port: int) -> Iterator[Proxy]:
    """The built-in rules, but for cookies: those of a request are no obstacle, as Vary tells what they do.

    No grace and no lifetime where the origin names none; stale responses are kept to be validated. It
    does not rewrite Accept-Encoding.
    """
    port = free_port()
    vcl = work / "varnish.vcl"
    vcl.write_text(f"""vcl 4.1;
backend o {{ .host = "127.0.0.1"; .port = "{origin_port}"; }}
sub vcl_req_cookie {{ return; }}
""")
    command = ["varnishd", "-F", "-n", str(work / "varnish"), "-f", str(vcl), "-a", f"127.0.0.1:{port}"]
    command += ["-s", "malloc,64M", "-t", "0", "-p", "default_grace=0", "-p", "default_keep=3600"]
    command += ["-p", "thread_pool_min=20", "-j", "none", "-p", "shortlived=0", "-p", "http_gzip_support=off"]
    with running(command, port, work / "varnish.out"):
        yield Proxy("varnish", port)


@contextlib.contextmanager
def traffic_server(work: Path, origin_port: int) -> Iterator[Proxy]:
    """Heeds requests' directives, compares what Vary names literally, guesses lifetimes by Last-Modified."""
    port = free_port()
    root = work / "trafficserver"
    config = root / "etc"
    for name in ("etc", "run", "log", "cache"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (config / "records.config").write_text(f"""
CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 2
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.http.cache.http INT 1
CONFIG proxy.config.http.cache.required_headers INT 1
CONFIG proxy.config.http.cache.ignore_client_no_cache INT 0
CONFIG proxy.config.http.cache.ignore_client_cc_max_age INT 0
CONFIG proxy.config.http.cache.ignore_accept_mismatch INT 0
CONFIG proxy.config.http.cache.ignore_accept_language_mismatch INT 0
CONFIG proxy.config.http.cache.ignore_accept_encoding_mismatch INT 0
CONFIG proxy.config.http.cache.ignore_accept_charset_mismatch INT 0
CONFIG proxy.config.http.normalize_ae INT 0
CONFIG proxy.config.http.connect_attempts_max_retries INT 0
CONFIG proxy.config.http.negative_caching_enabled INT 0
CONFIG proxy.config.crash_log_helper STRING NULL
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
""")
    (config / "remap.config").write_text(f"map / http://127.0.0.1:{origin_port}/\n")
    (config / "storage.config").write_text(f"{root}/cache 64M\n")
    for name in ("plugin.config", "ip_allow.yaml", "logging.yaml", "cache.config", "hosting.config"):
        (config / name).write_text("")
    (config / "ip_allow.yaml").write_text(
        "ip_allow:\n  - {apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL}\n"
    )
    layout = {"prefix": "/usr", "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/sbin"}
    layout |= {"libdir": "/usr/lib/trafficserver", "libexecdir": "/usr/lib/trafficserver/modules"}
    layout |= {"includedir": "/usr/include", "sysconfdir": str(config), "datadir": "/etc/trafficserver"}
    layout |= {"localstatedir": str(root / "run"), "runtimedir": str(root / "run")}
    layout |= {"logdir": str(root / "log"), "cachedir": str(root / "cache")}
    runroot = root / "runroot.yaml"
    runroot.write_text("".join(f"{name}: {value}\n" for name, value in layout.items()))
    with running(["traffic_server", f"--run-root={runroot}"], port, work / "trafficserver.out"):
        yield Proxy("trafficserver", port)


PROXIES: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[Proxy]]] = {
    "edgecluster": edgecluster,
    "nginx": nginx,
    "varnish": varnish,
    "trafficserver": traffic_server,
}
