"""Groups of origins through a whole edge: two workers, servers that fail, and clients that do not notice."""

import asyncio
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from click.testing import CliRunner

from cluster.cli import edgecluster
from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.ports import free_port
from tests.support.scripted_origin import Handler, Recorded, ScriptedOrigin, answer, script
from worker.settings import (
    BreakerSettings,
    CacheSettings,
    EjectionSettings,
    GroupSettings,
    LogSettings,
    OriginSettings,
    RetrySettings,
)

UP = answer(b"up")
BUSY = answer(b"busy", "503 Service Unavailable")
NEVER_EJECT = EjectionSettings(failures=0)
GENEROUS = RetrySettings(attempts=3, least=1000)


class Edge:
    """A cluster in front of one group, and its access log."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self.cluster = cluster
        self._log = log
        port = urlsplit(cluster.url).port
        assert port is not None
        self._port = port
        self._asked = 0

    def ask(self, *paths: str, method: str = "GET") -> list[Answer]:
        """One request for each path at once, each on a connection of its own: any worker may get it."""
        self._asked += len(paths)

        async def all_of_them() -> list[Answer]:
            return await asyncio.gather(*(ask(self._port, path, method=method) for path in paths))

        return asyncio.run(all_of_them())

    def in_turn(self, times: int, path: str = "/", method: str = "GET") -> list[Answer]:
        """That many requests, one after the other."""
        return [one for _ in range(times) for one in self.ask(path, method=method)]

    def logged(self) -> list[dict[str, Any]]:
        """The log's lines for all requests so far."""

        def lines() -> list[dict[str, Any]] | None:
            found = [json.loads(line) for line in self._log.read_text().splitlines()]
            return found if len(found) >= self._asked else None

        written: list[dict[str, Any]] = wait_until(lines)
        return written

    def states(self) -> dict[str, tuple[str, str]]:
        """State and reason of each server, by URL, as `status --json` has them."""
        (group,) = self.status()["groups"]
        return {server["url"]: (server["state"], server["reason"]) for server in group["servers"]}

    def breaker(self) -> str:
        (group,) = self.status()["groups"]
        state: str = group["breaker"]["state"]
        return state

    def status(self) -> dict[str, Any]:
        done = CliRunner().invoke(
            edgecluster, ["status", "--json", "--state-dir", str(self.cluster.settings.state_dir)]
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def metric(self, name: str) -> dict[str, int]:
        """A metric of each server, by URL."""
        with urlopen(f"{self.cluster.admin_url}/metrics") as page:
            text = page.read().decode()
        found = re.findall(rf'^{name}{{group="backend",server="(.*)"}} (\d+)$', text, re.MULTILINE)
        return {url: int(count) for url, count in found}


@contextmanager
def edge(
    state_dir: Path, *servers: str | dict[str, Any], cache: CacheSettings | None = None, **group: Any
) -> Iterator[Edge]:
    """Two workers in front of servers: URLs, or mappings with `url` and settings."""
    log = state_dir / "access.log"
    made = settings(
        state_dir, cache=cache or CacheSettings(enabled=False), log=LogSettings(str(log)), admin=True
    )
    (site,) = made.worker.sites
    origin = GroupSettings("backend", tuple(map(server, servers)), **{"retry": GENEROUS, **group})
    routes = tuple(replace(route, origin=origin) for route in site.routes)
    with Cluster(with_worker(made, sites=(replace(site, routes=routes),))) as cluster:
        yield Edge(cluster, log)


def server(said: str | dict[str, Any]) -> OriginSettings:
    options = {"url": said} if isinstance(said, str) else dict(said)
    parts = urlsplit(options.pop("url"))
    assert parts.hostname is not None and parts.port is not None
    return OriginSettings(parts.scheme, parts.hostname, parts.port, retries=0, **options)


@contextmanager
def origins(*handlers: Handler | bytes) -> Iterator[list[ScriptedOrigin]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                ScriptedOrigin([handler] if isinstance(handler, bytes) else handler, port=free_port())
            )
            for handler in handlers
        ]


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that is taken and never listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(one.status for one in answers)


def test_requests_are_shared_by_weight_and_logged_with_their_server(tmp_path: Path) -> None:
    with (
        origins(UP, UP, UP) as (heavy, *light),
        edge(tmp_path, {"url": heavy.url, "weight": 2}, *(one.url for one in light)) as running,
    ):
        assert statuses(running.in_turn(80)) == {200: 80}
        asked = Counter(line["origin"] for line in running.logged())
        assert running.metric("edgecluster_origin_server_requests_total") == asked
    assert abs(asked[heavy.url] - 40) <= 3  # each of two workers has its own turns
    assert all(abs(asked[one.url] - 20) <= 3 for one in light)
    assert len(heavy.requests) == asked[heavy.url]


