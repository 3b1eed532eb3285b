"""A directory as the origin of a whole edge: files, validators, ranges, and what never gets out."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caching_edge import cache_status, is_hit
from tests.support.client import Answer
from tests.support.configured_edge import ConfiguredEdge, configured_edge

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 1000
LARGE = os.urandom(1024) * 3072  # 3 MiB

CONFIG = """
sites:
  - origin: ./site
    cache: {max_object: 2MiB}
    routes:
      - prefix: /static/
        origin: {url: ./site, index: [start.html, index.html]}
        rewrite: {strip_prefix: /static}
      - {prefix: /timed/, cache: {by_status: {200: 60s, 404: 60s}}}
      - {prefix: /direct/, cache: false}
      - {prefix: /plain/, compression: false}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("directory")
    root = directory / "site"
    for name in ("docs", "timed", "direct", "plain", ".git", ".well-known/acme-challenge"):
        (root / name).mkdir(parents=True)
        (root / name / "page.html").write_bytes(TEXT)
        (root / name / "large.bin").write_bytes(LARGE)
    (root / "index.html").write_text("home")
    (root / "docs" / "start.html").write_text("start")
    (root / "docs" / "index.html").write_text("index")
    (root / ".env").write_text("secret")
    (directory / "secret.txt").write_text("secret")
    (root / "outside").symlink_to("..")
    (root / "secret-link.txt").symlink_to("../secret.txt")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture(scope="module")
def running(root: Path) -> Iterator[ConfiguredEdge]:
    with configured_edge(root.parent, CONFIG) as running:
        yield running


@pytest.fixture
def edge(running: ConfiguredEdge, root: Path, over: str) -> ConfiguredEdge:
    """Each version begins with an empty cache, and with the files as they were."""
    running.purge()
    (root / "docs" / "page.html").write_bytes(TEXT)
    for made in ("timed/missing", "docs/fresh.bin"):
        (root / made).unlink(missing_ok=True)
    return running.by(over)


def test_a_file_is_stored_and_asked_about_by_every_request(edge: ConfiguredEdge, root: Path) -> None:
    """No lifetime is invented: a change is seen at once, and what has not changed comes from the cache."""
    first = edge.ask("/docs/page.html")
    assert (first.status, first.body) == (200, TEXT)
    assert first.fields["content-type"] == "text/html; charset=utf-8"
    again = edge.ask("/docs/page.html")
    assert again.fields["x-cache"] == "REVALIDATED"
    assert "fwd-status=304" in cache_status(again)
    assert again.body == TEXT
    (root / "docs" / "page.html").write_bytes(b"changed")
    assert edge.ask("/docs/page.html").body == b"changed"


def test_a_lifetime_by_rule_makes_hits(edge: ConfiguredEdge, root: Path) -> None:
    edge.ask("/timed/page.html")
    hit = edge.ask("/timed/page.html")
    assert is_hit(hit)
    assert hit.body == TEXT
    edge.ask("/timed/missing")
    (root / "timed" / "missing").write_text("late")
    assert is_hit(missing := edge.ask("/timed/missing"))
    assert missing.status == 404


def test_text_is_compressed_once_and_stays_validatable(edge: ConfiguredEdge) -> None:
    coded = edge.ask("/timed/page.html", "Accept-Encoding: gzip")
    assert coded.fields["content-encoding"] == "gzip"
    assert len(coded.body) < len(TEXT) // 10
    again = edge.ask("/timed/page.html", "Accept-Encoding: gzip", f"If-None-Match: {coded.fields['etag']}")
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("prefix", ["/docs", "/timed", "/direct", "/plain"])
def test_conditions(edge: ConfiguredEdge, prefix: str) -> None:
    path = f"{prefix}/large.bin"
    whole = edge.ask(path)
    assert whole.body == LARGE
    etag, modified = whole.fields["etag"], whole.fields["last-modified"]
    for condition in (f"If-None-Match: {etag}", f"If-Modified-Since: {modified}"):
        got = edge.ask(path, condition)
        assert (got.status, got.body, got.fields["etag"]) == (304, b"", etag)
    assert edge.ask(path, 'If-None-Match: "x"').status == 200
    assert edge.ask(path, 'If-Match: "x"').status == 412
    assert edge.ask(path, f"If-Match: {etag}", "Range: bytes=0-9").body == LARGE[:10]


