"""Active checks in a whole cluster: what the control process finds, operators see, also after it died."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from tests.support.cluster import BARE, REAL, Cluster, settings, wait_until
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from worker.settings import GroupSettings, OriginSettings, ProbeSettings

PROBE = ProbeSettings(path="/health", interval_s=0.1, timeout_s=20.0, passes=2, failures=2)


class Flipping:
    status = "200 OK"

    def __call__(self, request: Recorded) -> Step:
        return answer(b"", self.status)


class Checked:
    """A cluster before a group of two servers: one that can be made to fail, and one that always fails."""

    def __init__(self, edge: Cluster, flipping: Flipping) -> None:
        self.edge = edge
        self.flipping = flipping

    def status(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        assert main(["status", "--json", "--state-dir", str(self.edge.settings.state_dir)]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def servers(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        """Those of the group; none while the control process is away."""
        groups = self.status(capsys).get("groups", [])
        return [server for group in groups for server in group["servers"]]

    def states(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        return [server["state"] for server in self.servers(capsys)]

    def metric(self, name: str) -> dict[str, float]:
        """The samples of a metric by their labels."""
        with urllib.request.urlopen(f"{self.edge.admin_url}/metrics") as response:
            lines = response.read().decode().splitlines()
        found = (line.removeprefix(name).rsplit(" ", 1) for line in lines if line.startswith(f"{name}{{"))
        return {labels: float(value) for labels, value in found}


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Checked]:
    flipping = Flipping()
    with ScriptedOrigin(flipping) as one, ScriptedOrigin([answer(b"", "503 Busy")]) as other:
        servers = tuple(OriginSettings("http", origin.host, origin.port) for origin in (one, other))
        made = settings(tmp_path, admin=True)
        [site] = made.worker.sites
        route = replace(site.routes[0], origin=GroupSettings("app", servers, probe=PROBE))
        worker = replace(made.worker, sites=(replace(site, routes=(route,)),))
        with Cluster(replace(made, worker=worker), mains=(BARE[0], REAL[1])) as edge:
            yield Checked(edge, flipping)


def test_a_server_that_fails_its_checks_is_unhealthy_for_all_to_see(
    checked: Checked, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_until(lambda: checked.states(capsys) == ["healthy", "unhealthy"])
    [one, other] = checked.servers(capsys)
    assert (one["reason"], other["reason"]) == ("", "status 503")
    assert other["for_s"] >= 0
    labels = [f'{{group="app",server="{server["url"]}"}}' for server in (one, other)]
    assert checked.metric("edgecluster_origin_up") == {labels[0]: 1, labels[1]: 0}
    assert checked.metric("edgecluster_origin_ejections_total") == {labels[0]: 0, labels[1]: 0}

    checked.flipping.status = "500 Broken"
    wait_until(lambda: checked.states(capsys) == ["unhealthy", "unhealthy"])
    checked.flipping.status = "200 OK"
    wait_until(lambda: checked.states(capsys) == ["healthy", "unhealthy"])
    said = [line for line in checked.edge.lines if "healthy" in line]
    assert sum("is unhealthy: status 503" in line for line in said) == 1
    assert sum("is unhealthy: status 500" in line for line in said) == 1
    assert sum("is healthy again" in line for line in said) == 1


def test_the_state_outlives_the_control_process_and_a_reload(
    checked: Checked, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_until(lambda: checked.states(capsys) == ["healthy", "unhealthy"])
    before = checked.edge.status["control_pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: checked.edge.status["control_pid"] not in (None, before))
    wait_until(lambda: checked.states(capsys) == ["healthy", "unhealthy"])
    assert checked.edge.reload()["ok"]
    wait_until(lambda: checked.states(capsys) == ["healthy", "unhealthy"])
    assert sum("is unhealthy: status 503" in line for line in checked.edge.lines) == 1
