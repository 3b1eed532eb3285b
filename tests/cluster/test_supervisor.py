"""The supervisor over a bare worker: start, respawn, reload, watchdog, stop, and every refused start."""

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from cluster import wire
from cluster.errors import BootError
from cluster.lock import run_dir, running_pid, supervisor_socket
from cluster.segment import SHM
from cluster.settings import CertificateSettings, ClusterSettings
from tests.support.bare_worker import failing_control
from tests.support.cluster import BARE, PATIENCE_S, Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from tests.support.segments import regions_of
from worker.settings import ListenerSettings, WafSettings


def ask(url: str, path: str = "/") -> dict[str, Any]:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


def refused(cluster: Cluster) -> str:
    """Start what must not start; its output. Nothing may be left behind, and the exit code must say so."""
    cluster.launch()
    try:
        assert cluster.wait() == 1, cluster.output
    finally:
        cluster.destroy()
    assert "Traceback" not in cluster.output
    return cluster.output


@contextlib.contextmanager
def clients(url: str, count: int = 4) -> Iterator[list[object]]:
    """Ask without pause, a connection for every request; what was answered or went wrong."""
    seen: list[object] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            try:
                seen.append(ask(url)["name"])
            except Exception as error:
                seen.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(settings(tmp_path), mains=BARE) as cluster:
        yield cluster


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


# --- reload ------------------------------------------------------------------------------------------


def test_reload_drops_no_request(edge: Cluster) -> None:
    with clients(edge.url) as seen:
        for number in range(5):
            name = f"generation-{number}"
            assert edge.reload(with_worker(edge.settings, name=name))["ok"]
            wait_until(lambda name=name: name in seen[-4:])
    assert not [error for error in seen if isinstance(error, Exception)]
    assert edge.status["generation"] == 6


def test_sighup_reloads(edge: Cluster) -> None:
    edge.configure(with_worker(edge.settings, name="fresh"))
    edge.process.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(edge.url)["name"] == "fresh")


def test_reload_with_fewer_and_more_workers_drops_no_request(edge: Cluster) -> None:
    with clients(edge.url) as seen:
        for workers in (4, 1, 3):
            assert edge.reload(replace(edge.settings, workers=workers))["ok"]
            wait_until(lambda workers=workers: len(edge.workers) == len(edge.pids) == workers)
    assert not [error for error in seen if isinstance(error, Exception)]
    port = urlsplit(edge.url).port
    mine = psutil.Process(edge.process.pid).net_connections("tcp")
    assert len([c for c in mine if c.laddr[1] == port and c.status == psutil.CONN_LISTEN]) == 3
    lanes: set[int] = set()
    wait_until(lambda: lanes.add(ask(edge.url)["lane"]) or lanes == {0, 1, 2})


def test_reload_opens_new_addresses_and_closes_the_gone_ones(edge: Cluster) -> None:
    first = edge.url
    added = ListenerSettings("http", "127.0.0.1", free_port())
    both = (*edge.settings.worker.listeners, added)
    assert edge.reload(with_worker(edge.settings, listeners=both))["ok"]
    assert edge.urls == [first, added.url]
    assert ask(first)["name"] == ask(added.url)["name"]
    assert edge.reload(with_worker(edge.settings, listeners=(added,)))["ok"]
    assert edge.urls == [added.url]
    wait_until(lambda: not _accepts(first))
    assert ask(added.url)["pid"] in edge.pids


def _accepts(url: str) -> bool:
    try:
        ask(url)
    except OSError:
        return False
    return True


def test_a_reload_whose_settings_cannot_be_loaded_changes_nothing(edge: Cluster) -> None:
    before = edge.pids
    edge._pickle.write_bytes(__import__("pickle").dumps(BootError("edge.yaml:3:1: unknown key")))
    answer = edge.reload()
    assert (answer["ok"], answer["error"]) == (False, "edge.yaml:3:1: unknown key")
    edge._pickle.write_bytes(b"garbage")
    answer = edge.reload()
    assert not answer["ok"]
    assert "could not be loaded" in answer["error"]
    assert edge.pids == before


def test_a_reload_to_a_port_in_use_changes_nothing(edge: Cluster) -> None:
    before = edge.pids
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = ListenerSettings("http", "127.0.0.1", taken.getsockname()[1])
        answer = edge.reload(with_worker(edge.settings, listeners=(listener,)))
    assert not answer["ok"]
    assert "in use" in answer["error"]
    assert edge.pids == before
    assert ask(edge.url)["pid"] in before


