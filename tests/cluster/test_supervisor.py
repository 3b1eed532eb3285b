"""The supervisor over a bare worker: start, respawn, watchdog, stop, and every refused start."""

import http.client
import os
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from cluster import wire
from cluster.lock import run_dir, running_pid, supervisor_socket
from cluster.segment import SHM
from cluster.settings import CertificateSettings
from tests.support.bare_clients import ask
from tests.support.bare_worker import failing_control
from tests.support.cluster import BARE, PATIENCE_S, Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from tests.support.segments import regions_of
from worker.settings import ListenerSettings


def refused(cluster: Cluster) -> str:
    """Start what must not start; its output. Nothing may be left behind, and the exit code must say so."""
    cluster.launch()
    try:
        assert cluster.wait() == 1, cluster.output
    finally:
        cluster.destroy()
    assert "Traceback" not in cluster.output
    return cluster.output


# --- start and stop ----------------------------------------------------------------------------------


def test_the_ready_line_names_addresses_workers_cache_and_config(tmp_path: Path) -> None:
    asked = replace(settings(tmp_path, admin=True), config_path=Path("/etc/edge.yaml"))
    with Cluster(asked, mains=BARE) as edge:
        ready = (
            f"ready {edge.url} | admin {edge.admin_url} | workers 2 | cache 64 MiB | config /etc/edge.yaml\n"
        )
        assert edge.ready == ready
        assert edge.output.count("\nready") + edge.output.startswith("ready") == 1


def test_every_lane_answers_on_the_same_port(edge: Cluster) -> None:
    lanes: set[int] = set()
    wait_until(lambda: lanes.add(ask(edge.url)["lane"]) or lanes == {0, 1})


def test_status_tells_who_runs(edge: Cluster) -> None:
    status = edge.status
    assert status["pid"] == edge.process.pid
    assert [(w["lane"], w["state"], w["restarts"]) for w in status["workers"]] == [
        (0, "ready", 0),
        (1, "ready", 0),
    ]
    assert {ask(edge.url)["pid"] for _ in range(20)} <= set(edge.pids)
    assert psutil.pid_exists(status["control_pid"])
    assert status["cache_bytes"] == edge.segment_file.stat().st_size
    assert edge.call("ping") == {"ok": True, "pid": edge.process.pid}


def test_run_files_are_private(edge: Cluster) -> None:
    assert supervisor_socket(edge.settings.state_dir).stat().st_mode & 0o777 == 0o600
    assert run_dir(edge.settings.state_dir).stat().st_mode & 0o777 == 0o700
    assert edge.segment_file.stat().st_mode & 0o777 == 0o600


def test_the_stop_verb_ends_everything(edge: Cluster) -> None:
    assert running_pid(edge.settings.state_dir) == edge.process.pid
    assert edge.call("stop")["ok"]
    assert edge.wait() == 0
    assert running_pid(edge.settings.state_dir) is None


def test_a_stop_lets_a_request_under_way_finish(edge: Cluster) -> None:
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(ask(edge.url, "/slow")))
    lines = len(psutil.Process(edge.process.pid).children())
    assert lines == 3
    thread.start()
    wait_until(lambda: any(_established(pid) for pid in edge.pids))
    assert edge.stop() == 0
    thread.join()
    assert len(answers) == 1


def _established(pid: int) -> bool:
    return any(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(pid).net_connections("tcp"))


def test_a_second_sigterm_kills_at_once(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path, drain_timeout_s=600), mains=BARE) as edge:
        parts = urlsplit(edge.url)
        with socket.create_connection((parts.hostname, parts.port)) as idle:
            idle.sendall(b"GET /")  # the bare worker waits for the rest for ever
            wait_until(lambda: any(_established(pid) for pid in edge.pids))
            edge.process.send_signal(signal.SIGTERM)
            wait_until(lambda: edge.process.poll() is not None or edge.process.send_signal(signal.SIGINT))
            assert edge.wait() == 1


def test_a_signal_to_the_whole_group_drains_once(edge: Cluster) -> None:
    for pid in edge.pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    assert ask(edge.url)["pid"] in edge.pids
    assert all(worker["restarts"] == 0 for worker in edge.workers)


def test_sigusr1_reaches_every_worker(edge: Cluster) -> None:
    edge.process.send_signal(signal.SIGUSR1)
    for pid in edge.pids:
        wait_until(lambda pid=pid: f"reopened by {pid}\n" in edge.output)


