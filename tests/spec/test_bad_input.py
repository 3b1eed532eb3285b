"""What cannot work, whoever brings it: the right message, status or exit code, and the edge serves on."""

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.segment import SHM, segment_name
from tests.spec.test_shared_hits import port_of
from tests.support.cluster import PATIENCE_S, ROOT, Cluster, settings, with_worker
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from worker.settings import Limits

GOOD = b"GET / HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n"
HEADER_TIMEOUT_S = 2.0


# --- the operator's mistakes -------------------------------------------------------------------------


def start(folder: Path, config: str) -> tuple[int, str]:
    """`edgecluster start` with a file it must refuse: exit code and standard error. Nothing may be left."""
    (folder / "edge.yaml").write_text(config)
    state_dir = folder / "state"
    command = ["start", "--config", "edge.yaml", "--state-dir", os.fspath(state_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "cluster", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (SHM / segment_name(state_dir).lstrip("/")).exists()
    assert not list((state_dir / "run").glob("*.sock"))
    return done.returncode, done.stderr


def test_an_unknown_key(tmp_path: Path) -> None:
    code, said = start(tmp_path, "sites:\n  - orgin: http://127.0.0.1:9\n")
    assert code == 2
    assert "edge.yaml:2:5: unknown key 'orgin' in 'sites[0]'; did you mean 'origin'?" in said


def test_a_value_of_the_wrong_type(tmp_path: Path) -> None:
    code, said = start(tmp_path, "workers: many\nsites:\n  - origin: http://127.0.0.1:9\n")
    assert code == 2
    assert "edge.yaml:1:10: bad value 'many' for 'workers' (expects auto or a whole number" in said


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, said = start(tmp_path, f"listen: {address}\nsites:\n  - origin: http://127.0.0.1:9\n")
    assert code == 1
    assert said.startswith(f"edgecluster: cannot listen on {address}: the port is in use by ")
    assert f"(pid {os.getpid()})" in said


def test_a_missing_certificate(tmp_path: Path) -> None:
    code, said = start(
        tmp_path,
        "listen: https://127.0.0.1:0\ntls: { certificate: none.pem, key: none.key }\n"
        "sites:\n  - origin: http://127.0.0.1:9\n",
    )
    assert code == 1
    assert f"{tmp_path}/none.pem: No such file or directory" in said


def test_a_cache_larger_than_the_memory_there_is(tmp_path: Path) -> None:
    code, said = start(
        tmp_path,
        "listen: http://127.0.0.1:0\ncache: { memory: 64TiB }\nsites:\n  - origin: http://127.0.0.1:9\n",
    )
    assert code == 1
    assert f"no memory for the cache: {64 * 1024**4} bytes" in said
    assert "choose a smaller cache memory or enlarge /dev/shm" in said


def test_a_log_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    code, said = start(
        tmp_path,
        "listen: http://127.0.0.1:0\nlog: { path: none/access.log }\ncache: { memory: 8MiB }\n"
        "sites:\n  - origin: http://127.0.0.1:9\n",
    )
    assert code == 1
    assert f"cannot open {tmp_path}/none/access.log: No such file or directory" in said.splitlines()[-1]


# --- the client's ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin(lambda _request: answer(b"fine", headers="Cache-Control: no-store")) as origin:
        yield origin


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, origin: ScriptedOrigin) -> Iterator[Cluster]:
    """An edge that is impatient with slow clients."""
    base = settings(tmp_path_factory.mktemp("edge"), origin=origin.url)
    impatient = replace(Limits(), header_timeout_s=HEADER_TIMEOUT_S)
    with Cluster(with_worker(base, limits=impatient)) as edge:
        yield edge
        assert all(worker["restarts"] == 0 for worker in edge.workers)
        assert "Traceback" not in edge.output


def talk(edge: Cluster, send: bytes | Callable[[socket.socket], None]) -> bytes:
    """All the edge has to say on a connection, until it ends it."""
    with socket.create_connection(("127.0.0.1", port_of(edge)), timeout=PATIENCE_S) as client:
        said = b""
        try:
            if isinstance(send, bytes):
                client.sendall(send)
            else:
                send(client)
            while piece := client.recv(65536):
                said += piece
        except ConnectionError:  # it does not read what comes behind what it has refused
            pass
        return said


def head(said: bytes) -> tuple[int, dict[str, str]]:
    """Status and fields (names in lower case) of the only answer there is."""
    lines = said.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 ")
    assert said.count(b"HTTP/1.1 ") == 1
    named = (line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), {name.lower(): value for name, value in named}


REFUSED = [
    pytest.param(random.Random(1).randbytes(4096) + b"\r\n\r\n", 400, id="garbage"),
    pytest.param(bytes.fromhex("16030100a5010000a10303") + bytes(154), 400, id="TLS on a plain port"),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: edge.test\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", 431,
        id="100 KB field",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: edge.test\r\n" + b"X-Many: 0123456789\r\n" * 5000 + b"\r\n", 431,
        id="100 KB of fields",
    ),
    pytest.param(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: edge.test\r\n\r\n", 414, id="100 KB line"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n" + GOOD, 400, id="CL and TE",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400,
        id="two lengths",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_what_is_no_request_is_refused_and_reaches_no_origin(
    edge: Cluster, origin: ScriptedOrigin, sent: bytes, status: int
) -> None:
    before = len(origin.requests)
    got, fields = head(talk(edge, sent))
    assert got == status
    assert fields["connection"] == "close"
    assert len(fields["x-request-id"]) == 32
    assert len(origin.requests) == before
    assert head(talk(edge, GOOD))[0] == 200


def test_a_header_that_comes_byte_by_byte_is_given_up(edge: Cluster) -> None:
    def drip(client: socket.socket) -> None:
        """A byte a second, as long as the edge listens."""
        answered = threading.Event()

        def send() -> None:
            for number in range(len(GOOD)):
                client.send(GOOD[number : number + 1])
                if answered.wait(1):
                    return

        thread = threading.Thread(target=send)
        thread.start()
        try:
            client.recv(1, socket.MSG_PEEK)
        finally:
            answered.set()
            thread.join()

    status, fields = head(talk(edge, drip))
    assert status == 408
    assert fields["connection"] == "close"
    assert head(talk(edge, GOOD))[0] == 200


# --- the origin's ------------------------------------------------------------------------------------


def test_an_origin_that_does_not_answer_is_named_as_the_one_who_failed(tmp_path: Path) -> None:
    port = free_port()
    with Cluster(settings(tmp_path, origin=f"http://127.0.0.1:{port}")) as edge:
        said = talk(edge, GOOD.replace(b"Connection", b"Accept: text/html\r\nConnection"))
    status, fields = head(said)
    assert status == 502
    assert fields["proxy-status"] == "edgecluster; error=connection_refused"
    assert fields["content-type"].startswith("text/html")
    assert fields["cache-control"] == "no-store"
    page = said.partition(b"\r\n\r\n")[2].decode()
    assert fields["x-request-id"] in page
    assert str(port) not in page
    assert "Traceback" not in page
