"""kill -9 of the supervisor and all workers, start again: the cache is still there, and says how it began."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster.settings import ClusterSettings
from tests.support.client import Answer, ask
from tests.support.cluster import MIB, Cluster, settings, wait_until
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

PAGES = {f"/page/{number}": b"%d," % number * (1 + number * 700) for number in range(30)}


@pytest.fixture
def origin() -> Iterator[ScriptedOrigin]:
    def page(request: Recorded) -> bytes:
        return answer(
            PAGES[request.target], headers=("Cache-Control: max-age=600", "Content-Type: image/png")
        )

    with ScriptedOrigin(page) as running:
        yield running


def fetch(edge: Cluster, path: str) -> Answer:
    port = urlsplit(edge.url).port
    assert port is not None
    return asyncio.run(ask(port, path))


def is_hit(reply: Answer) -> bool:
    return "; hit" in reply.fields["cache-status"]


def filled(asked: ClusterSettings) -> Cluster:
    """A running edge that has every page in its cache."""
    edge = Cluster(asked).start()
    for path in PAGES:
        assert fetch(edge, path).status == 200
    wait_until(lambda: all(is_hit(fetch(edge, path)) for path in PAGES))
    return edge


def began(edge: Cluster) -> tuple[str, str]:
    status = edge.status
    return status["cache_start"], status["cache_start_reason"]


def test_after_a_crash_the_first_requests_are_hits(tmp_path: Path, origin: ScriptedOrigin) -> None:
    asked = settings(tmp_path / "s", origin=origin.url)
    edge = filled(asked)
    assert began(edge) == ("empty", "nothing was left to take over")
    served = len(origin.requests)
    edge.crash()
    with Cluster(asked) as edge:
        first = {path: fetch(edge, path) for path in PAGES}
        assert edge.call("audit")["faults"] == []
        status = edge.status
        assert (status["cache_start"], status["cache_objects_kept"] >= len(PAGES)) == ("warm", True)
        assert status["cache_objects_damaged"] == 0
        assert "the cache starts warm" in edge.output
    assert {path: reply.body for path, reply in first.items()} == PAGES
    assert all(is_hit(reply) for reply in first.values())
    assert len(origin.requests) == served


def test_counters_go_on_and_nobody_counts_as_connected(tmp_path: Path, origin: ScriptedOrigin) -> None:
    asked = settings(tmp_path / "s", origin=origin.url, admin=True)
    edge = filled(asked)
    before = metrics(edge)
    edge.crash()
    with Cluster(asked) as edge:
        after = metrics(edge)
    assert after["edgecluster_requests_total"] >= before["edgecluster_requests_total"] > 0
    assert all(after[name] >= value for name, value in before.items() if name.endswith("_total"))
    assert after["edgecluster_connections_open"] <= 1, "none but the one that asks"


def metrics(edge: Cluster) -> dict[str, float]:
    """Every metric of one scrape, summed over its labels."""
    port = urlsplit(edge.admin_url).port
    assert port is not None
    sums: dict[str, float] = {}
    for line in asyncio.run(ask(port, "/metrics")).body.decode().splitlines():
        if not line.startswith("#"):
            name, value = line.split("{")[0].split(" ")[0], float(line.rsplit(" ", 1)[1])
            sums[name] = sums.get(name, 0.0) + value
    return sums


def test_workers_that_outlive_their_supervisor_are_ended_first(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    asked = settings(tmp_path / "s", origin=origin.url)
    edge = filled(asked)
    stuck = edge.pids[0]
    os.kill(stuck, signal.SIGSTOP)
    edge.process.kill()
    edge.process.wait()
    with Cluster(asked) as again:
        assert began(again)[0] == "warm"
        assert is_hit(fetch(again, "/page/7"))
        assert stuck not in again.pids
        assert f"killing those that have not finished: {stuck}" in again.output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drop_cache": True}, "--drop-cache asks for that"),
        ({"keep_cache": False}, "cache.keep is false"),
        ({"cache_bytes": 80 * MIB}, f"it has {64 * MIB} bytes and the cache is to have {80 * MIB}"),
    ],
)
def test_it_starts_empty_when_that_is_wanted_and_says_why(
    tmp_path: Path, origin: ScriptedOrigin, change: dict[str, int], reason: str
) -> None:
    asked = settings(tmp_path / "s", origin=origin.url)
    edge = filled(asked)
    served = len(origin.requests)
    edge.crash()
    with Cluster(replace(asked, **change)) as edge:  # type: ignore[arg-type]
        assert began(edge) == ("empty", reason)
        assert not is_hit(fetch(edge, "/page/7"))
        assert f"that was left is removed: {reason}" in edge.output
    assert len(origin.requests) == served + 1


def test_a_damaged_segment_serves_no_wrong_byte(tmp_path: Path, origin: ScriptedOrigin) -> None:
    asked = settings(tmp_path / "s", origin=origin.url)
    edge = filled(asked)
    edge.crash()
    image = bytearray(edge.segment_file.read_bytes())
    at = image.find(PAGES["/page/25"][:64])
    assert at > 0
    image[at + 50] ^= 1
    edge.segment_file.write_bytes(image)
    with Cluster(asked) as edge:
        status = edge.status
        assert (status["cache_start"], status["cache_objects_damaged"]) == ("warm", 1)
        replies = {path: fetch(edge, path) for path in PAGES}
        assert edge.call("audit")["faults"] == []
    assert {path: reply.body for path, reply in replies.items()} == PAGES
    assert [path for path, reply in replies.items() if not is_hit(reply)] == ["/page/25"]


def test_a_stop_keeps_the_cache_only_on_purpose(tmp_path: Path, origin: ScriptedOrigin) -> None:
    asked = settings(tmp_path / "s", origin=origin.url, keep_cache_on_stop=True)
    edge = filled(asked)
    assert edge.stop() == 0
    assert edge.segment_file.exists()
    edge = Cluster(replace(asked, keep_cache_on_stop=False)).start()
    assert began(edge)[0] == "warm"
    assert is_hit(fetch(edge, "/page/7"))
    assert edge.stop() == 0
    assert not edge.segment_file.exists()
