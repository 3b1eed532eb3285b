"""Reloads of bare workers: no request is dropped, and what cannot be changes nothing."""

import contextlib
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cluster import wire
from cluster.errors import BootError
from cluster.settings import ClusterSettings
from tests.support.bare_clients import ask, clients
from tests.support.cluster import BARE, Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from worker.settings import ListenerSettings, WafSettings


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
