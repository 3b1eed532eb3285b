"""The real worker under the real supervisor: drain, reload, deaths, heartbeat, the shared cache."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import trustme

from cluster.settings import CertificateSettings
from tests.support.cluster import PATIENCE_S, Cluster, settings, wait_until, with_worker
from tests.support.late_imports import SAID
from tests.support.scripted_origin import ScriptedOrigin, answer, script
from tests.support.without_pause import without_pause
from worker.settings import LogSettings

CACHEABLE = answer(b"the page", headers="Cache-Control: max-age=600")


@pytest.fixture
def origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin(lambda _request: CACHEABLE) as origin:
        yield origin


@pytest.fixture
def edge(tmp_path: Path, origin: ScriptedOrigin) -> Iterator[Cluster]:
    with Cluster(settings(tmp_path, origin=origin.url)) as cluster:
        yield cluster


def connect(url: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=PATIENCE_S, context=context)
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)


def get(
    url: str, path: str = "/", context: ssl.SSLContext | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, fields (names in lower case) and body of one request on a connection of its own."""
    with contextlib.closing(connect(url, context)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read()


def clients(url: str, *, keep_alive: bool) -> contextlib.AbstractContextManager[list[object]]:
    """Ask without pause, on one connection as long as the edge keeps it; statuses and errors."""

    def turn(seen: list[object], done: threading.Event) -> None:
        with contextlib.closing(connect(url)) as connection:
            again = True
            while again and not done.is_set():
                try:
                    connection.request("GET", "/", headers={} if keep_alive else {"Connection": "close"})
                    response = connection.getresponse()
                    response.read()
                    seen.append(response.status)
                    again = keep_alive and not response.will_close
                except Exception as error:
                    seen.append(error)
                    again = False

    return without_pause(turn)


def serving(edge: Cluster) -> list[int]:
    """Pids of the workers that hold a client's connection."""
    port = urlsplit(edge.url).port
    return [
        pid
        for pid in edge.pids
        for c in psutil.Process(pid).net_connections("tcp")
        if c.status == psutil.CONN_ESTABLISHED and c.laddr[1] == port
    ]


def test_what_one_worker_stored_every_worker_serves(edge: Cluster, origin: ScriptedOrigin) -> None:
    assert get(edge.url)[2] == b"the page"
    for pid in edge.pids:
        os.kill(pid, signal.SIGKILL)  # nor does it matter who stored it
    for _ in range(20):
        status, fields, body = get(edge.url)
        assert (status, body) == (200, b"the page")
        assert "hit" in fields["cache-status"]
    assert len(origin.requests) == 1


@pytest.mark.parametrize("keep_alive", [False, True], ids=["connection-each", "keep-alive"])
def test_reload_drops_no_request(edge: Cluster, keep_alive: bool) -> None:
    with clients(edge.url, keep_alive=keep_alive) as seen:
        for _ in range(3):
            before = edge.pids
            assert edge.reload()["ok"]
            wait_until(lambda before=before: len(edge.workers) == 2 and not set(before) & set(edge.pids))
            reached = len(seen)
            wait_until(lambda reached=reached: len(seen) > reached + 50)
    assert set(seen) == {200}, [error for error in seen if error != 200][:5]


def test_the_cache_outlives_a_reload(edge: Cluster, origin: ScriptedOrigin) -> None:
    get(edge.url)
    assert edge.reload()["ok"]
    assert "hit" in get(edge.url)[1]["cache-status"]
    assert len(origin.requests) == 1


def test_a_stop_lets_a_fetch_under_way_finish(tmp_path: Path) -> None:
    with ScriptedOrigin(lambda _request: script("stall", answer(b"late"))) as origin:
        with Cluster(settings(tmp_path, origin=origin.url)) as edge:
            answers: list[tuple[int, dict[str, str], bytes]] = []
            thread = threading.Thread(target=lambda: answers.append(get(edge.url)))
            thread.start()
            origin.wait_for(lambda origin: len(origin.requests) == 1)
            edge.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopping" in edge.output)
            origin.release()
            assert edge.wait() == 0
            thread.join()
        assert [(status, body) for status, _, body in answers] == [(200, b"late")]


def test_what_does_not_finish_in_the_drain_timeout_is_cut(tmp_path: Path) -> None:
    with ScriptedOrigin(lambda _request: script("stall")) as origin:
        with Cluster(settings(tmp_path, origin=origin.url, drain_timeout_s=1.0)) as edge:
            with contextlib.closing(connect(edge.url)) as connection:
                connection.request("GET", "/")
                origin.wait_for(lambda origin: len(origin.requests) == 1)
                assert edge.stop() == 0
                with pytest.raises((http.client.HTTPException, ConnectionError)):
                    connection.getresponse()


def test_an_idle_connection_does_not_hold_up_a_stop(edge: Cluster) -> None:
    with contextlib.closing(connect(edge.url)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        assert edge.stop() == 0


def test_connections_of_other_workers_feel_nothing_of_a_death(edge: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(contextlib.closing(connect(edge.url))) for _ in range(8)]
        for connection in kept:
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"the page"
        victim = edge.pids[0]
        lost = serving(edge).count(victim)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in edge.pids and len(edge.pids) == 2)
        alive = 0
        for connection in kept:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                connection.request("GET", "/")
                alive += connection.getresponse().read() == b"the page"
        assert alive == 8 - lost


def connection_counts(edge: Cluster) -> tuple[int, int]:
    """Connections from clients as /metrics tells them: ever opened, open now."""
    lines = dict(line.rsplit(" ", 1) for line in get(edge.admin_url, "/metrics")[2].decode().splitlines())
    return int(lines["edgecluster_connections_total"]), int(lines["edgecluster_connections_open"])


def test_connections_are_counted_also_those_a_killed_worker_had_open(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    with (
        Cluster(settings(tmp_path, origin=origin.url, workers=1, admin=True)) as edge,
        contextlib.ExitStack() as stack,
    ):
        kept = [stack.enter_context(contextlib.closing(connect(edge.url))) for _ in range(3)]
        for connection in kept:
            connection.request("GET", "/")
            connection.getresponse().read()
        assert connection_counts(edge) == (3, 3)
        kept[0].close()
        wait_until(lambda: connection_counts(edge) == (3, 2))
        (victim,) = edge.pids
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: edge.pids and victim not in edge.pids)
        assert connection_counts(edge) == (3, 0)
        get(edge.url)
        wait_until(lambda: connection_counts(edge) == (4, 0))


def test_tls_handshakes_are_counted(tmp_path: Path, origin: ScriptedOrigin) -> None:
    with Cluster(settings(tmp_path, origin=origin.url, schemes=("https",), admin=True)) as edge:
        trust = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")
        get(edge.url, context=trust)
        assert get(edge.url.replace("https://", "http://"))[0] == 400

        def counted(what: str) -> bool:
            return f"\nedgecluster_tls_{what}_total 1\n" in get(edge.admin_url, "/metrics")[2].decode()

        wait_until(lambda: counted("handshakes") and counted("handshake_failures"))


def test_a_stopped_worker_is_replaced_while_the_other_serves(tmp_path: Path, origin: ScriptedOrigin) -> None:
    with Cluster(settings(tmp_path, origin=origin.url, heartbeat_timeout_s=2.0)) as edge:
        victim = edge.pids[0]
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: victim not in edge.pids and len(edge.pids) == 2)
        for _ in range(20):
            assert get(edge.url)[0] == 200


