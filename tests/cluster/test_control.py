"""The control process over a real segment: forked, asked over its sockets, ended."""

import http.client
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.cli.admin import UnixConnection
from cluster.config import Flags, load
from cluster.control import run
from cluster.control.edge import not_ready
from cluster.lock import admin_socket, supervisor_socket
from cluster.process import ControlStart, fork
from shmcache.core import EXPIRED, FRESH, Segment
from tests.support.answering_supervisor import STATUS, Answer, answering
from tests.support.cache_room import CLIENT, make_request, ok
from worker.cache.key import cache_key, request_of_url
from worker.cache.negotiation import Negotiation
from worker.cache.store import Arrival, Plan, Store
from worker.context import Context
from worker.networks import SharedNetworks
from worker.observe.counters import BYTES_OUT
from worker.settings import CacheSettings

MIB = 1024**2
MEMBER = 62
PATIENCE_S = 60.0
URL = "http://example.org/a?b=c"


BAD_PURGES = [
    None, b"\xff", b"{", {}, [], {"all": False}, {"urls": []}, {"url": 5}, {"soft": True},
    {"url": URL, "tag": "t"}, {"url": URL, "soft": 1}, {"every": "x"},
]  # fmt: skip


def said(
    kind: str, *targets: str, found: bool = True, soft: bool = False, generation: int = 2
) -> dict[str, Any]:
    purged = dict.fromkeys(targets, found)
    return {"ok": True, "kind": kind, "soft": soft, "generation": generation, "purged": purged}


