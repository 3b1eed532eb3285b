"""The whole thing as a newcomer meets it: `run-demo`, the pages through the edge, `purge`, `stop`."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.cli.demo import PORTS
from cluster.demo.pages import BIG_BYTES
from cluster.segment import SHM, segment_name
from tests.support.ports import free_port

PATIENCE_S = 120.0


class Demo:
    """A running `run-demo` on ports of its own."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir
        ports = [f"--{name}-port={free_port()}" for name in PORTS]
        command = [sys.executable, "-m", "cluster", "run-demo", "--state-dir", str(state_dir), "--log", ""]
        self.process = subprocess.Popen(
            [*command, "--workers", "2", "--cache-memory", "64MiB", *ports, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def segment_file(self) -> Path:
        return SHM / segment_name(self.state_dir).lstrip("/")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def get(self, url: str, path: str, **fields: str) -> tuple[http.client.HTTPResponse, bytes]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.state_dir / "tls/ca.pem"))
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=PATIENCE_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        with closing(connection):
            connection.request(
                "GET", path, headers={name.replace("_", "-"): text for name, text in fields.items()}
            )
            response = connection.getresponse()
            return response, response.read()

    def verb(self, *arguments: str) -> dict[str, Any]:
        """Another command, its JSON answer."""
        command = [sys.executable, "-m", "cluster", *arguments, "--json", "--state-dir", str(self.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == answer["ok"]
        return answer

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        with self.process:
            return self.process.wait(PATIENCE_S)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "state", "--json")
    try:
        yield running
        assert running.end(signal.SIGTERM) == 0
    finally:
        running.end(signal.SIGKILL)
        running.segment_file.unlink(missing_ok=True)


def test_from_start_to_stop(demo: Demo) -> None:
    ready = json.loads(demo.line())
    assert (ready["ok"], ready["state"], ready["workers"], ready["cache_bytes"]) == (
        True,
        "ready",
        2,
        64 * 1024**2,
    )
    http_url, https_url = ready["listeners"]

    first, body = demo.get(http_url, "/page")
    second, again = demo.get(http_url, "/page")
    assert first.headers["Cache-Status"].startswith("edgecluster; fwd=uri-miss")
    assert second.headers["Cache-Status"].startswith("edgecluster; hit")
    assert int(second.headers["Age"]) >= 0
    assert body == again

    german, text = demo.get(https_url, "/language", Accept_Language="de")
    assert german.status == 200
    assert "Guten Tag" in text.decode()
    assert len(demo.get(http_url, "/big")[1]) == BIG_BYTES

    assert demo.verb("purge", f"{http_url}/page")["purged"] == {f"{http_url}/page": True}
    assert "fwd=uri-miss" in demo.get(http_url, "/page")[0].headers["Cache-Status"]
    assert demo.verb("status")["totals"]["requests"] == 5
    assert demo.verb("reload")["generation"] == 2
    assert demo.get(ready["admin"], "/readyz")[1] == b"ready\n"
    assert "hit" in demo.get(http_url, "/page")[0].headers["Cache-Status"]

    children = psutil.Process(ready["pid"]).children(recursive=True)
    assert len(children) >= 4  # two workers, the control process, the origin
    assert demo.verb("stop") == {"ok": True, "pid": ready["pid"]}
    assert demo.end() == 0
    psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not any(child.is_running() for child in children)
    assert list((demo.state_dir / "run").iterdir()) == []
    assert not demo.segment_file.exists()


def test_ctrl_c_ends_it_and_the_guide_comes_first(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "state")
    try:
        assert demo.line().startswith("ready http://127.0.0.1:")
        lines = [demo.line() for _ in range(10)]
        assert "The demo is running. Open it in a browser:\n" in lines
    finally:
        code = demo.end(signal.SIGINT)
    assert code == 0


def test_two_edges_do_not_share_a_state_directory(demo: Demo) -> None:
    ready = json.loads(demo.line())
    command = [
        sys.executable,
        "-m",
        "cluster",
        "start",
        "--to",
        "http://127.0.0.1:9",
        "--listen",
        "http://127.0.0.1:0",
    ]
    done = subprocess.run(
        [*command, "--state-dir", str(demo.state_dir)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"edgecluster: another supervisor (pid {ready['pid']}) already runs on ")
    os.kill(ready["pid"], 0)
