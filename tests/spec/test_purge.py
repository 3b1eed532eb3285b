"""Purges take effect in all workers at once, whoever asks for them and whatever is under way."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.cli.admin import ask_admin
from cluster.settings import ClusterSettings
from tests.support.client import Answer
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer, script
from tests.support.versions import VERSIONS, Ends, ask_many_over, ask_over, is_secure
from worker.settings import CacheSettings, KeySettings

CROWD = 24  # connections; all but never do they all reach the same one of two workers
SMALL_CROWD = 8  # over other versions than h1: so many in vain, once in 128 times
# Tags are told apart by a hash, and a collision costs a miss, which may hit one site of these, hardly two.
OTHERS = ("a.test", "b.test", "c.test")
VARIANTS = ("X: 1\r\n", "X: 2\r\nAccept-Encoding: gzip\r\n")


class Site:
    """An edge of two workers, and an origin whose pages tell which edition they are of."""

    def __init__(self, edge: Cluster, origin: ScriptedOrigin) -> None:
        self.edge = edge
        self.origin = origin
        self.ends = Ends.of(edge.urls)
        self.over = "h1"
        self.edition = 0
        origin.handler = self.page

    def page(self, request: Recorded) -> Step:
        life = "max-age=600, stale-while-revalidate=300" if "swr" in request.target else "max-age=600"
        if "untagged" in request.target:
            return answer(b"edition %d" % self.edition, headers=[f"Cache-Control: {life}", "Vary: X"])
        tag = "slow" if "slow" in request.target else f"page-{request.target.rpartition('/')[2]}"
        fields = [f"Cache-Control: {life}", f"Cache-Tag: all-pages,{tag}", "Surrogate-Key: s", "xkey: x"]
        if "vary" in request.target:
            fields.append("Vary: X, Accept-Encoding")
        page = answer(b"edition %d" % self.edition, headers=fields)
        return script("stall", page) if "slow" in request.target else page

    def crowd(self, path: str, fields: str = "", name: str = "edge.test") -> list[Answer]:
        size = CROWD if self.over == "h1" else SMALL_CROWD
        return asyncio.run(ask_many_over(self.over, self.ends, path, size, fields=fields, name=name))

    async def asking(
        self, path: str, fields: str = "", *, method: str = "GET", name: str = "edge.test"
    ) -> Answer:
        return await ask_over(self.over, self.ends, path, fields=fields, method=method, name=name)

    def ask(self, path: str, fields: str = "", *, method: str = "GET", name: str = "edge.test") -> Answer:
        return asyncio.run(self.asking(path, fields, method=method, name=name))

    def url(self, path: str) -> str:
        """As a client of this version names it."""
        return f"{'https' if is_secure(self.over) else 'http'}://edge.test{path}"

    def stored(self, *paths: str, elsewhere: str = "") -> None:
        """Have every variant in the cache, of an older edition than what the origin has now.

        So, too, a path of the other sites.
        """
        for name, path in [("edge.test", path) for path in paths] + [
            (name, elsewhere) for name in OTHERS if elsewhere
        ]:
            for fields in VARIANTS:
                self.ask(path, fields, name=name)
                assert {one.fields["x-cache"] for one in self.crowd(path, fields, name)} == {"HIT"}
        self.edition += 1

    def is_old(self, path: str, name: str = "edge.test") -> bool:
        """Is what was stored still what everyone gets?"""
        old = b"edition %d" % (self.edition - 1)
        crowds = [self.crowd(path, fields, name) for fields in VARIANTS]
        return {(one.fields["x-cache"], one.body) for crowd in crowds for one in crowd} == {("HIT", old)}

    def assert_gone(self, path: str) -> None:
        for fields in VARIANTS:
            assert {one.body for one in self.crowd(path, fields)} == {b"edition %d" % self.edition}

    def assert_stale(self, path: str) -> None:
        """Served once more while the origin is asked, and everyone has the new edition then."""
        for fields in VARIANTS if "vary" in path else VARIANTS[:1]:
            first = self.ask(path, fields)
            assert (first.fields["x-cache"], first.body) == ("STALE", b"edition %d" % (self.edition - 1))
            wait_until(lambda fields=fields: self.bodies(path, fields) == {b"edition %d" % self.edition})

    def bodies(self, path: str, fields: str) -> set[bytes]:
        return {one.body for one in self.crowd(path, fields)}

    def purge(self, *arguments: str) -> None:
        """By the command line."""
        assert main(["purge", *arguments, "--state-dir", str(self.edge.settings.state_dir)]) == 0

    def by_method(self, path: str, fields: str = "") -> Answer:
        """By a PURGE request."""
        return self.ask(path, fields, method="PURGE")


def routes(plain: ClusterSettings) -> ClusterSettings:
    """One route for all, one whose key has rules, and one that nobody may purge."""
    [site] = plain.worker.sites
    [route] = site.routes
    here = (ip_network("127.0.0.0/8"),)
    rules = KeySettings(drop=(b"utm_*",), headers=(b"x",))
    made = (
        replace(route, purgers=here),
        replace(route, name="ruled", prefix=b"/ruled/", purgers=here, cache=CacheSettings(key=rules)),
        replace(route, name="closed", prefix=b"/closed/", purgers=(ip_network("192.0.2.0/24"),)),
    )
    return with_worker(plain, sites=(replace(site, routes=made),))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("purge") / "s"
    with ScriptedOrigin([answer()]) as origin:
        made = settings(directory, origin=origin.url, workers=2, schemes=("http", "https"))
        with Cluster(with_worker(routes(made), http2_plain=True)) as edge:
            yield Site(edge, origin)


@pytest.fixture
def site(running: Site, over: str) -> Site:
    """Asked over each version in turn, with an empty cache."""
    running.purge("--all")
    running.over = over
    return running


by_h1 = pytest.mark.parametrize("over", ["h1"])  # where the version makes no difference

KINDS = {
    "url": lambda site, name: [site.url(f"/vary-swr/{name}")],
    "prefix": lambda site, name: ["--prefix", site.url(f"/vary-swr/{name}")],
    "directory": lambda site, name: ["--prefix", site.url("/vary-swr/")],
    "host": lambda site, name: ["--host", "Edge.test"],
    "tag": lambda site, name: ["--tag", f"page-{name}"],
    "all": lambda site, name: ["--all"],
}


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("kind", "over"), [*((kind, "h1") for kind in KINDS), *(("url", version) for version in VERSIONS[1:])]
)
def test_every_kind_of_purge_is_seen_by_all_workers_at_once(site: Site, kind: str, soft: bool) -> None:
    page, other = f"{kind}-{soft}", f"/untagged/{kind}-{soft}"
    site.stored(f"/vary-swr/{page}", elsewhere=other)
    site.purge(*KINDS[kind](site, page), *(["--soft"] if soft else []))
    if kind != "all":
        assert sum(site.is_old(other, elsewhere) for elsewhere in OTHERS) >= 2
    if soft:
        site.assert_stale(f"/vary-swr/{page}")
    else:
        site.assert_gone(f"/vary-swr/{page}")


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("vary", ["plain", "vary"])
def test_a_purge_request_is_seen_by_all_workers_at_once(site: Site, vary: str, soft: bool) -> None:
    path = f"/{vary}-swr/method-{soft}"
    site.stored(path)
    reply = site.by_method(path, "Edgecluster-Soft-Purge: 1\r\n" if soft else "")
    said = json.loads(reply.body)
    assert (reply.status, said["purged"], said["soft"]) == (200, True, soft)
    assert reply.fields["content-type"] == "application/json"
    if soft:
        site.assert_stale(path)
    else:
        site.assert_gone(path)
        assert json.loads(site.by_method(f"{path}-never-stored").body)["purged"] is False
    assert "PURGE" not in {request.method for request in site.origin.requests}


def test_a_purge_request_of_who_is_not_on_the_list_is_refused_and_goes_nowhere(site: Site) -> None:
    site.stored("/closed/vary/a")
    assert site.by_method("/closed/vary/a").status == 403
    assert site.is_old("/closed/vary/a")
    assert "PURGE" not in {request.method for request in site.origin.requests}


@by_h1
def test_the_admin_api_purges_several_at_once(site: Site) -> None:
    site.stored("/vary/one", "/vary/two", "/vary/three")
    said = ask_admin(
        site.edge.settings.state_dir, "POST", "/purge", {"tags": ["page-one", "page-two"], "soft": False}
    )
    assert said["purged"] == {"page-one": True, "page-two": True}
    site.assert_gone("/vary/one")
    site.assert_gone("/vary/two")
    assert site.is_old("/vary/three")


@pytest.mark.parametrize("way", ["url", "method", "tag", "prefix", "post"])
def test_a_route_with_key_rules_is_purged_by_the_same_url(site: Site, way: str) -> None:
    path = f"/ruled/vary/{way}"
    site.stored(f"{path}?utm_a=1")
    assert site.is_old(path)
    assert site.origin.requests[-1].target == f"{path}?utm_a=1"  # the origin gets what was asked for
    if way == "method":
        assert json.loads(site.by_method(f"{path}?utm_b=2").body)["purged"] is None
    elif way == "post":  # RFC 9111 4.4
        site.ask(f"{path}?utm_c=3", "Content-Length: 0\r\n", method="POST")
    else:
        url = site.url(path)
        site.purge(
            *{"url": [url], "tag": ["--tag", "page-" + way + "?utm_a=1"], "prefix": ["--prefix", url]}[way]
        )
    site.assert_gone(path)


def test_no_client_sees_the_tags(site: Site) -> None:
    replies = [site.ask("/plain/tags", fields) for fields in ("", "", "Range: bytes=0-1\r\n")]
    replies.append(site.ask("/plain/tags", method="HEAD"))
    replies.append(site.ask("/plain/tags", "Content-Length: 0\r\n", method="POST"))
    assert [reply.status for reply in replies] == [200, 200, 206, 200, 200]
    for reply in replies:
        assert not {"cache-tag", "surrogate-key", "xkey"} & set(reply.fields)


@pytest.mark.parametrize(
    "how",
    [
        ["http://edge.test/vary/slow"],
        ["--prefix", "http://edge.test/vary/"],
        ["--tag", "slow"],
        ["--host", "edge.test"],
        ["--all"],
    ],
)
def test_a_purge_wins_over_a_slow_fetch_begun_before_it(tmp_path: Path, how: list[str]) -> None:
    with (
        ScriptedOrigin([answer()]) as origin,
        Cluster(routes(settings(tmp_path / "s", origin=origin.url, workers=2))) as edge,
    ):
        site = Site(edge, origin)

        async def whole() -> Answer:
            waiting = asyncio.create_task(site.asking("/vary/slow", VARIANTS[0]))
            await asyncio.to_thread(origin.wait_for, lambda origin: origin.stalled == 1)
            site.edition += 1
            await asyncio.to_thread(site.purge, *how)
            origin.release()
            return await waiting

        assert asyncio.run(whole()).body == b"edition 0"
        site.assert_gone("/vary/slow")
        assert len(origin.requests) == 3
