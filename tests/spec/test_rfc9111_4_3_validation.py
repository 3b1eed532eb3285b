"""RFC 9111 4.3, RFC 9110 13: conditions of clients, questions to the origin, freshening; a whole edge."""

import pytest

from tests.support.caching_edge import BODY, CachingEdge, cache_status, is_hit
from tests.support.scripted_origin import Recorded, answer

DATE, LATER, EARLIER = (
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Mon, 07 Nov 1994 08:49:37 GMT",
    "Sat, 05 Nov 1994 08:49:37 GMT",
)
STORED = ("Cache-Control: max-age=60", 'ETag: "a"', f"Last-Modified: {DATE}")

CONDITIONS = [  # of a client on a stored 200 -> status
    pytest.param(['If-None-Match: "a"'], 304, id="the same tag"),
    pytest.param(['If-None-Match: W/"a"'], 304, id="weakly the same"),
    pytest.param(['If-None-Match: "b", "a"'], 304, id="one of a list"),
    pytest.param(['If-None-Match: "b"', 'If-None-Match: "a"'], 304, id="one of two lines"),
    pytest.param(["If-None-Match: *"], 304, id="any"),
    pytest.param(['If-None-Match: "b"'], 200, id="another tag"),
    pytest.param([f"If-Modified-Since: {DATE}"], 304, id="the same date"),
    pytest.param([f"If-Modified-Since: {LATER}"], 304, id="a later date"),
    pytest.param([f"If-Modified-Since: {EARLIER}"], 200, id="an earlier date"),
    pytest.param(["If-Modified-Since: now"], 200, id="no date"),
    pytest.param(['If-None-Match: "b"', f"If-Modified-Since: {LATER}"], 200, id="the tag decides"),
    pytest.param(['If-None-Match: "a"', f"If-Modified-Since: {EARLIER}"], 304, id="in both ways"),
    pytest.param(['If-None-Match: "a"', "Range: bytes=0-1"], 304, id="before the range"),
    pytest.param(['If-None-Match: "b"', "Range: bytes=0-1"], 206, id="then the range"),
]


@pytest.mark.parametrize(("fields", "status"), CONDITIONS)
def test_conditions_are_answered_from_the_cache(edge: CachingEdge, fields: list[str], status: int) -> None:
    path = edge.serve(*STORED)
    edge.ask(path)
    found = edge.ask(path, *fields)
    assert (found.status, is_hit(found)) == (status, True)
    assert found.fields["etag"] == '"a"'
    assert len(edge.asked(path)) == 1


@pytest.mark.parametrize("field", ['If-Match: "b"', f"If-Unmodified-Since: {EARLIER}"])
def test_conditions_that_only_the_origin_may_judge_reach_it(edge: CachingEdge, field: str) -> None:
    def handler(request: Recorded) -> bytes:
        if "if-match" in request.headers or "if-unmodified-since" in request.headers:
            return answer(b"", "412 Precondition Failed")
        return answer(BODY, headers=STORED)

    path = edge.script(handler)
    edge.ask(path)
    refused = edge.ask(path, field)
    assert (refused.status, cache_status(refused)[0]) == (412, "fwd=request")
    assert is_hit(edge.ask(path))


def test_a_304_of_the_origin_freshens_what_is_stored(edge: CachingEdge) -> None:
    def handler(request: Recorded) -> bytes:
        if request.headers.get("if-none-match") == '"a"':
            return answer(
                b"",
                "304 Not Modified",
                ('ETag: "a"', "Cache-Control: max-age=600", "X-A: 2", "Content-Type: text/new"),
            )
        return answer(
            BODY, headers=('ETag: "a"', "Cache-Control: max-age=0", "X-A: 1", "Content-Type: text/plain")
        )

    path = edge.script(handler)
    assert edge.ask(path).fields["x-a"] == "1"
    again = edge.ask(path)
    assert cache_status(again)[:3] == ["fwd=stale", "fwd-status=304", "stored"]
    for found in (again, edge.ask(path)):
        assert (found.status, found.body, found.fields["x-a"]) == (200, BODY, "2")
        assert found.fields["content-type"] == "text/new"
    assert len(edge.asked(path)) == 2


def test_a_304_about_another_response_is_asked_again_without_condition(edge: CachingEdge) -> None:
    def handler(request: Recorded) -> bytes:
        if "if-none-match" in request.headers:
            return answer(b"", "304 Not Modified", ('ETag: "other"',))
        return answer(BODY, headers=('ETag: "a"', "Cache-Control: max-age=0"))

    path = edge.script(handler)
    edge.ask(path)
    assert (edge.ask(path).status, len(edge.asked(path))) == (200, 3)


def test_a_head_freshens_the_stored_get(edge: CachingEdge) -> None:
    def handler(request: Recorded) -> bytes:
        age = "Age: 0" if request.method == "HEAD" else "Age: 90"
        whole = answer(BODY, headers=('ETag: "a"', "Cache-Control: max-age=60", age))
        return whole.removesuffix(BODY) if request.method == "HEAD" else whole

    path = edge.script(handler)
    edge.ask(path)
    assert cache_status(edge.ask(path, method="HEAD"))[0] == "fwd=stale"
    assert is_hit(edge.ask(path))


def test_head_is_answered_from_a_stored_get(edge: CachingEdge) -> None:
    path = edge.serve(*STORED)
    edge.ask(path)
    head = edge.ask(path, method="HEAD")
    assert (head.status, is_hit(head), head.fields["content-length"]) == (200, True, str(len(BODY)))


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
def test_a_successful_unsafe_method_invalidates(edge: CachingEdge, name: str) -> None:
    other = edge.serve(*STORED)

    def handler(request: Recorded) -> bytes:
        return answer(b"", headers=(*STORED, f"{name}: {other}"))

    path = edge.script(handler)
    for target in (path, other):
        edge.ask(target)
        assert is_hit(edge.ask(target))
    edge.ask(path, "Content-Length: 0", method="POST")
    assert not is_hit(edge.ask(path))
    assert not is_hit(edge.ask(other))