def test_a_worker_whose_log_cannot_be_opened_says_so_and_ends_the_start(tmp_path: Path) -> None:
    asked = with_worker(settings(tmp_path), log=LogSettings(path=str(tmp_path / "no" / "such" / "dir.log")))
    cluster = Cluster(asked)
    cluster.launch()
    try:
        assert cluster.wait() == 1
    finally:
        cluster.destroy()
    assert "Traceback" not in cluster.output
    last = cluster.output.splitlines()[-1]
    assert last.startswith("error: worker ")
    assert f"could not boot: cannot open {tmp_path}/no/such/dir.log: No such file or directory" in last


def test_a_log_that_cannot_be_reopened_stays_in_use_and_says_why(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    folder, moved = tmp_path / "log", tmp_path / "moved"
    folder.mkdir()
    log = LogSettings(path=str(folder / "access.log"))
    with Cluster(settings(tmp_path, origin=origin.url, workers=1, log=log)) as edge:
        folder.rename(moved)
        edge.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "the access log stays where it was: cannot open" in edge.output)
        assert get(edge.url, "/after")[0] == 200
    assert "Traceback" not in edge.output
    assert json.loads((moved / "access.log").read_text())["path"] == "/after"


def test_a_rotated_log_is_reopened_and_no_line_is_lost(tmp_path: Path, origin: ScriptedOrigin) -> None:
    path = tmp_path / "access.log"
    with Cluster(settings(tmp_path, origin=origin.url, log=LogSettings(path=str(path)))) as edge:
        get(edge.url, "/before")
        path.rename(tmp_path / "access.log.1")
        edge.process.send_signal(signal.SIGUSR1)
        wait_until(path.exists)
        get(edge.url, "/after")
    lines = [line for file in (tmp_path / "access.log.1", path) for line in file.read_text().splitlines()]
    assert len(lines) == 2
    assert all(json.loads(line) for line in lines)