def test_audit_finds_nothing_in_a_sound_segment_and_damage_in_a_damaged_one(edge: Cluster) -> None:
    assert edge.call("audit") == {"ok": True, "faults": []}
    with edge.segment_file.open("r+b") as segment:
        segment.seek(regions_of(segment.read(4096))["SLOTS"])
        segment.write(struct.pack("<Q", 1))  # a slot that leads nowhere
    answer = edge.call("audit")
    assert answer["ok"]
    assert answer["faults"]


# --- starts that are refused -------------------------------------------------------------------------


def test_a_second_supervisor_is_refused_naming_the_first(edge: Cluster) -> None:
    second = Cluster(edge.settings, mains=BARE)
    second.launch()
    assert second.process.wait(PATIENCE_S) == 1
    second._reader.join()
    assert (
        f"another supervisor (pid {edge.process.pid}) already runs on {edge.settings.state_dir}"
        in second.output
    )
    assert ask(edge.url)["pid"] in edge.pids
    assert edge.segment_file.exists()


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "reuseport"])
def test_a_port_in_use_is_refused_naming_who_holds_it(tmp_path: Path, shared: bool) -> None:
    with socket.socket() as taken:
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listener = ListenerSettings("http", "127.0.0.1", taken.getsockname()[1])
        output = refused(Cluster(with_worker(settings(tmp_path), listeners=(listener,)), mains=BARE))
        assert f"cannot listen on {listener.url}: the port is in use by" in output
        assert f"(pid {os.getpid()})" in output


def test_a_busy_admin_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = ListenerSettings("http", "127.0.0.1", taken.getsockname()[1])
        output = refused(Cluster(replace(settings(tmp_path), admin=admin), mains=BARE))
    assert f"cannot listen on {admin.url}" in output


def test_a_segment_larger_than_shared_memory_is_refused_with_what_there_is(tmp_path: Path) -> None:
    asked = os.statvfs(SHM).f_blocks * os.statvfs(SHM).f_frsize + 1024**3
    output = refused(Cluster(settings(tmp_path, cache_bytes=asked), mains=BARE))
    assert f"no memory for the cache: {asked} bytes" in output
    assert "available in /dev/shm" in output


def test_a_segment_too_small_to_lay_out_is_refused(tmp_path: Path) -> None:
    output = refused(Cluster(settings(tmp_path, cache_bytes=4096), mains=BARE))
    assert "error: the cache of 4096 bytes cannot be laid out" in output


def test_a_missing_certificate_is_refused(tmp_path: Path) -> None:
    missing = CertificateSettings(tmp_path / "none.pem", tmp_path / "none.key")
    asked = replace(settings(tmp_path, schemes=("https",)), certificates=(missing,))
    assert f"cannot read the certificate {tmp_path}/none.pem" in refused(Cluster(asked, mains=BARE))


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    cluster = Cluster(settings(tmp_path), mains=BARE)
    cluster.launch()
    assert cluster.process.wait(PATIENCE_S) == 1
    cluster.destroy()
    assert "cannot use the state directory" in cluster.output


def test_a_state_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    assert "path is too long" in refused(Cluster(settings(tmp_path / ("long" * 30)), mains=BARE))


def test_an_unknown_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root changes users")
    assert "'no-such-user'" in refused(Cluster(settings(tmp_path, user="no-such-user"), mains=BARE))


def test_a_worker_that_cannot_boot_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    output = refused(Cluster(settings(tmp_path, name="cannot-boot-1"), mains=BARE))
    assert "error: worker 1 could not boot: as the test wants it" in output


# --- deaths ------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_the_others_feel_nothing(edge: Cluster) -> None:
    slow: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: slow.append(ask(edge.url, "/slow")))
    thread.start()
    busy = wait_until(lambda: [pid for pid in edge.pids if _established(pid)])[0]
    before = edge.pids
    victim = next(pid for pid in before if pid != busy)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in edge.pids and len(edge.pids) == 2)
    thread.join()
    assert slow[0]["pid"] == busy
    lane = before.index(victim)
    assert [worker["restarts"] for worker in edge.workers] == [int(lane == 0), int(lane == 1)]