@pytest.mark.parametrize("name", ["cannot-boot", "cannot-boot-1", "crashes"])
def test_a_reload_whose_workers_cannot_boot_drops_no_request_and_changes_nothing(
    edge: Cluster, name: str
) -> None:
    before = edge.pids
    with clients(edge.url) as seen:
        answer = edge.reload(replace(with_worker(edge.settings, name=name), workers=3))
        wait_until(lambda: edge.pids == before and len(edge.workers) == 2)
        reached = len(seen)
        wait_until(lambda: len(seen) > reached + 20)
    assert not answer["ok"]
    assert ("as the test wants it" in answer["error"]) or ("exit code 7" in answer["error"])
    assert not [error for error in seen if isinstance(error, Exception)]
    assert edge.reload(with_worker(edge.settings, name="good"))["ok"]
    wait_until(lambda: ask(edge.url)["name"] == "good")


def with_waf(old: ClusterSettings) -> ClusterSettings:
    """`old` with a WAF of the detectors alone."""
    [site] = old.worker.sites
    routes = tuple(replace(route, waf=WafSettings()) for route in site.routes)
    return with_worker(old, sites=(replace(site, routes=routes),))


def compiler(edge: Cluster) -> psutil.Process | None:
    """The process that compiles the WAF's patterns for a reload."""
    for child in psutil.Process(edge.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[:1] == ["edgecluster: compiler"]:
                return child
    return None


def test_workers_are_watched_over_while_patterns_are_compiled_for_a_reload(edge: Cluster) -> None:
    edge.configure(with_waf(edge.settings))
    pids = edge.pids
    answers: list[wire.Answer] = []
    reloading = threading.Thread(target=lambda: answers.append(edge.call("reload")))
    reloading.start()
    compiling = wait_until(lambda: compiler(edge))
    compiling.suspend()
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: len(edge.pids) == 2 and pids[0] not in edge.pids)
    assert edge.status["reloading"] and edge.status["generation"] == 1
    compiling.resume()
    reloading.join()
    assert [(answer["ok"], answer["generation"]) for answer in answers] == [(True, 2)]
    assert list((edge.settings.state_dir / "waf").iterdir())
    assert f"compiler (pid {compiling.pid}) has ended: exit code 0" in edge.output


def test_a_reload_goes_on_when_its_compiler_dies(edge: Cluster) -> None:
    edge.configure(with_waf(edge.settings))
    reloading = threading.Thread(target=edge.call, args=("reload",))
    reloading.start()
    wait_until(lambda: compiler(edge)).kill()
    reloading.join()
    assert edge.status["generation"] == 2 and edge.status["waf"]


def test_a_stop_does_not_wait_for_the_compiler(edge: Cluster) -> None:
    edge.configure(with_waf(edge.settings))
    edge.process.send_signal(signal.SIGHUP)
    compiling = wait_until(lambda: compiler(edge))
    assert edge.stop() == 0
    assert not compiling.is_running()
    assert f"compiler (pid {compiling.pid}) has ended: killed by SIGTERM" in edge.output


def test_a_new_cache_size_needs_a_restart_and_reload_says_so(edge: Cluster) -> None:
    answer = edge.reload(replace(edge.settings, cache_bytes=128 * 1024**2))
    assert answer["ok"]
    assert "needs a restart" in answer["notes"][0]
    assert edge.status["cache_bytes"] == edge.settings.cache_bytes


def test_the_state_directory_cannot_change_by_reload(edge: Cluster, tmp_path: Path) -> None:
    answer = edge.reload(replace(edge.settings, state_dir=tmp_path / "elsewhere"))
    assert not answer["ok"]
    assert "state directory" in answer["error"]


def test_the_oldest_drains_end_early_where_a_new_generation_has_no_place(tmp_path: Path) -> None:
    """Places are 62: three generations of 20 fit beside one another, of a fourth only two workers."""
    lingering = settings(tmp_path, workers=20, name="lingers", drain_timeout_s=3600.0)
    with Cluster(lingering, mains=BARE) as edge:
        for generation in (2, 3, 4):
            answer = edge.reload(lingering if generation < 4 else with_worker(lingering, name="last"))
            assert (answer["ok"], answer["generation"]) == (True, generation)
        draining = [worker for worker in edge.workers if worker["state"] == "draining"]
        assert [worker["generation"] for worker in draining] == [1] * 2 + [2] * 20 + [3] * 20
        assert len(edge.pids) == 20
        assert edge.output.count("must end its drain early") == 18
        for worker in draining:
            os.kill(worker["pid"], signal.SIGUSR2)


def test_reloads_asked_for_at_once_are_all_answered(edge: Cluster) -> None:
    answers: list[wire.Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(edge.call("reload"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["ok"] for answer in answers] == [True] * 6


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
