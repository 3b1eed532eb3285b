"""What a route's own rules change, through a whole edge."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import CachingEdge, cache_status, is_hit
from worker.settings import CacheSettings

RULES = CacheSettings(
    ignore_client=True,
    heuristic=0.1,
    by_status=((404, 404, 10), (500, 599, 1)),
    max_ttl_s=600,
    browser_ttl_s=5,
    stale_while_revalidate_s=300,
)


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    with CachingEdge(tmp_path_factory.mktemp("ruled"), RULES) as running:
        yield running


@pytest.mark.parametrize("field", ["Cache-Control: no-cache", "Cache-Control: max-age=0", "Pragma: no-cache"])
def test_clients_cannot_bypass_the_cache(edge: CachingEdge, field: str) -> None:
    path = edge.serve("Cache-Control: max-age=60")
    edge.ask(path)
    assert is_hit(edge.ask(path, field))


LIFETIMES = [  # status, response -> Cache-Status of the fetch
    pytest.param("404 Not Found", [], "ttl=10", id="by status"),
    pytest.param("503 Service Unavailable", [], "ttl=1", id="by class"),
    pytest.param("404 Not Found", ["Cache-Control: max-age=99"], "ttl=99", id="unless the origin says"),
    pytest.param("200 OK", ["Cache-Control: max-age=9999"], "ttl=600", id="at most"),
    pytest.param("200 OK", ["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"], "ttl=600", id="heuristic"),
]


@pytest.mark.parametrize(("status", "response", "told"), LIFETIMES)
def test_lifetimes(edge: CachingEdge, status: str, response: list[str], told: str) -> None:
    path = edge.serve(*response, status=status)
    assert {"stored", told} <= set(cache_status(edge.ask(path)))
    assert is_hit(edge.ask(path))


def test_browsers_are_told_a_lifetime_of_their_own(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: public, max-age=60", "Expires: 0", "Age: 20")
    edge.ask(path)
    hit = edge.ask(path)
    assert hit.fields["cache-control"] == f"public, max-age={int(hit.fields['age']) + 5}"
    assert "expires" not in hit.fields


def test_what_nobody_may_store_keeps_the_words_of_the_origin(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: private, max-age=60")
    assert edge.ask(path).fields["cache-control"] == "private, max-age=60"
    assert not is_hit(edge.ask(path))


def test_a_stale_response_is_served_while_the_origin_is_asked(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: max-age=60", "Age: 90")
    edge.ask(path)
    assert cache_status(edge.ask(path))[0] == "hit"
