"""Chromium loads a page and all that belongs to it from a whole edge: over HTTP/2, and HTTP/3 once served."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.chromium import dump_dom
from tests.support.cluster import wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from tests.support.tls_pair import write_pair
from tests.support.versions import HAS_H3

SCRIPTS = 30
PAGE = (
    """<!doctype html><title>page</title><link rel="stylesheet" href="/style.css"><body>
<img src="/image.png"><script>var loaded = []</script>"""
    + "".join(f'<script src="/script/{number}.js"></script>' for number in range(SCRIPTS))
    + """<script>
addEventListener("load", () => {
  const told = document.body.dataset;
  told.loaded = loaded.join();
  told.color = getComputedStyle(document.body).color;
  told.image = document.querySelector("img").naturalWidth;
  const protocols = performance.getEntries().map((entry) => entry.nextHopProtocol);
  told.protocols = [...new Set(protocols.filter(Boolean))].join();
})</script>"""
)


def png(width: int) -> bytes:
    """A black line of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x08\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 + width)))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def respond(request: Recorded) -> Step:
    stored = "Cache-Control: max-age=600"
    if request.target == "/style.css":
        return answer(b"body { color: rgb(1, 2, 3) }", headers=(stored, "Content-Type: text/css"))
    if request.target == "/image.png":
        return answer(png(17), headers=(stored, "Content-Type: image/png"))
    if request.target.startswith("/script/"):
        number = request.target[8:-3]
        return answer(f"loaded.push({number})".encode(), headers=(stored, "Content-Type: text/javascript"))
    if request.target == "/":
        return answer(PAGE.encode(), headers=("Cache-Control: no-store", "Content-Type: text/html"))
    return answer(b"", "404 Not Found")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def edge(directory: Path) -> Iterator[ConfiguredEdge]:
    certificate, key = write_pair(trustme.CA(), directory)
    text = "log: {path: access.log}\n"
    text += f"tls: {{certificate: {certificate}, key: {key}}}\n"
    with (
        ScriptedOrigin(respond) as origin,
        configured_edge(directory, f"{text}sites: [{{origin: '{origin.url}'}}]") as running,
    ):
        yield running


@pytest.mark.parametrize(
    ("version", "protocol"), [("2", "h2"), *([("3", "h3")] if HAS_H3 else [])], ids=lambda value: value
)
def test_a_page_with_all_that_belongs_to_it(
    edge: ConfiguredEdge, directory: Path, tmp_path: Path, version: str, protocol: str
) -> None:
    dom = dump_dom(
        f"https://{protocol}.test/", edge.ends.tls, directory / "a.pem", tmp_path, over_quic=protocol == "h3"
    )
    assert f'data-loaded="{",".join(map(str, range(SCRIPTS)))}"' in dom
    assert 'data-color="rgb(1, 2, 3)"' in dom
    assert 'data-image="17"' in dom
    assert f'data-protocols="{protocol}"' in dom

    def logged() -> list[dict[str, object]]:
        lines = map(json.loads, (directory / "access.log").read_text().splitlines())
        return [
            line for line in lines if line["host"] == f"{protocol}.test" and line["path"] != "/favicon.ico"
        ]

    wait_until(lambda: len(logged()) >= SCRIPTS + 3)
    assert {(line["version"], line["status"]) for line in logged()} == {(version, 200)}
    assert len(logged()) == SCRIPTS + 3
