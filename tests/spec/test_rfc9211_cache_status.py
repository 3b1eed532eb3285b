"""RFC 9211: what Cache-Status says of every way a request can go, through a whole edge."""

import re

import pytest

from tests.support.caching_edge import CachingEdge, cache_status
from tests.support.client import Answer
from tests.support.scripted_origin import answer, script

FRESH = "Cache-Control: max-age=600"
TAG = 'ETag: "a"'
GONE_FOR_IT = "fwd=uri-miss; fwd-status=200"


def told(answer: Answer) -> str:
    """All parameters, times left out."""
    return re.sub(r"ttl=(-?)\d+", r"ttl=\1N", "; ".join(cache_status(answer)))


FIRST = [  # response, request -> of a request for which nothing is stored
    pytest.param([FRESH], [], "fwd=uri-miss; fwd-status=200; stored; ttl=N", id="a miss"),
    pytest.param(["Cache-Control: no-store"], [], f"{GONE_FOR_IT}; detail=no-store", id="no-store"),
    pytest.param(["Cache-Control: private"], [], f"{GONE_FOR_IT}; detail=private", id="private"),
    pytest.param([FRESH, "Set-Cookie: a=b"], [], f"{GONE_FOR_IT}; detail=set-cookie", id="a cookie"),
    pytest.param([FRESH, "Vary: *"], [], f"{GONE_FOR_IT}; detail=vary-star", id="Vary: *"),
    pytest.param(
        [FRESH], ["Cache-Control: no-store"],
        "fwd=request; fwd-status=200; detail=request-no-store", id="a client's no-store",
    ),
    pytest.param(
        [FRESH], ["Authorization: x"],
        "fwd=uri-miss; fwd-status=200; detail=authorization", id="authorization",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("response", "request_fields", "expected"), FIRST)
def test_a_request_for_what_is_not_stored(
    edge: CachingEdge, response: list[str], request_fields: list[str], expected: str
) -> None:
    assert told(edge.ask(edge.serve(*response), *request_fields)) == expected


SECOND = [  # response, request -> of a request for which something is stored
    pytest.param([FRESH], [], "hit; ttl=N", id="a hit"),
    pytest.param([FRESH, TAG], ['If-None-Match: "a"'], "hit; ttl=N", id="a 304 from the cache is a hit"),
    pytest.param([FRESH], ["Range: bytes=0-1"], "hit; ttl=N", id="a 206 from the cache is a hit"),
    pytest.param(
        ["Cache-Control: max-age=1, stale-while-revalidate=600", "Age: 9"],
        [],
        "hit; ttl=-N",
        id="a stale hit",
    ),
    pytest.param(
        [FRESH], ["Cache-Control: no-cache"], "fwd=request; fwd-status=200; stored; ttl=N", id="request"
    ),
    pytest.param(
        ["Cache-Control: max-age=0", TAG],
        [],
        "fwd=stale; fwd-status=200; stored; ttl=N",
        id="stale, replaced",
    ),
    pytest.param(
        [FRESH, "Vary: X-A"], ["X-A: 1"], "fwd=vary-miss; fwd-status=200; stored; ttl=N", id="vary-miss"
    ),
]


@pytest.mark.parametrize(("response", "request_fields", "expected"), SECOND)
def test_a_request_for_what_is_stored(
    edge: CachingEdge, response: list[str], request_fields: list[str], expected: str
) -> None:
    path = edge.serve(*response)
    edge.ask(path)
    assert told(edge.ask(path, *request_fields)) == expected


def test_the_status_of_the_origin_is_told_where_the_client_gets_another(edge: CachingEdge) -> None:
    path = edge.script(
        lambda request: (
            answer(b"", "304 Not Modified", (FRESH, TAG))
            if "if-none-match" in request.headers
            else answer(b"x", headers=("Cache-Control: max-age=0", TAG))
        )
    )
    edge.ask(path)
    validated = edge.ask(path)
    assert validated.status == 200
    assert told(validated) == "fwd=stale; fwd-status=304; stored; ttl=N"


def test_a_method_that_is_always_forwarded(edge: CachingEdge) -> None:
    assert told(edge.ask(edge.serve(FRESH), method="POST")) == "fwd=method; fwd-status=200"


def test_what_caches_on_the_way_said_stays(edge: CachingEdge) -> None:
    path = edge.serve(FRESH, "Cache-Status: inner; hit")
    first, hit = edge.ask(path), edge.ask(path)
    assert first.fields["cache-status"].startswith("inner; hit, edgecluster; fwd=uri-miss")
    assert hit.fields["cache-status"].startswith("inner; hit, edgecluster; hit")


def crowd(edge: CachingEdge, *headers: str) -> list[str]:
    """What each of several is told whose requests come while the first one is being answered."""
    page = answer(b"x", headers=headers)
    path = edge.script(lambda request: script(0.5, page))
    return [told(one) for one in edge.ask_many(path, 10)]


def test_who_waited_for_another_request_says_so(edge: CachingEdge) -> None:
    said = crowd(edge, FRESH)
    assert said.count("fwd=uri-miss; fwd-status=200; stored; ttl=N") == 1
    assert said.count("fwd=uri-miss; ttl=N; collapsed") == 9


def test_who_waited_in_vain_says_so(edge: CachingEdge) -> None:
    said = crowd(edge, "Cache-Control: private")
    assert said.count("fwd=uri-miss; fwd-status=200; detail=private") == 1
    assert said.count("fwd=uri-miss; fwd-status=200; collapsed=?0; detail=private") == 9