def test_connections_that_wait_in_a_dead_workers_queue_find_its_successor(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path, workers=1), mains=BARE) as edge:
        (victim,) = edge.pids
        os.kill(victim, signal.SIGSTOP)
        answers: list[dict[str, Any]] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(edge.url))) for _ in range(5)]
        for thread in threads:
            thread.start()
        port = urlsplit(edge.url).port
        wait_until(lambda: len(_connected_to(port)) == 5)
        os.kill(victim, signal.SIGKILL)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(answers) == 5
        assert victim not in {answer["pid"] for answer in answers}


def _connected_to(port: int | None) -> list[object]:
    mine = psutil.Process().net_connections("tcp")
    return [c for c in mine if c.raddr and c.raddr[1] == port and c.status == psutil.CONN_ESTABLISHED]


def test_a_worker_killed_again_and_again_comes_back_each_time(edge: Cluster) -> None:
    for _ in range(5):
        victim = wait_until(lambda: edge.pids)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: len(edge.pids) == 2 and victim not in edge.pids)


def test_a_worker_that_crashes_at_start_is_tried_again(tmp_path: Path) -> None:
    cluster = Cluster(settings(tmp_path, name="crashes"), mains=BARE)
    cluster.launch()
    try:
        wait_until(lambda: cluster.output.count("exit code 7") >= 5)
        assert "ready" not in cluster.output
        assert cluster.stop() == 0
    finally:
        cluster.destroy()


@pytest.mark.parametrize("path", ["/hang", ""], ids=["busy-loop", "stopped-process"])
def test_a_hung_worker_is_replaced(tmp_path: Path, path: str) -> None:
    with Cluster(settings(tmp_path, workers=1, heartbeat_timeout_s=1.0), mains=BARE) as edge:
        (victim,) = edge.pids
        if path:
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                ask(edge.url, path)
        else:
            os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: edge.pids and victim not in edge.pids)
        assert ask(edge.url)["pid"] in edge.pids
        assert f"worker 0 (pid {victim}) hangs" in edge.output
        if path:
            assert "Fatal Python error: Aborted" in edge.output  # the traceback says where
            assert "bare_worker.py" in edge.output


def test_a_supervisor_that_was_stopped_itself_blames_nobody(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path, heartbeat_timeout_s=3.0), mains=BARE) as edge:
        before = edge.pids
        everyone = [edge.process.pid, *before, edge.status["control_pid"]]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(4)
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        assert edge.call("ping")["ok"]
        threading.Event().wait(0.5)
        assert edge.pids == before


def test_a_dying_control_process_does_no_harm(tmp_path: Path) -> None:
    mains = (BARE[0], f"{failing_control.__module__}:{failing_control.__name__}")
    with Cluster(settings(tmp_path), mains=mains) as edge:
        wait_until(lambda: edge.status["control_restarts"] >= 3)
        assert ask(edge.url)["pid"] in edge.pids
        assert all(worker["restarts"] == 0 for worker in edge.workers)


def test_a_killed_control_process_is_replaced(edge: Cluster) -> None:
    victim = edge.status["control_pid"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: edge.status["control_state"] == "ready" and edge.status["control_pid"] != victim)


def test_the_children_of_a_killed_supervisor_end_and_the_next_start_tidies_up(tmp_path: Path) -> None:
    listener = ListenerSettings("http", "127.0.0.1", free_port())
    made = with_worker(settings(tmp_path), listeners=(listener,))
    first = Cluster(made, mains=BARE).start()
    try:
        pids = [*first.pids, first.status["control_pid"]]
        first.process.kill()
        first.process.wait()
        assert first.segment_file.exists()
        assert running_pid(tmp_path) is None
        with pytest.raises(wire.NotRunning):
            first.call("ping")
        with Cluster(made, mains=BARE) as second:
            assert "tidying up" in second.output
            assert "the cache starts warm" in second.output
            assert ask(second.url)["pid"] in second.pids
            wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    finally:
        first.destroy()


# --- privileges ---------------------------------------------------------------------------------------


def test_workers_drop_privileges_and_still_serve(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root changes users")
    with Cluster(settings(tmp_path, user="nobody"), mains=BARE) as edge:
        assert {psutil.Process(pid).username() for pid in edge.pids} == {"nobody"}
        assert psutil.Process(edge.process.pid).username() == "root"
        assert ask(edge.url)["pid"] in edge.pids
        children = edge.pids
        edge.process.kill()
        edge.process.wait()
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in children))
        subprocess.run(["rm", "-r", os.fspath(run_dir(tmp_path))], check=True)
        edge.segment_file.unlink()
