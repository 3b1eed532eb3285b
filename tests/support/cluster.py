"""A real cluster for tests: a supervisor in its own process, on a state directory of its own.

    with Cluster(settings(tmp_path, origin="http://127.0.0.1:8081")) as edge:
        get(edge.url + "/page")

Leaving the block stops it and checks that no process, socket file, pid file or segment is left.
"""

import contextlib
import importlib
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import urlsplit

import psutil

from cluster import wire
from cluster.errors import BootError
from cluster.judges import waf_settings
from cluster.lock import run_dir, supervisor_socket
from cluster.segment import SHM, segment_name
from cluster.settings import ClusterSettings
from tests.support import patterns
from worker.settings import (
    CacheSettings,
    ListenerSettings,
    LogSettings,
    OriginSettings,
    RouteSettings,
    SiteSettings,
    WorkerSettings,
)

MIB = 1024**2
PATIENCE_S = 60.0  # for whatever must happen sooner or later on a busy machine
ROOT = Path(__file__).parents[2]

REAL = ("worker.run:main", "cluster.control:run")
BARE = ("tests.support.bare_worker:main", "tests.support.bare_worker:control")


def settings(
    state_dir: Path,
    *,
    origin: str = "http://127.0.0.1:9",
    workers: int = 2,
    schemes: tuple[str, ...] = ("http",),
    cache_bytes: int = 64 * MIB,
    admin: bool = False,
    name: str = "edgecluster",
    cache: CacheSettings | None = None,
    drain_timeout_s: float = 10.0,
    log: LogSettings | None = None,
    **cluster: Any,
) -> ClusterSettings:
    """Settings of a small edge on free loopback ports; refine them with `dataclasses.replace`."""
    parts = urlsplit(origin)
    assert parts.hostname is not None
    route = RouteSettings(
        "all",
        b"/",
        OriginSettings(parts.scheme, parts.hostname, parts.port or 80),
        cache=cache or CacheSettings(),
    )
    worker = WorkerSettings(
        listeners=tuple(ListenerSettings(scheme, "127.0.0.1", 0) for scheme in schemes),
        sites=(SiteSettings("all", (), (route,)),),
        log=log or LogSettings(path=""),
        name=name,
        drain_timeout_s=drain_timeout_s,
    )
    return ClusterSettings(
        worker=worker,
        workers=workers,
        cache_bytes=cache_bytes,
        state_dir=state_dir,
        config_path=None,
        admin=ListenerSettings("http", "127.0.0.1", 0) if admin else None,
        **cluster,
    )


def with_worker(old: ClusterSettings, **changes: Any) -> ClusterSettings:
    """`old` with other worker settings."""
    return replace(old, worker=replace(old.worker, **changes))


