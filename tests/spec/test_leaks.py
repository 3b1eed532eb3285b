"""Leaks in origins' answers, through a whole edge by its configuration file, over every version of HTTP."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cluster.cli.admin import ask_admin
from tests.support.caching_edge import cache_status, is_hit
from tests.support.cluster import wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.nginx import nginx
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire, answer

CONFIG = """
admin: http://127.0.0.1:0
log: {{path: {directory}/access.log}}
sites:
  - origin: {scripted}
    leaks: mask
    routes:
      - {{prefix: /list/, origin: {nginx}}}
      - {{prefix: /fresh/, origin: {nginx}}}
      - {{prefix: /log/, leaks: log, rewrite: {{strip_prefix: /log}}}}
      - {{prefix: /off/, leaks: off, rewrite: {{strip_prefix: /off}}}}
      - {{prefix: /replace/, leaks: {{mode: replace, status: 503}}, rewrite: {{strip_prefix: /replace}}}}
      - {{prefix: /keys/, leaks: {{mode: mask, kinds: private_key}}, rewrite: {{strip_prefix: /keys}}}}
      - {{prefix: /short/, leaks: {{mode: mask, limit: 10B}}, rewrite: {{strip_prefix: /short}}}}
      - prefix: /stale/
        leaks: replace
        cache: {{stale_if_error: 1h}}
        rewrite: {{strip_prefix: /stale}}