@dataclass(slots=True)
class Control:
    """A running control process and the segment it looks at, of which we are a member, too."""

    state_dir: Path
    segment: Segment
    port: int
    pid: int
    pipe: int
    answers: dict[str, Answer] = field(default_factory=lambda: {"status": dict(STATUS), "ping": {"ok": True}})

    def admin(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Ask over the Unix socket for JSON."""
        status, _, content = self._ask(UnixConnection(admin_socket(self.state_dir)), method, path, body)
        return status, json.loads(content)

    def public(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """Ask over the loopback address: status, content type, text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        status, kind, content = self._ask(connection, method, path, None)
        return status, kind, content.decode()

    def end(self) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    @staticmethod
    def _ask(
        connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> tuple[int, str, bytes]:
        with closing(connection):
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()

    def verdict(self, url: str = URL) -> int | None:
        hit = self.segment.cache.get(cache_key(request_of_url(url)), time.monotonic_ns())
        return None if hit is None else hit.verdict

    def put(self, url: str = URL) -> None:
        now_ns = time.monotonic_ns()
        until_ns = now_ns + 10**12
        key = cache_key(request_of_url(url))
        assert self.segment.cache.put(
            key, b"meta", b"body", now_ns=now_ns, fresh_until_ns=until_ns, keep_until_ns=until_ns,
            tags=[b"news"] if url == URL else [],
        )  # fmt: skip

    def has(self, url: str = URL) -> bool:
        hit = self.segment.cache.get(cache_key(request_of_url(url)), time.monotonic_ns())
        return hit is not None


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """A control process that serves, and a supervisor that answers it."""
    fd = os.memfd_create("segment")
    os.truncate(fd, 32 * MIB)
    segment = Segment(fd, 32 * MIB, create=True, boot_id=bytes(16))
    os.close(fd)
    segment.join(0, time.monotonic_ns())
    (tmp_path / "run").mkdir()
    settings = load(None, Flags(to="http://127.0.0.1:9", state_dir=str(tmp_path)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        def body(ready: int) -> int:
            start = ControlStart(
                settings,
                segment,
                MEMBER,
                supervisor_socket(tmp_path),
                admin_socket(tmp_path),
                listening,
                ready,
                SharedNetworks(16),
            )
            return run(start)

        pid, pipe = fork(body, close=())
        running = Control(tmp_path, segment, listening.getsockname()[1], pid, pipe)
    os.set_blocking(pipe, True)
    try:
        assert os.read(pipe, 4096) == b"+"
        answers = {verb: lambda verb=verb: running.answers[verb] for verb in ("status", "ping", "reload")}
        with answering(supervisor_socket(tmp_path), answers):
            yield running
    finally:
        os.close(pipe)
        if running.pid:
            running.end()
        segment.close()


class TestProbes:
    def test_it_is_alive(self, control: Control) -> None:
        assert control.public("/healthz")[::2] == (200, "ok\n")

    def test_the_index_tells_what_there_is(self, control: Control) -> None:
        status, _, text = control.public("/")
        assert status == 200
        assert all(path in text for path in ("/metrics", "/healthz", "/readyz"))

    def test_it_is_not_ready_while_a_worker_is_down(self, control: Control) -> None:
        assert control.public("/readyz")[::2] == (503, "1 of 2 workers are up\n")

    def test_it_is_ready_when_all_are_up(self, control: Control) -> None:
        workers = [{**worker, "state": "ready"} for worker in STATUS["workers"][1:]]
        control.answers["status"] = {**STATUS, "workers": workers}
        assert control.public("/readyz")[::2] == (200, "ready\n")

    @pytest.mark.parametrize("state", ["starting", "stopping"])
    def test_it_is_not_ready_at_either_end_of_its_life(self, state: str) -> None:
        assert not_ready({**STATUS, "state": state}) == f"the edge is {state}"

    def test_metrics_are_the_truth_for_all(self, control: Control) -> None:
        control.segment.statistics.add(BYTES_OUT, 12345)
        status, kind, text = control.public("/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        lines = text.splitlines()
        for line in (
            "edgecluster_sent_bytes_total 12345",
            "edgecluster_workers 2",
            "edgecluster_workers_alive 1",
            "edgecluster_worker_respawns_total 3",
            "edgecluster_generation 2",
            'edgecluster_build_info{version="1.2.3"} 1',
        ):
            assert line in lines

    @pytest.mark.parametrize("path", ["/status", "/stats", "/purge", "/reload"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_loopback_address_changes_and_tells_nothing_more(
        self, control: Control, path: str, method: str
    ) -> None:
        assert control.public(path, method)[0] == 404


class TestAdmin:
    def test_only_we_may_ask(self, control: Control) -> None:
        assert stat.S_IMODE(admin_socket(control.state_dir).stat().st_mode) == 0o600

    def test_status_is_the_cluster_and_its_totals(self, control: Control) -> None:
        status, answer = control.admin("GET", "/status")
        assert status == 200
        assert answer["cluster"]["pid"] == STATUS["pid"]
        assert answer["totals"]["requests"] == 0
        assert answer["cache"]["objects"] == 0

    def test_a_purge_by_url(self, control: Control) -> None:
        control.put()
        assert control.admin("POST", "/purge", {"url": URL}) == (200, said("url", URL))
        assert not control.has()
        assert control.admin("POST", "/purge", {"url": URL}) == (
            200,
            said("url", URL, found=False, generation=3),
        )

    def test_a_purge_finds_any_spelling(self, control: Control) -> None:
        control.put("http://example.org/a/~b")
        url = "HTTP://Example.org:80/x/../a/%7Eb#part"
        assert control.admin("POST", "/purge", {"url": url}) == (200, said("url", url))
        assert not control.has("http://example.org/a/~b")

    def test_a_purge_of_everything(self, control: Control) -> None:
        control.put()
        assert control.admin("POST", "/purge", {"all": True}) == (
            200,
            {"ok": True, "kind": "all", "soft": False, "generation": 2},
        )
        assert not control.has()
        assert 'edgecluster_purges_total{kind="all"} 1\n' in control.public("/metrics")[2]

    @pytest.mark.parametrize(
        ("kind", "target", "generation"),
        [
            ("prefix", "http://Example.org/", 2), ("prefix", "http://example.org/a", 2),
            ("host", "Example.org", 3), ("tag", "news", 2),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("soft", [False, True])
    def test_a_purge_of_many(
        self, control: Control, kind: str, target: str, generation: int, soft: bool
    ) -> None:
        control.put()
        control.put("http://other.example/")
        asked = {kind: target, "soft": soft}
        assert control.admin("POST", "/purge", asked) == (
            200,
            said(kind, target, soft=soft, generation=generation),
        )
        assert (control.verdict(), control.verdict("http://other.example/")) == (
            EXPIRED if soft else None,
            FRESH,
        )

    @pytest.mark.parametrize(
        ("wanted", "why"),
        [
            ({"prefix": "example.org/"}, "URL 'example.org/' is not of the form"),
            ({"hosts": ["a", "http://b"]}, "'http://b' is no host"),
            ({"tag": "a,b"}, "'a,b' is no tag"),
        ],
    )
    def test_a_purge_that_cannot_be_meant_says_why(
        self, control: Control, wanted: dict[str, object], why: str
    ) -> None:
        status, answer = control.admin("POST", "/purge", wanted)
        assert (status, answer["ok"]) == (400, False)
        assert answer["error"].startswith(f"cannot purge: {why}")

    @pytest.mark.parametrize("bad", ["/relative", "http://example.org/%zz", "http://example.org/a\\b"])
    def test_a_purge_is_all_or_nothing(self, control: Control, bad: str) -> None:
        control.put()
        status, answer = control.admin("POST", "/purge", {"urls": [URL, bad]})
        assert (status, answer["ok"]) == (400, False)
        assert answer["error"].startswith(f"cannot purge: URL {bad!r}")
        assert control.has()

    @pytest.mark.parametrize("body", BAD_PURGES)
    def test_a_purge_of_nothing_that_can_be_meant(self, control: Control, body: object) -> None:
        status, answer = control.admin("POST", "/purge", body)
        assert status == 400
        assert answer["error"].startswith('expected one of "url", "prefix", "host", "tag"')

    @pytest.mark.parametrize("ok", [True, False])
    def test_a_reload_is_the_supervisors(self, control: Control, ok: bool) -> None:
        control.answers["reload"] = {"ok": ok, "error": "" if ok else "why", "generation": 3, "notes": []}
        assert control.admin("POST", "/reload") == (200 if ok else 409, control.answers["reload"])

    def test_what_is_not_there_says_so_in_json(self, control: Control) -> None:
        status, answer = control.admin("GET", "/nothing")
        assert (status, answer["ok"]) == (404, False)


class TestLife:
    def test_it_ends_well_and_leaves_no_socket(self, control: Control) -> None:
        assert control.end() == 0
        assert not admin_socket(control.state_dir).exists()

    def test_it_leaves_the_socket_of_a_successor_alone(self, control: Control) -> None:
        path = admin_socket(control.state_dir)
        path.unlink()
        path.write_text("another's")
        assert control.end() == 0
        assert path.read_text() == "another's"

    def test_its_heart_beats(self, control: Control) -> None:
        first = control.segment.member_info(MEMBER).heartbeat_ns
        deadline = time.monotonic() + PATIENCE_S
        while control.segment.member_info(MEMBER).heartbeat_ns == first:
            assert time.monotonic() < deadline, "no beat"
            time.sleep(0.05)

    def test_a_socket_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        fd = os.memfd_create("segment")
        os.truncate(fd, 32 * MIB)
        segment = Segment(fd, 32 * MIB, create=True, boot_id=bytes(16))
        os.close(fd)
        settings = load(None, Flags(to="http://127.0.0.1:9", state_dir=str(tmp_path)))
        path = tmp_path / "missing/admin.sock"
        pid, pipe = fork(
            lambda ready: run(
                ControlStart(settings, segment, MEMBER, path, path, None, ready, SharedNetworks(16))
            ),
            close=(),
        )
        os.set_blocking(pipe, True)
        _, status = os.waitpid(pid, 0)
        told = os.read(pipe, 4096)
        os.close(pipe)
        segment.close()
        assert os.waitstatus_to_exitcode(status) == 3
        assert told == f"-cannot make the admin socket {path}: No such file or directory".encode()


def test_without_a_supervisor_the_numbers_are_still_there(control: Control) -> None:
    supervisor_socket(control.state_dir).rename(control.state_dir / "run/away")
    try:
        assert control.public("/readyz")[0] == 503
        assert control.admin("GET", "/status")[0] == 503
        assert control.admin("GET", "/stats")[0] == 200
        status, _, text = control.public("/metrics")
        assert status == 200
        assert "edgecluster_requests_total" in text
        assert "edgecluster_workers_alive" not in text
    finally:
        (control.state_dir / "run/away").rename(supervisor_socket(control.state_dir))


class TestVerbs:
    def test_purge(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        control.put()
        assert main(["purge", "--state-dir", str(control.state_dir), URL, "http://example.org/other"]) == 0
        assert capsys.readouterr().out == f"purged: {URL}\nwas not stored: http://example.org/other\n"
        assert not control.has()

    def test_purge_everything(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        control.put()
        assert main(["purge", "--json", "--all", "--state-dir", str(control.state_dir)]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "ok": True,
            "kind": "all",
            "soft": False,
            "generation": 2,
        }
        assert not control.has()

    @pytest.mark.parametrize(
        ("option", "target"),
        [("--prefix", "http://example.org/"), ("--host", "example.org"), ("--tag", "news")],
    )
    def test_purge_of_many(
        self, control: Control, capsys: pytest.CaptureFixture[str], option: str, target: str
    ) -> None:
        control.put()
        assert main(["purge", "--soft", option, target, "--state-dir", str(control.state_dir)]) == 0
        assert capsys.readouterr().out == f"made stale: {option.strip('-')} {target}\n"
        assert control.verdict() == EXPIRED

    @pytest.mark.parametrize("arguments", [[], ["--all", URL], ["--tag", "a", "--host", "b"], ["--soft"]])
    def test_purge_of_what_cannot_be_meant(
        self, control: Control, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        assert main(["purge", "--state-dir", str(control.state_dir), *arguments]) == 2
        assert "name what to purge" in capsys.readouterr().err

    def test_purge_of_no_url(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["purge", "--state-dir", str(control.state_dir), "nonsense"]) == 1
        assert capsys.readouterr().err.startswith(
            "edgecluster: cannot purge: URL 'nonsense' is not of the form "
        )

    def test_status(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["status", "--state-dir", str(control.state_dir)]) == 0
        out = capsys.readouterr().out
        assert "workers     1 of 2 up, 3 replaced, 1 of another generation\n" in out
        assert "requests    0 answered, hit ratio 0.0%\n" in out
        assert "cache       0 objects, 0B stored in 64MiB\n" in out


def store(control: Control, path: str = "/a", *, vary: str = "", **fields: str) -> None:
    """A response as a worker would store it."""
    settings = CacheSettings()
    store = Store(control.segment.cache, settings, Negotiation(("gzip",)))
    request = make_request(path, [(b"X", b"1")], host=b"example.org")
    now_ns = time.monotonic_ns()
    ctx = Context(request, CLIENT, b"0" * 32, now_ns, time.time())
    ctx.key = cache_key(request)
    response = ok(b"hello", etag='"e"', vary=vary, **fields)
    arrival = Arrival(now_ns, now_ns, time.time(), control.segment.cache.generation())
    plan = store.plan(ctx, 200, response.fields, 5, arrival)
    assert isinstance(plan, Plan)
    assert store.put(ctx, plan, response, b"hello", now_ns) is None


class TestLooking:
    def test_the_statistics_of_the_cache(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        control.put()
        assert main(["cache", "stats", "--json", "--state-dir", str(control.state_dir)]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["cache"]["objects"] == 1
        assert said["cache"]["bytes_per_object"] == len(URL) + 8
        assert said["core"]["stores_small"] == 1
        assert main(["cache", "stats", "--state-dir", str(control.state_dir)]) == 0
        out = capsys.readouterr().out
        assert out.startswith("objects   1, ")
        assert "stored    1 stores small, 0 stores large, 0 no room, 0 not admitted\n" in out
        assert "leases    0 claimed; ended as 0 published, " in out

    def test_a_list_of_what_is_stored(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        store(control, "/b", cache_control="max-age=600", vary="X", xkey="one two")
        store(control, "/a", cache_control="no-cache")
        assert main(["cache", "ls", "--state-dir", str(control.state_dir)]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.split()[1::2] == ["stale", "http://example.org/a"]
        assert second.split()[1:] == ["fresh", "9m", "59s", "http://example.org/b", "(variant)"]

    def test_a_list_by_prefix_and_no_longer_than_wanted(self, control: Control) -> None:
        for number in range(5):
            store(control, f"/a/{number}", cache_control="max-age=600")
        store(control, "/b", cache_control="max-age=600")
        status, answer = control.admin("GET", "/cache/entries?prefix=http://Example.org/a/&limit=5")
        assert (status, len(answer["entries"]), answer["more"]) == (200, 5, False)
        assert {entry["tags"] for entry in answer["entries"]} == {0}
        status, answer = control.admin("GET", "/cache/entries?limit=5")
        assert (status, len(answer["entries"]), answer["more"]) == (200, 5, True)

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=x", "limit=100001", "prefix=/a", "prefix=http://a/%25zz"]
    )
    def test_a_list_that_cannot_be_meant(self, control: Control, query: str) -> None:
        status, answer = control.admin("GET", f"/cache/entries?{query}")
        assert (status, answer["ok"]) == (400, False)

    def test_what_is_stored_for_a_url(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        store(control, "/a", cache_control="max-age=600, stale-while-revalidate=60", vary="X", xkey="one two")
        store(control, "/ab", cache_control="max-age=600")
        url = "http://Example.org:80/%61"
        assert main(["cache", "get", url, "--json", "--state-dir", str(control.state_dir)]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["url"], said["vary"], said["hit_for_miss"]) == (url, ["x"], False)
        [entry] = said["responses"]
        assert (entry["status"], entry["size"], entry["age_s"], entry["etag"]) == (200, 5, 0, '"e"')
        assert (entry["verdict"], entry["tags"], entry["stale_while_revalidate_s"]) == ("fresh", 2, 60)
        assert entry["ttl_s"] in (599, 600)
        assert main(["cache", "get", url, "--state-dir", str(control.state_dir)]) == 0
        out = capsys.readouterr().out
        assert "  varies by x\n  200, 5B, age 0s, fresh: fresh for " in out

    def test_nothing_stored_for_a_url(self, control: Control, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "get", URL, "--state-dir", str(control.state_dir)]) == 0
        assert capsys.readouterr().out == f"nothing is stored for {URL}\n"
        assert main(["cache", "get", "nonsense", "--state-dir", str(control.state_dir)]) == 1
        assert main(["cache", "get"]) == 2
