"""Active checks in a whole cluster: what the control process finds, the workers heed and operators see."""

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.cli import main
from tests.support.client import Answer, ask_many
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from worker.settings import CacheSettings, GroupSettings, OriginSettings, ProbeSettings

PROBE = ProbeSettings(path="/health", interval_s=0.1, timeout_s=20.0, passes=2, failures=2)


class Server:
    """What its health page says can be changed; whatever else is asked, it answers."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status

    def __call__(self, request: Recorded) -> Step:
        return answer(b"", self.status) if request.target == "/health" else answer(b"served")


class Checked:
    """A cluster before a group of three servers: one that is well, one that flips, one that always fails."""

    def __init__(self, edge: Cluster, flipping: Server, origins: list[ScriptedOrigin]) -> None:
        self.edge = edge
        self.flipping = flipping
        self.origins = origins

    def status(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        assert main(["status", "--json", "--state-dir", str(self.edge.settings.state_dir)]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def servers(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        """Those of the group; none while the control process is away."""
        groups = self.status(capsys).get("groups", [])
        return [server for group in groups for server in group["servers"]]

    def wait_for(self, capsys: pytest.CaptureFixture[str], *states: str) -> None:
        """Until the servers are in these states."""
        wait_until(lambda: [server["state"] for server in self.servers(capsys)] == list(states))

    def wait_for_line(self, words: str) -> None:
        """Until the log says so: a state is there for all to see before the line about it is."""
        wait_until(lambda: words in self.edge.output)

    def metric(self, name: str) -> list[float]:
        """The samples of a metric, in the order of the servers."""
        with urllib.request.urlopen(f"{self.edge.admin_url}/metrics") as response:
            lines = response.read().decode().splitlines()
        found = (line.removeprefix(name).rsplit(" ", 1) for line in lines if line.startswith(f"{name}{{"))
        by_labels = {labels: float(value) for labels, value in found}
        return [by_labels[f'{{group="app",server="{origin.url}"}}'] for origin in self.origins]

    def asked(self, count: int) -> list[int]:
        """How many of that many clients' requests went to each server; all are answered."""
        before = self._served()
        port = urlsplit(self.edge.url).port
        assert port is not None
        answers: list[Answer] = asyncio.run(ask_many(port, "/page", count))
        assert [one.body for one in answers] == [b"served"] * count
        return [now - then for now, then in zip(self._served(), before, strict=True)]

    def _served(self) -> list[int]:
        return [sum(one.target == "/page" for one in origin.requests) for origin in self.origins]


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Checked]:
    flipping = Server()
    with (
        ScriptedOrigin(Server()) as well,
        ScriptedOrigin(flipping) as flips,
        ScriptedOrigin(Server("503 Busy")) as fails,
    ):
        origins = [well, flips, fails]
        servers = tuple(OriginSettings("http", origin.host, origin.port) for origin in origins)
        made = settings(tmp_path, admin=True, cache=CacheSettings(enabled=False))
        [site] = made.worker.sites
        route = replace(site.routes[0], origin=GroupSettings("app", servers, probe=PROBE))
        with Cluster(with_worker(made, sites=(replace(site, routes=(route,)),))) as edge:
            yield Checked(edge, flipping, origins)


def test_a_server_that_fails_its_checks_is_asked_by_no_worker_and_all_can_see_why(
    checked: Checked, capsys: pytest.CaptureFixture[str]
) -> None:
    checked.wait_for(capsys, "healthy", "healthy", "unhealthy")
    assert [server["reason"] for server in checked.servers(capsys)] == ["", "", "status 503"]
    assert checked.servers(capsys)[2]["for_s"] >= 0
    assert checked.metric("edgecluster_origin_up") == [1, 1, 0]
    well, flips, fails = checked.asked(40)
    assert (well + flips, fails) == (40, 0)
    assert min(well, flips) >= 10

    checked.flipping.status = "500 Broken"
    checked.wait_for(capsys, "healthy", "unhealthy", "unhealthy")
    checked.wait_for_line(f"{checked.origins[1].url} is unhealthy: status 500")
    assert checked.asked(20) == [20, 0, 0]
    assert checked.metric("edgecluster_origin_up") == [1, 0, 0]

    checked.flipping.status = "200 OK"
    checked.wait_for(capsys, "healthy", "healthy", "unhealthy")
    checked.wait_for_line(f"{checked.origins[1].url} is healthy again: status 200")
    assert min(checked.asked(40)[:2]) >= 10
    assert checked.metric("edgecluster_origin_ejections_total") == [0, 0, 0]
    assert checked.edge.output.count("is unhealthy") == 2  # each change is said once


def test_where_no_check_passes_all_are_asked(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    checked.flipping.status = "500 Broken"
    checked.wait_for(capsys, "healthy", "unhealthy", "unhealthy")
    checked.origins[0].handler = Server("500 Broken")
    checked.wait_for(capsys, "unhealthy", "unhealthy", "unhealthy")
    assert min(checked.asked(40)) >= 5


def test_the_state_outlives_the_control_process_and_a_reload(
    checked: Checked, capsys: pytest.CaptureFixture[str]
) -> None:
    checked.wait_for(capsys, "healthy", "healthy", "unhealthy")
    checked.wait_for_line("is unhealthy: status 503")
    before = checked.edge.status["control_pid"]
    os.kill(before, signal.SIGKILL)
    assert checked.asked(20)[2] == 0
    wait_until(lambda: checked.edge.status["control_pid"] not in (None, before))
    checked.wait_for(capsys, "healthy", "healthy", "unhealthy")
    assert checked.edge.reload()["ok"]
    assert checked.asked(20)[2] == 0
    checked.wait_for(capsys, "healthy", "healthy", "unhealthy")
    assert checked.edge.output.count("is unhealthy: status 503") == 1