"""
CARD = b"4111 1111 1111 1111"
PAGE = b"<p>" + b"word " * 200 + CARD + b"</p>\n"
LARGE = b"<p>" + b"word " * 100_000 + CARD + b"</p>\n"
MASKED = b"*" * len(CARD)
HTML = "Content-Type: text/html"
FRESH = "Cache-Control: max-age=60"
TAG = 'ETag: "one"'


def in_pieces(*pieces: bytes, kind: str = "text/html") -> Step:
    async def script(wire: Wire) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{FRESH}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.write(head.encode())
        for piece in pieces:
            await wire.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await wire.pause(0.02)
        await wire.write(b"0\r\n\r\n")

    return script


def respond(request: Recorded, turned: set[str]) -> Step:
    if request.target.startswith("/turns"):
        return answer(PAGE if request.target in turned else b"<p>nothing</p>", headers=[HTML, FRESH])
    match request.target.rpartition("/")[2]:
        case "page":
            digest = "Content-Digest: sha-256=:AAAA:"
            return answer(PAGE, headers=[HTML, FRESH, TAG, digest, "Accept-Ranges: bytes"])
        case "clean":
            return answer(b"<p>nothing</p>", headers=[HTML, FRESH, TAG, "Content-Digest: sha-256=:AAAA:"])
        case "large":
            return answer(LARGE, headers=[HTML, FRESH, TAG])
        case "private":
            return answer(PAGE, headers=[HTML, "Cache-Control: private"])
        case "failed":
            return answer(PAGE, "500 Internal Server Error", [HTML])
        case "cut":
            return in_pieces(b"<p>4111 1111 ", b"1111 1111", b"</p>")
        case "late":
            return in_pieces(*[b"word " * 6000] * 6, CARD + b" ", *[b"word " * 600] * 2)
        case "picture":
            return answer(PAGE, headers=["Content-Type: image/png", FRESH, TAG])
        case "untyped":
            return answer(PAGE, headers=["Content-Type: application/octet-stream", FRESH])
        case "binary":
            return answer(b"\0" + PAGE, headers=["Content-Type: application/octet-stream", FRESH])
        case "coded":
            return answer(gzip.compress(PAGE), headers=[HTML, FRESH, "Content-Encoding: gzip"])
        case "part" if "range" in request.headers:
            return answer(
                CARD[:9],
                "206 Partial Content",
                [HTML, "Content-Range: bytes 0-8/19", "Cache-Control: private"],
            )
        case "part":
            return answer(CARD, headers=[HTML, "Cache-Control: private"])
    return answer(b"", "404 Not Found")


class Running:
    """The edge, its origin and what it has logged."""

    def __init__(
        self, edge: ConfiguredEdge, origin: ScriptedOrigin, directory: Path, site: Path, turned: set[str]
    ) -> None:
        self.edge = edge
        self.origin = origin
        self.site = site
        self.turned = turned  # paths whose content has a leak from now on
        self._log = directory / "access.log"

    def logged(self, request_id: str) -> dict[str, object]:
        def line() -> dict[str, object] | None:
            lines = map(json.loads, self._log.read_text().splitlines())
            return next((one for one in lines if one["request_id"] == request_id), None)

        found: dict[str, object] = wait_until(line)
        return found

    def metric(self, name: str) -> float:
        with urlopen(f"{self.edge.cluster.admin_url}/metrics") as answered:
            lines = answered.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"edgecluster_{name} "))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("leaks")
    turned: set[str] = set()
    with (
        ScriptedOrigin(lambda request: respond(request, turned)) as origin,
        nginx(tmp_path_factory.mktemp("nginx")) as (url, site),
    ):
        text = CONFIG.format(scripted=origin.url, nginx=url, directory=directory)
        with configured_edge(directory, text) as edge:
            yield Running(edge, origin, directory, site, turned)


@pytest.fixture
def edge(running: Running, over: str) -> ConfiguredEdge:
    """Its paths are known beforehand, so that each version begins with an empty cache."""
    running.edge.purge()
    return running.edge.by(over)


@pytest.mark.parametrize("page", ["page", "large"])
def test_a_masked_body_is_what_is_stored_and_hit(edge: ConfiguredEdge, page: str) -> None:
    whole = {"page": PAGE, "large": LARGE}[page].replace(CARD, MASKED)
    fetched, hit = edge.ask(f"/{page}"), edge.ask(f"/{page}")
    assert fetched.body == hit.body == whole
    assert not is_hit(fetched)
    assert is_hit(hit)
    assert fetched.fields["etag"] == hit.fields["etag"] == 'W/"one"'
    assert "content-digest" not in hit.fields
    begin = whole.index(MASKED)
    part = edge.ask(f"/{page}", f"Range: bytes={begin}-{begin + 9}")
    assert (part.status, part.body) == (206, MASKED[:10])
    assert edge.ask(f"/{page}", 'If-None-Match: W/"one"').status == 304


def test_compression_comes_behind_it(edge: ConfiguredEdge, running: Running) -> None:
    for _ in range(2):
        coded = edge.ask("/page", "Accept-Encoding: gzip")
        assert coded.fields["content-encoding"] == "gzip"
        assert gzip.decompress(coded.body) == PAGE.replace(CARD, MASKED)
    assert "accept-encoding" not in running.origin.requests[-1].headers


def test_a_clean_page_keeps_its_fields(edge: ConfiguredEdge) -> None:
    clean = edge.ask("/clean")
    assert clean.fields["etag"] == '"one"'
    assert "content-digest" in clean.fields


@pytest.mark.parametrize("path", ["/private", "/failed", "/untyped"])
def test_what_is_not_stored_or_has_no_type_and_errors_are_masked_too(edge: ConfiguredEdge, path: str) -> None:
    for _ in range(2):
        assert edge.ask(path).body == PAGE.replace(CARD, MASKED)


@pytest.mark.parametrize("path", ["/picture", "/off/page", "/keys/page", "/short/page"])
def test_what_is_no_text_and_what_nobody_asked_to_look_for_is_left(edge: ConfiguredEdge, path: str) -> None:
    assert edge.ask(path).body == PAGE
    assert edge.ask("/binary").body == b"\0" + PAGE


def test_a_leak_that_comes_in_pieces_is_masked(edge: ConfiguredEdge) -> None:
    for _ in range(2):
        assert edge.ask("/cut").body == b"<p>" + MASKED + b"</p>"


def test_log_changes_nothing_and_tells_log_and_metrics(edge: ConfiguredEdge, running: Running) -> None:
    before = running.metric('leaks_total{kind="card_number"}')
    logged = edge.ask("/log/page")
    assert logged.body == PAGE
    assert logged.fields["etag"] == '"one"'
    assert running.logged(logged.fields["x-request-id"])["leaks"] == "card_number"
    assert running.metric('leaks_total{kind="card_number"}') == before + 1
    assert "leaks" not in running.logged(edge.ask("/log/page").fields["x-request-id"])  # a hit


def test_replace_answers_an_error_that_is_not_stored(edge: ConfiguredEdge, running: Running) -> None:
    for _ in range(2):
        refused = edge.ask("/replace/page", "Accept: application/json")
        assert refused.status == 503
        said = json.loads(refused.body)
        assert said["reason"] == "leak"
        assert said["request_id"] == refused.fields["x-request-id"]
        assert "detail=leak" in cache_status(refused)
        line = running.logged(refused.fields["x-request-id"])
        assert (line["fault"], line["side"], line["leaks"]) == ("leak", "origin", "card_number")
    assert edge.ask("/replace/clean").status == 200


def test_a_leak_behind_the_head_start_cuts_the_answer_and_nothing_is_stored(edge: ConfiguredEdge) -> None:
    for _ in range(2):
        cut = edge.ask("/replace/late")
        assert cut.status == 200
        assert not cut.whole
        assert not is_hit(cut)
        assert CARD not in cut.body


def test_a_coded_answer_passes_and_is_counted(edge: ConfiguredEdge, running: Running) -> None:
    before = running.metric("leaks_missed_total")
    assert gzip.decompress(edge.ask("/coded", "Accept-Encoding: gzip").body) == PAGE
    assert running.metric("leaks_missed_total") == before + 1


def test_of_a_text_no_part_is_taken_from_the_origin(edge: ConfiguredEdge) -> None:
    for _ in range(3):  # the second time its key is known not to be storable
        got = edge.ask("/part", "Range: bytes=0-8")
        assert got.body in (MASKED, MASKED[:9])
    assert edge.ask("/log/part").body == CARD


def test_stale_is_better_than_a_leak(edge: ConfiguredEdge, running: Running, over: str) -> None:
    path = "/stale/turns" + over.replace("+", "")
    assert edge.ask(path).body == b"<p>nothing</p>"
    running.turned.add(path.removeprefix("/stale"))
    ask_admin(edge.cluster.settings.state_dir, "POST", "/purge", {"all": True, "soft": True})
    stale = edge.ask(path)
    assert (stale.status, stale.body) == (200, b"<p>nothing</p>")
    assert stale.fields["x-cache"] == "STALE"


def test_a_directory_listing_and_a_file_of_nginx_are_masked(edge: ConfiguredEdge, running: Running) -> None:
    (running.site / "secret-name.sql").write_bytes(b"x")
    (running.site / "settings.env").write_bytes(b"APP=shop\nDB_PASSWORD=hunter2\n" + b"# comment\n" * 20_000)
    listed = edge.ask("/list/")
    assert listed.status == 200
    assert b"secret-name" not in listed.body
    for _ in range(2):
        file = edge.ask("/fresh/settings.env")
        assert file.body.startswith(b"APP=shop\n*******************\n# comment")
        assert len(file.body) == (running.site / "settings.env").stat().st_size
    assert is_hit(file)