def wait_until(what: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first truthy answer of `what`, asked again and again."""
    until = time.monotonic() + patience_s
    while not (answer := what()):
        assert time.monotonic() < until, f"waited {patience_s} s in vain"
        time.sleep(0.02)
    return answer


class Cluster:
    """A running cluster, or the reason why it does not run."""

    def __init__(self, settings: ClusterSettings, *, mains: tuple[str, str] = REAL) -> None:
        """`mains`: module:function of the worker and of the control process."""
        self.settings = settings
        self.mains = mains
        self.lines: list[str] = []
        self.ready = ""
        self._output: queue.Queue[str | None] = queue.Queue()
        self._seen: set[int] = set()

    def start(self) -> "Cluster":
        """Start and wait for the ready line; raises AssertionError with its output when it does not come."""
        self.launch()
        while not self.ready:
            line = self._output.get(timeout=PATIENCE_S)
            assert line is not None, f"did not start, exit code {self.process.wait()}:\n{self.output}"
            if line.startswith("ready"):
                self.ready = line
        self._seen |= set(self.pids)
        return self

    def launch(self) -> None:
        """Start without waiting for anything."""
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        if waf_settings(self.settings.worker):
            patterns.lend(self.settings.state_dir)
        self.configure(self.settings)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "tests.support.cluster",
                os.fspath(self._pickle),
                *self.mains,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def configure(self, settings: ClusterSettings) -> None:
        """Put down what the next reload will load."""
        self._pickle.write_bytes(pickle.dumps(settings))

    def call(self, verb: str, *, timeout_s: float = PATIENCE_S, **args: Any) -> wire.Answer:
        """Ask the supervisor."""
        answer = wire.call(supervisor_socket(self.settings.state_dir), verb, timeout_s=timeout_s, **args)
        self._seen |= {pid for pid in _pids(answer) if pid}
        return answer

    def reload(self, settings: ClusterSettings | None = None) -> wire.Answer:
        """Reload, with other settings when given; the answer comes when it is done."""
        if settings is not None:
            self.configure(settings)
        self._seen |= set(self.pids)
        return self.call("reload")

    @property
    def status(self) -> wire.Answer:
        return self.call("status")

    @property
    def workers(self) -> list[dict[str, Any]]:
        """The workers' part of `status`: of every generation that still lives."""
        workers: list[dict[str, Any]] = self.status["workers"]
        return workers

    @property
    def pids(self) -> list[int]:
        """Pids of the workers that serve, in lane order."""
        return [worker["pid"] for worker in self.workers if worker["state"] == "ready"]

    @property
    def urls(self) -> list[str]:
        urls: list[str] = self.status["listeners"]
        return urls

    @property
    def url(self) -> str:
        """The first listener's."""
        return self.urls[0]

    @property
    def admin_url(self) -> str:
        url: str = self.status["admin"]
        return url

    @property
    def output(self) -> str:
        """All it has written so far, standard output and error."""
        return "".join(self.lines)

    def stop(self) -> int:
        """Stop by SIGTERM, check that nothing is left; the exit code."""
        with contextlib.suppress(wire.WireError):
            self._seen |= {pid for pid in _pids(self.status) if pid}
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, check that nothing is left; the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self.assert_nothing_left()
        return code

    def crash(self) -> None:
        """kill -9 the supervisor, then all it had forked; what they leave stays."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)

    def assert_nothing_left(self) -> None:
        """No process, no file in the run directory, no segment but one that is kept on purpose."""
        assert not [pid for pid in self._seen if psutil.pid_exists(pid)], self.output
        directory = run_dir(self.settings.state_dir)
        assert not directory.exists() or not list(directory.iterdir())
        assert self.segment_file.exists() == self.settings.keep_cache_on_stop

    @property
    def segment_file(self) -> Path:
        return SHM / segment_name(self.settings.state_dir).lstrip("/")

    def destroy(self) -> None:
        """End whatever still runs, without asking for more."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        self.segment_file.unlink(missing_ok=True)

    def __enter__(self) -> "Cluster":
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.destroy()
            sys.stderr.write(self.output)
        elif self.process.poll() is None:
            try:
                code = self.stop()
            finally:
                self.destroy()
            assert code == 0, self.output

    @property
    def _pickle(self) -> Path:
        return self.settings.state_dir / "settings.pickle"

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self.lines.append(line)
                self._output.put(line)
        self._output.put(None)


def _pids(status: wire.Answer) -> list[int]:
    return [worker["pid"] for worker in status.get("workers", ())] + [status.get("control_pid") or 0]


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _run(path: Path, worker_main: str, control_main: str) -> int:
    """The supervisor's process: what `edgecluster start` does, with settings from a pickle."""
    from cluster.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(levelname)s %(message)s")

    def load() -> ClusterSettings:
        loaded = pickle.loads(path.read_bytes())
        if isinstance(loaded, Exception):
            raise loaded
        assert isinstance(loaded, ClusterSettings)
        return loaded

    try:
        return Supervisor(
            load(), load, worker_main=_function(worker_main), control_main=_function(control_main)
        ).run()
    except BootError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1]), *sys.argv[2:4]))