def test_titles_and_cores(edge: Cluster) -> None:
    cores = sorted(os.sched_getaffinity(0))
    for lane, pid in enumerate(edge.pids):
        assert psutil.Process(pid).cmdline()[0] == f"edgecluster: worker {lane}"
        if len(cores) >= 2:
            assert os.sched_getaffinity(pid) == {cores[lane]}
    assert psutil.Process(edge.status["control_pid"]).cmdline()[0] == "edgecluster: control"
    assert psutil.Process(edge.process.pid).cmdline()[0] == "edgecluster: supervisor"


def test_https_is_served_with_a_certificate_of_the_local_authority(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    with Cluster(settings(tmp_path, origin=origin.url, schemes=("http", "https"))) as edge:
        trust = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")
        secure = edge.urls[1]
        assert secure.startswith("https://")
        assert get(secure, context=trust)[2] == b"the page"
        assert edge.reload()["ok"]
        assert get(secure, context=trust)[2] == b"the page"


def test_each_name_gets_its_own_certificate(tmp_path: Path, origin: ScriptedOrigin) -> None:
    authority = trustme.CA()
    pairs = []
    for name in ("a.test", "b.test"):
        leaf = authority.issue_cert(name)
        leaf.cert_chain_pems[0].write_to_path(os.fspath(tmp_path / f"{name}.pem"))
        leaf.private_key_pem.write_to_path(os.fspath(tmp_path / f"{name}.key"))
        pairs.append(CertificateSettings(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"))
    asked = settings(tmp_path, origin=origin.url, schemes=("https",), certificates=tuple(pairs))
    with Cluster(asked) as edge:
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        for name in ("a.test", "b.test"):
            plain = socket.create_connection(("127.0.0.1", urlsplit(edge.url).port), timeout=PATIENCE_S)
            with trust.wrap_socket(plain, server_hostname=name) as secure:  # verifies the name
                secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                assert secure.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_tls_session_is_resumed_with_any_worker_of_any_generation(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    with Cluster(settings(tmp_path, origin=origin.url, schemes=("https",))) as edge:
        trust = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")

        def session_of(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession, bool]:
            parts = urlsplit(edge.url)
            with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", parts.port, context=trust)) as c:
                c.connect()
                raw = c.sock
                if session is not None:
                    plain = socket.create_connection(("127.0.0.1", parts.port))
                    raw = trust.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
                with raw:
                    raw.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    while raw.recv(65536):
                        pass
                    assert raw.session is not None
                    return raw.session, bool(raw.session_reused)

        first, _ = session_of(None)
        assert all(session_of(first)[1] for _ in range(8))
        assert edge.reload()["ok"]
        wait_until(lambda: len(edge.workers) == 2)
        assert session_of(first)[1]


def ask_for_everything(url: str) -> None:
    """Codings, methods, ranges, mistakes: much of what a worker can be asked for."""
    for coding in ("gzip", "br", "zstd", "identity"):
        for _ in range(2):
            with contextlib.closing(connect(url)) as connection:
                connection.request("GET", f"/{coding}", headers={"Accept-Encoding": coding})
                assert connection.getresponse().read()
    for method, path, fields, status in (
        ("POST", "/form", {}, 200),
        ("HEAD", "/gzip", {}, 200),
        ("GET", "/identity", {"Range": "bytes=1-5"}, 206),
        ("GET", "/%00", {"Accept": "text/html"}, 400),
        ("GET", "/%00", {"Accept": "application/json"}, 400),
    ):
        with contextlib.closing(connect(url)) as connection:
            connection.request(method, path, body=b"abc" if method == "POST" else None, headers=fields)
            assert connection.getresponse().status == status


def test_a_worker_imports_nothing_after_the_fork(tmp_path: Path) -> None:
    """The user it has become may not be able to read Python's files: those of root's own home, say."""
    page = answer(b"some text " * 3000, headers=["Cache-Control: max-age=600", "Content-Type: text/html"])
    with ScriptedOrigin(lambda _request: page) as origin:
        by_name = origin.url.replace("127.0.0.1", "localhost")
        log = LogSettings(path=str(tmp_path / "access.log"))
        asked = settings(tmp_path, origin=by_name, workers=1, log=log)
        with Cluster(asked, mains=("tests.support.late_imports:main", "cluster.control:run")) as edge:
            ask_for_everything(edge.url)
    assert f"{SAID}\n" in edge.lines