@pytest.mark.parametrize(("prefix", "name"), [
    ("/timed", "page.html"), ("/direct", "page.html"), ("/plain", "page.html"),
    ("/timed", "large.bin"), ("/direct", "large.bin"), ("/plain", "large.bin"),
])  # fmt: skip
def test_ranges(edge: ConfiguredEdge, root: Path, prefix: str, name: str) -> None:
    content = (root / prefix[1:] / name).read_bytes()
    size = len(content)
    path = f"{prefix}/{name}"
    etag = edge.ask(path).fields["etag"]

    def ranged(asked: str, *more: str) -> Answer:
        return edge.ask(path, f"Range: bytes={asked}", *more)

    for asked, start, stop in (("0-0", 0, 1), ("100-", 100, size), ("-100", size - 100, size)):
        got = ranged(asked)
        assert (got.status, got.body) == (206, content[start:stop])
        assert got.fields["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    assert ranged("5-9", f"If-Range: {etag}").status == 206
    assert ranged("5-9", 'If-Range: "x"').body == content
    past = ranged(f"{size}-")
    assert (past.status, past.fields["content-range"]) == (416, f"bytes */{size}")


def test_the_first_range_of_a_file_too_large_for_the_cache(edge: ConfiguredEdge, root: Path) -> None:
    (root / "docs" / "fresh.bin").write_bytes(LARGE)
    got = edge.ask("/docs/fresh.bin", "Range: bytes=3000000-3000009")
    assert (got.status, got.body) == (206, LARGE[3_000_000:3_000_010])


def test_head_tells_what_get_would(edge: ConfiguredEdge) -> None:
    for path in ("/direct/page.html", "/direct/large.bin", "/docs/large.bin"):
        got, head = edge.ask(path), edge.ask(path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges"):
            assert head.fields[name] == got.fields[name]


def test_directories_index_files_and_a_prefix_of_their_own(edge: ConfiguredEdge) -> None:
    assert edge.ask("/").body == b"home"
    assert edge.ask("/docs/").body == b"index"
    assert edge.ask("/static/docs/").body == b"start"
    assert edge.ask("/docs?x").fields["location"] == "/docs/?x"
    assert edge.ask("/static/docs").fields["location"] == "/static/docs/"
    assert edge.ask("/plain/").status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_not_allowed(edge: ConfiguredEdge, method: str) -> None:
    got = edge.ask("/docs/", "Content-Length: 0", method=method)
    assert (got.status, got.fields["allow"]) == (405, "GET, HEAD")


OUTSIDE = [
    "/../secret.txt", "/docs/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
    "/%2e%2e%2fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt",
    "/docs/..%2f..%2fsecret.txt", "/%252e%252e/secret.txt",
    "/secret-link.txt", "/outside/secret.txt", "/outside", "/outside/", "//etc/passwd", "/%2fetc/passwd",
    "/secret.txt%00.html", "/%00", "/.env", "/%2eenv", "/.git/page.html", "/docs/../.env", "/static/.env",
    "/static/../.env", "/static/%2e%2e/secret.txt", "/fifo", "/" + "x" * 5000, "/" + "x/" * 2000,
    "/.well-known/../.env", "/docs/page.html/", "/docs/page.html/../../.env",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path[:40])
def test_nothing_hidden_or_outside_is_told(edge: ConfiguredEdge, path: str) -> None:
    got = edge.ask(path)
    assert got.status in (400, 404)
    assert b"secret" not in got.body
    assert b"root:" not in got.body


def test_well_known_files_are_for_everybody(edge: ConfiguredEdge) -> None:
    assert edge.ask("/.well-known/acme-challenge/page.html").body == TEXT


def test_a_directory_that_comes_back_is_served_again(edge: ConfiguredEdge, root: Path) -> None:
    hidden = root.with_name("away")
    root.rename(hidden)
    try:
        assert edge.ask("/direct/page.html").status == 502
    finally:
        hidden.rename(root)
    assert edge.ask("/direct/page.html").body == TEXT
