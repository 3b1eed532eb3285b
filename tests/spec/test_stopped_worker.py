"""A process that stands still, rather than dies: whoever else serves goes on, and what it held comes back."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from cluster.segment import identity
from shmcache import MEMBERS, Segment
from tests.support.client import Answer, ask
from tests.support.cluster import MIB, Cluster, settings, wait_until
from tests.support.load import KeepAliveLoad
from tests.support.native import Build
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

OBJECTS = 60
CACHE_BYTES = 64 * MIB
HOLDER = MEMBERS - 1  # as in tests/native/driver/holder.c


def body_of(path: str) -> bytes:
    return path.encode() * 100


def serve(request: Recorded) -> bytes:
    return answer(body_of(request.target), headers="Cache-Control: max-age=3600")


def port_of(edge: Cluster) -> int:
    port = urlsplit(edge.url).port
    assert port is not None
    return port


@contextmanager
def stopped_holder(build: Build, edge: Cluster) -> Iterator[Callable[[], None]]:
    """A process that stands inside a stripe; calling what is yielded kills it there."""
    file = str(edge.segment_file)
    holder = subprocess.Popen([build.driver("holder"), "hold", file, identity().hex()])
    process = psutil.Process(holder.pid)
    try:
        wait_until(lambda: holder.poll() is not None or process.status() == psutil.STATUS_STOPPED)
        assert holder.poll() is None, "it did not stop inside the stripe"
        yield holder.kill
    finally:
        holder.kill()
        holder.wait()


def reap_holder(edge: Cluster) -> None:
    """What the supervisor does for a worker of its own."""
    with edge.segment_file.open("r+b") as file:
        segment = Segment(file.fileno(), CACHE_BYTES, create=False, boot_id=identity())
    try:
        assert segment.reap(HOLDER)["skipped_stripes"] == 0
    finally:
        segment.close()


def ask_all(port: int, kind: str) -> tuple[list[Answer], float]:
    """One request after another; also the longest any answer took, seconds."""
    answers, longest_s = [], 0.0
    for number in range(OBJECTS):
        began = time.monotonic()
        answers.append(asyncio.run(ask(port, f"/{kind}/{number}")))
        longest_s = max(longest_s, time.monotonic() - began)
    assert [reply.status for reply in answers] == [200] * OBJECTS
    assert [reply.body for reply in answers] == [body_of(f"/{kind}/{number}") for number in range(OBJECTS)]
    return answers, longest_s


def hits(answers: list[Answer]) -> int:
    return sum("; hit" in reply.fields["cache-status"] for reply in answers)


def test_a_process_stopped_inside_a_stripe_costs_what_lies_there_its_place_in_the_cache_and_no_answer(
    tmp_path: Path,
) -> None:
    build = Build(tmp_path)
    with (
        ScriptedOrigin(serve) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=2, cache_bytes=CACHE_BYTES)) as edge,
    ):
        port = port_of(edge)
        ask_all(port, "known")
        with stopped_holder(build, edge) as kill:
            known, longest_known_s = ask_all(port, "known")
            _, longest_new_s = ask_all(port, "new")
            uncached = OBJECTS - hits(ask_all(port, "new")[0])
            kill()
        reap_holder(edge)
        ask_all(port, "new")
        recovered, _ = ask_all(port, "new")
        faults = edge.call("audit")["faults"]
    sys.stdout.write(f"longest hit {longest_known_s * 1e3:.1f} ms, miss {longest_new_s * 1e3:.1f} ms\n")
    assert hits(known) == OBJECTS, "reading needs no lock"
    assert 0 < uncached < OBJECTS, "one stripe of several was locked"
    assert hits(recovered) == OBJECTS
    assert faults == []


def test_a_stopped_worker_is_ended_and_only_its_own_connections_notice(tmp_path: Path) -> None:
    paths = {f"/o/{number}": body_of(f"/o/{number}") for number in range(OBJECTS)}
    with (
        ScriptedOrigin(serve) as origin,
        Cluster(
            settings(
                tmp_path / "s", origin=origin.url, workers=2, cache_bytes=CACHE_BYTES, heartbeat_timeout_s=1.0
            )
        ) as edge,
    ):
        port = port_of(edge)
        with KeepAliveLoad(port, paths, 16) as load:
            wait_until(lambda: load.report.hits > OBJECTS)
            victim = edge.pids[0]
            os.kill(victim, signal.SIGSTOP)
            wait_until(lambda: psutil.Process(victim).status() == psutil.STATUS_STOPPED)
            lost = {
                connection.raddr.port
                for connection in psutil.Process(victim).net_connections("tcp")
                if connection.raddr and connection.laddr.port == port
            }
            served = load.report.requests
            wait_until(lambda: victim not in edge.pids and len(edge.pids) == 2)
            served = load.report.requests - served
        faults = edge.call("audit")["faults"]
        assert f"(pid {victim}) hangs" in edge.output
    assert served > 0, "nobody served while it stood"
    assert lost and set(load.report.broken_ports) <= lost
    assert load.report.wrong_bodies == []
    assert load.report.bad_statuses == []
    assert faults == []
