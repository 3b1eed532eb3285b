"""A whole edge in front of an origin whose paths are scripts, for what happens around a tunnel."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil

from cluster.settings import ClusterSettings
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step
from worker.settings import LogSettings, OriginSettings, SiteSettings


@dataclass
class TunnelEdge:
    """Two workers in front of an origin whose paths are scripts."""

    cluster: Cluster
    origin: ScriptedOrigin
    log: Path
    scripts: dict[str, Step]

    def script(self, step: Step, prefix: str = "/") -> str:
        """A new path that is answered by `step`."""
        path = f"{prefix}{len(self.scripts)}"
        self.scripts[path] = step
        return path

    def asked(self, path: str) -> list[Recorded]:
        return [request for request in self.origin.requests if request.target == path]

    def logged(self, path: str) -> dict[str, object]:
        """The log line of the one request for `path`."""

        def find() -> dict[str, object] | None:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            found = [entry for entry in map(json.loads, lines) if entry.get("path") == path]
            return found[0] if found else None

        line: dict[str, object] = wait_until(find)
        return line

    def port(self, scheme: str = "http") -> int:
        port = next(urlsplit(url).port for url in self.cluster.urls if url.startswith(f"{scheme}:"))
        assert port is not None
        return port

    def metrics(self) -> dict[str, float]:
        with urlopen(f"{self.cluster.admin_url}/metrics") as response:
            lines = response.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if "#" not in line)
        }

    def resident_bytes(self) -> int:
        return sum(psutil.Process(pid).memory_info().rss for pid in self.cluster.pids)


@contextmanager
def tunnel_edge(directory: Path) -> Iterator[TunnelEdge]:
    """Every protocol on both schemes; routes with a short idle timeout, with no upgrade, with another one."""
    scripts: dict[str, Step] = {}
    log = directory / "access.log"
    with ExitStack() as stack:
        origin = stack.enter_context(ScriptedOrigin(lambda request: scripts[request.target]))
        made = settings(directory / "state", origin=origin.url, admin=True, schemes=("http", "https"))
        made = with_worker(made, http2_plain=True)
        cluster = stack.enter_context(Cluster(_with_routes(made, log)))
        yield TunnelEdge(cluster, origin, log, scripts)


def settled(number: Callable[[], int]) -> None:
    """Wait until `number` has stopped growing."""
    last = [-1] * 5

    def has_stopped() -> bool:
        last.append(number())
        return len(set(last[-6:])) == 1 and last[-1] > 0

    wait_until(lambda: time.sleep(0.08) or has_stopped())


def _with_routes(made: ClusterSettings, log: Path) -> ClusterSettings:
    (route,) = made.worker.sites[0].routes
    assert isinstance(route.origin, OriginSettings)
    routes = (
        route,
        replace(
            route, name="idle", prefix=b"/idle/", origin=replace(route.origin, tunnel_idle_timeout_s=0.5)
        ),
        replace(route, name="none", prefix=b"/none/", upgrade=()),
        replace(route, name="chat", prefix=b"/chat/", upgrade=(b"chat",)),
    )
    return with_worker(made, sites=(SiteSettings("all", (), routes),), log=LogSettings(path=str(log)))