def test_nobody_sees_a_server_that_refuses_and_it_is_ejected(tmp_path: Path) -> None:
    with (
        refusing() as down,
        origins(UP) as (good,),
        edge(tmp_path, down, good.url, ejection=EjectionSettings(failures=3, time_s=300)) as running,
    ):
        assert statuses(running.in_turn(20)) == {200: 20}
        assert statuses(running.ask(*["/"] * 40)) == {200: 40}
        assert sum(line.get("retries", 0) for line in running.logged()) == 3
        assert (
            f"group backend: {down} is ejected for a while: {down}: connection refused"
            in running.cluster.output
        )


def test_a_configured_status_is_tried_elsewhere_for_get_and_not_for_post(tmp_path: Path) -> None:
    retry = RetrySettings(attempts=1, statuses=((503, 503),), least=1000)
    with (
        origins(BUSY, UP) as both,
        edge(tmp_path, *(one.url for one in both), retry=retry, ejection=NEVER_EJECT) as running,
    ):
        assert statuses(running.in_turn(20)) == {200: 20}
        posts = statuses(running.in_turn(20, method="POST"))
        assert posts[200] + posts[503] == 20
        assert 8 <= posts[503] <= 12
        gets = [line for line in running.logged() if line["method"] == "GET"]
        assert {(line["origin"], line["status"]) for line in gets} == {(both[1].url, 200)}


def test_the_budget_bounds_the_retries_of_all_workers_together(tmp_path: Path) -> None:
    retry = RetrySettings(attempts=3, budget=0.0, least=5)
    with (
        refusing() as one,
        refusing() as other,
        edge(tmp_path, one, other, retry=retry, ejection=NEVER_EJECT) as running,
    ):
        answers = running.ask(*["/"] * 30)
        assert statuses(answers) == {502: 30}
        assert "connection_refused" in answers[0].fields["proxy-status"]
        assert sum(line.get("retries", 0) for line in running.logged()) == 5


def test_the_breaker_opens_for_all_workers_and_closes_again(tmp_path: Path) -> None:
    breaker = BreakerSettings(share=0.5, requests=10, open_s=1.0)
    with (
        origins([BUSY] * 10 + [UP]) as (flaky,),
        edge(tmp_path, flaky.url, breaker=breaker, retry=RetrySettings(attempts=0)) as running,
    ):
        assert statuses(running.in_turn(10)) == {503: 10}
        answers = running.ask(*["/"] * 20)
        refused = [one for one in answers if one.status == 503]
        assert refused  # not all, if the machine is so slow that a trial was due
        assert "destination_unavailable" in refused[0].fields["proxy-status"]
        assert b"busy" not in refused[0].body
        wait_until(lambda: running.in_turn(1)[0].status == 200)
        assert statuses(running.in_turn(10)) == {200: 10}
        output = running.cluster.output
        assert "group backend: too many requests failed, its circuit breaker opens" in output
        assert "group backend: its circuit breaker closes" in output


def test_a_backup_takes_over_and_gives_back(tmp_path: Path) -> None:
    ejection = EjectionSettings(failures=2, time_s=0.5, max_time_s=0.5, max_share=1.0)
    with ExitStack() as stack:
        proper, backup = (stack.enter_context(ScriptedOrigin([UP], port=free_port())) for _ in range(2))
        running = stack.enter_context(
            edge(tmp_path, proper.url, {"url": backup.url, "backup": True}, ejection=ejection)
        )
        assert statuses(running.in_turn(10)) == {200: 10}
        assert not backup.requests
        proper.__exit__(None, None, None)
        assert statuses(running.in_turn(20)) == {200: 20}
        assert len(backup.requests) == 20
        again = stack.enter_context(ScriptedOrigin([UP], port=proper.port))
        wait_until(lambda: running.in_turn(1) and again.requests)
        asked = len(backup.requests)
        assert statuses(running.in_turn(10)) == {200: 10}
        assert len(backup.requests) == asked


def test_a_key_has_its_server_and_few_move_when_one_goes(tmp_path: Path) -> None:
    paths = [f"/{number}" for number in range(60)]

    def places(running: Edge) -> dict[str, str]:
        running.ask(*paths)
        return {line["path"]: line["origin"] for line in running.logged()[-len(paths) :]}

    with origins(UP, UP, UP) as three, edge(tmp_path, *(one.url for one in three), balance="hash") as running:
        before = places(running)
        assert set(before.values()) == {one.url for one in three}
        assert places(running) == before
        three[0].__exit__(None, None, None)
        after = places(running)
        moved = {path for path in paths if before[path] != after[path]}
        assert moved == {path for path in paths if before[path] == three[0].url}
        assert {after[path] for path in moved} <= {three[1].url, three[2].url}


