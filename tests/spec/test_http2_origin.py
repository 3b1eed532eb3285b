"""Caching in front of an HTTP/2 origin: nginx, asked with prior knowledge."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caching_edge import cache_status, is_hit
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.nginx import nginx

PAGE = b"<p>" + b"hello " * 1000
LARGE = bytes(range(256)) * 4_000


class Running:
    def __init__(self, edge: ConfiguredEdge, root: Path) -> None:
        self.edge = edge
        self._root = root

    def asked(self, path: str) -> list[str]:
        """What nginx has logged of requests for that path."""
        lines = (self._root / "access.log").read_text().splitlines()
        return [line for line in lines if f" {path} " in line]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("nginx")
    with nginx(root, http2=True) as (url, site):
        (site / "page.html").write_bytes(PAGE)
        (site / "large.bin").write_bytes(LARGE)
        text = f"sites: [{{origin: {{url: '{url}', protocol: h2}}}}]"
        with configured_edge(tmp_path_factory.mktemp("edge"), text) as edge:
            yield Running(edge, root)


def test_the_second_request_is_a_hit(running: Running) -> None:
    first = running.edge.ask("/fresh/page.html")
    assert (first.status, first.body) == (200, PAGE)
    assert cache_status(first)[:2] == ["fwd=uri-miss", "fwd-status=200"]
    for _ in range(4):
        again = running.edge.ask("/fresh/page.html")
        assert is_hit(again)
        assert again.body == PAGE
    (line,) = running.asked("/fresh/page.html")
    assert "HTTP/2.0" in line


def test_a_stale_response_is_validated(running: Running) -> None:
    first = running.edge.ask("/stale/page.html")
    again = running.edge.ask("/stale/page.html")
    assert (again.status, again.body) == (200, PAGE)
    assert cache_status(again)[:2] == ["fwd=stale", "fwd-status=304"]
    assert again.fields["etag"] == first.fields["etag"]


def test_a_client_gets_304_and_ranges_from_what_is_stored(running: Running) -> None:
    etag = running.edge.ask("/fresh/large.bin").fields["etag"]
    assert running.edge.ask("/fresh/large.bin", f"If-None-Match: {etag}").status == 304
    part = running.edge.ask("/fresh/large.bin", "Range: bytes=1000000-1000099")
    assert (part.status, part.body) == (206, LARGE[1000000:1000100])
    assert running.edge.ask("/fresh/large.bin", method="HEAD").fields["content-length"] == str(len(LARGE))
    assert len(running.asked("/fresh/large.bin")) == 1


def test_what_is_not_there_is_not_there(running: Running) -> None:
    assert running.edge.ask("/none").status == 404
