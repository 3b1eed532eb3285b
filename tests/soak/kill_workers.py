"""Kill random workers under load; nobody else may notice. The suite runs it shortly, `scripts/soak` long.

A victim is stopped first, so that its connections can be listed while they cannot change, and then killed.
Only clients of those connections may see a break.
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.support.cluster import MIB, Cluster, settings, wait_until
from tests.support.load import KeepAliveLoad, LoadReport
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

OBJECTS = 200
CONNECTIONS = 48
WORKERS = 4


@dataclass(slots=True)
class Outcome:
    """What happened in one run."""

    kills: int = 0
    back_s: list[float] = field(default_factory=list)  # from each kill until its lane was ready again
    victims_ports: set[int] = field(default_factory=set)  # local ports of clients the victims served
    report: LoadReport = field(default_factory=LoadReport)
    audit: list[str] = field(default_factory=list)
    late_hits: int = 0  # hits among the last, undisturbed requests
    late_requests: int = 0

    @property
    def innocent_breaks(self) -> list[int]:
        """Connections that broke although their worker was not killed."""
        return [port for port in self.report.broken_ports if port not in self.victims_ports]


def body_of(number: int) -> bytes:
    """Sizes from 100 bytes to about 200 KiB, so that copied and pinned bodies both occur."""
    return (b"%06d:" % number) * (15 + (number % 20) ** 3 * 4)


def run(state_dir: Path, *, seconds: float, every_s: float, seed: int = 1) -> Outcome:
    """One run; the cluster is started and stopped here."""
    expected = {f"/o/{number}": body_of(number) for number in range(OBJECTS)}

    def handler(request: Recorded) -> bytes:
        return answer(expected[request.target], headers="Cache-Control: max-age=3600")

    outcome = Outcome()
    choose = random.Random(seed)
    with (
        ScriptedOrigin(handler) as origin,
        Cluster(
            settings(state_dir, origin=origin.url, workers=WORKERS, cache_bytes=64 * MIB, admin=True)
        ) as edge,
    ):
        port = urlsplit(edge.url).port
        assert port is not None
        with KeepAliveLoad(port, expected, CONNECTIONS) as load:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                _kill_one(edge, port, choose, outcome)
                time.sleep(every_s)
        outcome.report = load.report
        wait_until(lambda: len(edge.pids) == WORKERS)
        with KeepAliveLoad(port, expected, 8) as calm:
            time.sleep(1.0)
        outcome.late_hits, outcome.late_requests = calm.report.hits, calm.report.requests
        outcome.report.wrong_bodies += calm.report.wrong_bodies
        outcome.report.bad_statuses += calm.report.bad_statuses
        outcome.audit = edge.call("audit")["faults"]
    return outcome


def _kill_one(edge: Cluster, port: int, choose: random.Random, outcome: Outcome) -> None:
    victim = choose.choice(edge.pids)
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(victim).status() == psutil.STATUS_STOPPED)
    outcome.victims_ports |= {
        connection.raddr.port
        for connection in psutil.Process(victim).net_connections("tcp")
        if connection.raddr and connection.laddr.port == port
    }
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    outcome.kills += 1
    wait_until(lambda: victim not in edge.pids and len(edge.pids) == WORKERS)
    outcome.back_s.append(time.monotonic() - began)