def test_half_of_a_group_down_is_not_seen_by_any_client(tmp_path: Path) -> None:
    with (
        refusing() as down,
        origins(UP, UP, lambda _: script("reset")) as (*good, broken),
        edge(tmp_path, down, good[0].url, broken.url, good[1].url) as running,
    ):
        for _ in range(3):
            assert statuses(running.ask(*["/"] * 50)) == {200: 50}
        last = running.ask(*["/"] * 50)
        assert statuses(last) == {200: 50}
        assert all(line.get("retries", 0) == 0 for line in running.logged()[-50:])


def test_a_collapsed_fetch_is_tried_elsewhere_once_for_all_who_wait(tmp_path: Path) -> None:
    def fails(request: Recorded) -> Any:
        return script("close")

    stored = answer(b"stored", headers="Cache-Control: max-age=60")
    with (
        origins(fails, stored) as (broken, good),
        edge(tmp_path, broken.url, good.url, cache=CacheSettings(), ejection=NEVER_EJECT) as running,
    ):
        for path in ("/a", "/b"):
            answers = running.ask(*[path] * 30)
            assert {(one.status, one.body) for one in answers} == {(200, b"stored")}
        assert Counter(request.target for request in good.requests) == {"/a": 1, "/b": 1}
        assert all(count <= 1 for count in Counter(request.target for request in broken.requests).values())


EJECT = EjectionSettings(failures=3, time_s=300, max_time_s=300, max_share=1.0)
DEAF = script("stall")


def test_half_of_a_group_that_fails_is_ejected_with_its_reason(tmp_path: Path) -> None:
    """By refusing, and by a status that is tried elsewhere."""
    retry = RetrySettings(attempts=3, statuses=((503, 503),), least=1000)
    with (
        refusing() as down,
        origins(UP, BUSY, UP) as (one, busy, other),
        edge(tmp_path, down, one.url, busy.url, other.url, retry=retry, ejection=EJECT) as running,
    ):
        assert statuses(running.in_turn(40)) == {200: 40}
        states = running.states()
        assert {url: state for url, (state, _) in states.items()} == {
            down: "ejected", one.url: "healthy", busy.url: "ejected", other.url: "healthy",
        }  # fmt: skip
        assert sum(line.get("retries", 0) for line in running.logged()) == 6  # three of each
        assert {line["origin"] for line in running.logged()} == {one.url, other.url}
        for url, why in ((down, f"{down}: connection refused"), (busy.url, "status 503")):
            wait_until(
                lambda url=url, why=why: f"{url} is ejected for a while: {why}" in running.cluster.output
            )


def test_what_stalls_is_not_asked_elsewhere_and_then_left_out(tmp_path: Path) -> None:
    """Who had the request may be at work on it: a timeout is the client's answer, until it is ejected."""
    with origins(lambda _: DEAF, UP) as (deaf, good):
        slow = {"url": deaf.url, "first_byte_timeout_s": 0.3}
        with edge(tmp_path, slow, good.url, ejection=EJECT) as running:
            answers = running.in_turn(20)
            assert statuses(answers) == {200: 17, 504: 3}
            late = next(one for one in answers if one.status == 504)
            assert "http_response_timeout" in late.fields["proxy-status"]
            failed = [line for line in running.logged() if line["status"] == 504]
            assert {(line["origin"], line["fault"], line.get("retries", 0)) for line in failed} == {
                (deaf.url, "http_response_timeout", 0)
            }
            assert running.states()[deaf.url][0] == "ejected"
            words = f"{deaf.url} is ejected for a while: {deaf.url}: no answer within 0.3 s"
            wait_until(lambda: words in running.cluster.output)
        deaf.release()


def test_a_group_that_is_all_down_answers_for_it_after_its_tries_until_the_breaker_opens(
    tmp_path: Path,
) -> None:
    breaker = BreakerSettings(share=0.5, requests=10, open_s=300)
    with (
        refusing() as one,
        refusing() as other,
        edge(tmp_path, one, other, breaker=breaker, ejection=NEVER_EJECT) as running,
    ):
        down = running.in_turn(10)
        assert statuses(down) == {502: 10}
        assert {answer.fields["proxy-status"] for answer in down} == {"edgecluster; error=connection_refused"}
        assert {(line["fault"], line.get("retries", 0)) for line in running.logged()} == {
            ("connection_refused", GENEROUS.attempts)
        }
        assert running.breaker() == "open"
        refused = running.in_turn(5)
        assert {(answer.status, answer.fields["proxy-status"]) for answer in refused} == {
            (503, "edgecluster; error=destination_unavailable")
        }
        last = running.logged()[-5:]
        assert {(line["side"], line["fault"], line.get("retries", 0)) for line in last} == {
            ("origin", "destination_unavailable", 0)
        }
        assert all("its circuit breaker is open" in line["detail"] for line in last)
