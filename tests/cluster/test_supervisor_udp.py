"""UDP over a bare worker: who gets a datagram, and by which way, while workers come and go."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import BARE, PATIENCE_S, Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from worker.settings import ListenerSettings

LINGERING = "lingers"  # a bare worker of that name drains until it is told to hurry


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Cluster]:
    made = settings(tmp_path, schemes=("http", "https"), workers=2, name=LINGERING, drain_timeout_s=60.0)
    with Cluster(made, mains=BARE) as cluster:
        yield cluster
        hurry(cluster)


def hurry(edge: Cluster) -> None:
    """Let the draining workers of old generations go, so that a stop need not wait for them."""
    for worker in edge.workers:
        if worker["state"] in ("draining", "ready"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGUSR2)


def packet(lane: int, member: int) -> bytes:
    """As one with a short header whose connection ID names lane and member."""
    return bytes((0x40, lane, member)) + os.urandom(40)


def ask(edge: Cluster, lane: int, member: int, port: int | None = None) -> dict[str, Any]:
    """Send a packet, again and again as QUIC would, until somebody answers."""
    port = port or urlsplit(edge.urls[1]).port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)

        def try_once() -> dict[str, Any] | None:
            client.sendto(packet(lane, member), ("127.0.0.1", port))
            with contextlib.suppress(TimeoutError):
                answer: dict[str, Any] = json.loads(client.recv(2048))
                return answer
            return None

        answer: dict[str, Any] = wait_until(try_once, PATIENCE_S)
        return answer


def by_lane(edge: Cluster, state: str = "ready") -> dict[int, dict[str, Any]]:
    return {worker["lane"]: worker for worker in edge.workers if worker["state"] == state}


def assert_reached(edge: Cluster, worker: dict[str, Any], port: int | None = None) -> None:
    answer = ask(edge, worker["lane"], worker["member"], port)
    assert (answer["pid"], answer["way"]) == (worker["pid"], "inbox")


def test_status_and_the_ready_line_name_the_udp_addresses(edge: Cluster) -> None:
    address = edge.urls[1].removeprefix("https://")
    assert edge.status["http3"] == [address]
    assert f" | http/3 by udp {address} | " in edge.ready


def test_without_http3_there_is_no_udp_socket_and_no_inbox(tmp_path: Path) -> None:
    listener = ListenerSettings("https", "127.0.0.1", free_port())
    made = with_worker(settings(tmp_path), listeners=(listener,), http3=False)
    with Cluster(made, mains=BARE) as edge:
        assert edge.status["http3"] == []
        assert "http/3" not in edge.ready
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", listener.port))
        assert _datagram_sockets(edge.process.pid) == 0


def test_a_worker_has_its_own_inbox_and_the_way_into_all_others(edge: Cluster) -> None:
    pairs = 62
    assert _datagram_sockets(edge.process.pid) == 2 * pairs
    assert [_datagram_sockets(pid) for pid in edge.pids] == [1 + pairs] * 2
    control = edge.status["control_pid"]
    assert _datagram_sockets(control) == 0


def _datagram_sockets(pid: int) -> int:
    """Unix datagram sockets that process has open."""
    table = Path("/proc/net/unix").read_text().splitlines()[1:]
    inodes = {line.split()[6] for line in table if line.split()[4] == "0002"}
    names = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    found = [re.fullmatch(r"socket:\[(\d+)\]", name) for name in names]
    return sum(match is not None and match[1] in inodes for match in found)


def test_a_packet_goes_to_the_lane_and_the_member_it_names(edge: Cluster) -> None:
    workers = by_lane(edge)
    for lane, worker in workers.items():
        assert_reached(edge, worker)
        other = workers[1 - lane]
        assert ask(edge, lane, other["member"])["pid"] == other["pid"]
    assert len({ask(edge, lane, 0)["secret"] for lane in (0, 1)}) == 1


def test_packets_of_a_killed_worker_find_its_successor_which_is_not_who_they_name(edge: Cluster) -> None:
    dead = by_lane(edge)[1]
    secret = ask(edge, 1, dead["member"])["secret"]
    os.kill(dead["pid"], signal.SIGKILL)
    wait_until(lambda: by_lane(edge).get(1, dead)["pid"] != dead["pid"])
    successor = by_lane(edge)[1]
    answer = ask(edge, 1, dead["member"])
    assert (answer["pid"], answer["way"]) == (successor["pid"], "nobody's")
    assert answer["secret"] == secret
    assert_reached(edge, successor)


def test_after_a_reload_the_old_generation_is_reached_through_the_new(edge: Cluster) -> None:
    old = by_lane(edge)
    edge.reload()
    assert set(by_lane(edge, "draining")) == {0, 1}
    for worker in (*old.values(), *by_lane(edge).values()):
        assert_reached(edge, worker)


@pytest.mark.parametrize("workers", [1, 4])
def test_after_a_reload_with_fewer_or_more_workers_everybody_is_reached(edge: Cluster, workers: int) -> None:
    old = by_lane(edge)
    edge.reload(replace(edge.settings, workers=workers))
    wait_until(lambda: set(by_lane(edge, "draining")) == {0, 1})
    now = by_lane(edge)
    assert len(now) == workers
    for worker in (*old.values(), *now.values()):
        assert_reached(edge, worker)


def test_lanes_that_go_and_come_back_while_their_old_workers_drain_are_in_place(edge: Cluster) -> None:
    old = by_lane(edge)
    for workers in (1, 3):
        edge.reload(replace(edge.settings, workers=workers))
        wait_until(lambda: not any(worker["state"] == "leaving" for worker in edge.workers))
    for worker in (*old.values(), *by_lane(edge).values()):
        assert_reached(edge, worker)
    reached = {ask(edge, lane, worker["member"])["lane"] for lane, worker in by_lane(edge).items()}
    assert reached == {0, 1, 2}


def test_a_listener_that_went_is_read_by_its_old_workers_until_they_end(edge: Cluster) -> None:
    old = by_lane(edge)
    port = urlsplit(edge.urls[1]).port
    listeners = edge.settings.worker.listeners
    edge.reload(with_worker(edge.settings, listeners=listeners[:1]))
    assert edge.status["http3"] == []
    for worker in old.values():
        assert_reached(edge, worker, port)
    hurry(edge)
    wait_until(lambda: not by_lane(edge, "draining"))
    wait_until(lambda: _is_free(port or 0))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free, contextlib.suppress(OSError):
        free.bind(("127.0.0.1", port))
        return True
    return False


def test_http3_is_switched_off_and_on_by_reloads(edge: Cluster) -> None:
    listeners = edge.urls
    edge.reload(with_worker(edge.settings, http3=False))
    assert (edge.status["http3"], edge.urls) == ([], listeners)
    edge.reload(edge.settings)
    assert edge.status["http3"] == [listeners[1].removeprefix("https://")]
    for worker in by_lane(edge).values():
        assert_reached(edge, worker)


def test_a_failed_reload_leaves_the_running_generation_its_sockets(edge: Cluster) -> None:
    workers = by_lane(edge)
    failing = with_worker(replace(edge.settings, workers=3), name="cannot-boot-1")
    assert not edge.reload(failing)["ok"]
    for worker in workers.values():
        assert_reached(edge, worker)
    edge.configure(edge.settings)


def test_a_start_after_a_killed_supervisor_gets_the_ports_that_its_draining_workers_hold(
    tmp_path: Path,
) -> None:
    port = free_port()
    listeners = (ListenerSettings("https", "127.0.0.1", port),)
    made = with_worker(settings(tmp_path, name=LINGERING, drain_timeout_s=60.0), listeners=listeners)
    first = Cluster(made, mains=BARE).start()
    try:
        first.process.kill()
        first.process.wait()
        assert not _is_free(port)
        with Cluster(made, mains=BARE) as second:
            assert "killing those that have not finished" in second.output
            assert second.status["cache_start"] == "warm"
            assert ask(second, 0, 0, port)["pid"] in second.pids
            hurry(second)
    finally:
        first.destroy()


def test_a_udp_port_that_is_taken_refuses_the_start(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        made = settings(tmp_path, schemes=("https",))
        listeners = tuple(replace(one, port=port) for one in made.worker.listeners)
        cluster = Cluster(with_worker(made, listeners=listeners), mains=BARE)
        cluster.launch()
        try:
            assert cluster.wait() == 1
        finally:
            cluster.destroy()
    assert f"cannot listen on https://127.0.0.1:{port} for HTTP/3 (UDP port {port})" in cluster.output
    assert "Traceback" not in cluster.output
