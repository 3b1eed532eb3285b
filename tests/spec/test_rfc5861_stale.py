"""RFC 5861: stale answers while the origin is asked, and instead of its errors, through a whole edge.

Time does not pass here: a response is aged by its Age.
"""

from collections.abc import Callable

import pytest

from tests.support.caching_edge import CachingEdge, cache_status
from tests.support.cluster import wait_until
from tests.support.scripted_origin import Recorded, Step, answer, script

TAG = 'ETag: "a"'  # so that it is stored, fresh or not


def then(first: bytes, failure: Step) -> Callable[[Recorded], Step]:
    """An origin that answers once."""
    answers = iter([first])
    return lambda request: next(answers, failure)


WINDOWS = [  # response, seconds stale -> Cache-Status
    pytest.param("max-age=10, stale-while-revalidate=30", 10, "hit", id="within the window"),
    pytest.param("max-age=10, stale-while-revalidate=30", 40, "fwd=stale", id="after it"),
    pytest.param("max-age=10, stale-while-revalidate=x", 1, "fwd=stale", id="unreadable"),
    pytest.param("max-age=10, stale-while-revalidate=30, must-revalidate", 1, "fwd=stale", id="forbidden"),
    pytest.param("max-age=10", 1, "fwd=stale", id="no window"),
]


@pytest.mark.parametrize(("control", "stale_s", "told"), WINDOWS)
def test_stale_while_revalidate(edge: CachingEdge, control: str, stale_s: int, told: str) -> None:
    path = edge.serve(f"Cache-Control: {control}", f"Age: {10 + stale_s}", TAG)
    edge.ask(path)
    answered = edge.ask(path)
    assert cache_status(answered)[0] == told
    wait_until(lambda: len(edge.asked(path)) >= 2)


def test_what_is_served_stale_shows_it(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: max-age=10, stale-while-revalidate=600", "Age: 15")
    edge.ask(path)
    stale = edge.ask(path)
    assert int(stale.fields["age"]) >= 15
    assert int(cache_status(stale)[1].removeprefix("ttl=")) <= -5


def test_a_revalidation_in_the_background_ends_the_staleness(edge: CachingEdge) -> None:
    fresh = answer(b"new", headers="Cache-Control: max-age=600")
    old = answer(b"old", headers=("Cache-Control: max-age=10, stale-while-revalidate=600", "Age: 15"))
    path = edge.script(then(old, fresh))
    edge.ask(path)
    assert edge.ask(path).body == b"old"
    wait_until(lambda: edge.ask(path).body == b"new")
    assert len(edge.asked(path)) == 2


FAILURES = [
    pytest.param(answer(b"bad", "500 Internal Server Error"), 500, id="500"),
    pytest.param(answer(b"bad", "502 Bad Gateway"), 502, id="502"),
    pytest.param(answer(b"bad", "503 Service Unavailable"), 503, id="503"),
    pytest.param(answer(b"bad", "504 Gateway Timeout"), 504, id="504"),
    pytest.param(script("reset"), None, id="no answer"),
]


@pytest.mark.parametrize(("failure", "status"), FAILURES)
def test_an_error_is_covered_for(edge: CachingEdge, failure: Step, status: int | None) -> None:
    good = answer(b"good", headers=("Cache-Control: max-age=1, stale-if-error=600", "Age: 30"))
    path = edge.script(then(good, failure))
    edge.ask(path)
    covered = edge.ask(path)
    assert (covered.status, covered.body) == (200, b"good")
    assert int(covered.fields["age"]) >= 30
    told = cache_status(covered)
    assert told[0] == "fwd=stale"
    assert (f"fwd-status={status}" in told) is (status is not None)


ANSWERS = [
    pytest.param("501 Not Implemented", 501, id="501"),
    pytest.param("404 Not Found", 404, id="404"),
]


@pytest.mark.parametrize(("line", "status"), ANSWERS)
def test_an_answer_that_is_no_such_error_is_what_the_client_gets(
    edge: CachingEdge, line: str, status: int
) -> None:
    good = answer(b"good", headers=("Cache-Control: max-age=1, stale-if-error=600", "Age: 30"))
    path = edge.script(then(good, answer(b"no", line)))
    edge.ask(path)
    assert edge.ask(path).status == status


REQUESTS = [  # response, request -> status of the answer when the origin fails, 29 seconds after freshness
    pytest.param("max-age=1, stale-if-error=10", "x", 503, id="after the window"),
    pytest.param("max-age=1", "x", 503, id="no window"),
    pytest.param("max-age=1", "stale-if-error=600", 200, id="a client's window"),
    pytest.param("max-age=1", "stale-if-error=10", 503, id="after a client's window"),
    pytest.param("max-age=1, stale-if-error=600", "stale-if-error=10", 503, id="a client wants less"),
    pytest.param("max-age=1, must-revalidate", "stale-if-error=600", 503, id="must-revalidate"),
    pytest.param("s-maxage=1", "stale-if-error=600", 503, id="s-maxage"),
]


@pytest.mark.parametrize(("control", "directive", "status"), REQUESTS)
def test_stale_if_error_windows(edge: CachingEdge, control: str, directive: str, status: int) -> None:
    good = answer(b"good", headers=(f"Cache-Control: {control}", "Age: 30", TAG))
    path = edge.script(then(good, answer(b"bad", "503 Service Unavailable")))
    edge.ask(path)
    assert edge.ask(path, f"Cache-Control: {directive}").status == status
