"""RFC 9111 4.2, 5.1, 5.2, 5.3: when a stored response is fresh, through a whole edge.

Time does not pass here: a response is aged by its Age or Date.
"""

import re
import time
from email.utils import formatdate

import pytest

from tests.support.caching_edge import CachingEdge, cache_status, is_hit
from tests.support.scripted_origin import Recorded, answer

TAG = 'ETag: "a"'  # so that it is stored, fresh or not


def dated(field: str) -> str:
    """The field with `@60` in it replaced by the date in 60 seconds."""
    return re.sub(r"@(-?\d+)", lambda match: formatdate(time.time() + int(match[1]), usegmt=True), field)


ROWS = [  # response fields -> fresh?
    pytest.param(["Cache-Control: max-age=60"], True, id="max-age"),
    pytest.param(["Cache-Control: max-age=60", "Age: 60"], False, id="as old as that"),
    pytest.param(["Cache-Control: max-age=60", "Date: @-90"], False, id="an old Date"),
    pytest.param(["Cache-Control: max-age=60", "Date: @90"], True, id="a Date in the future is now"),
    pytest.param(["Cache-Control: max-age=60", "Date: never"], True, id="an unreadable Date is now"),
    pytest.param(["Cache-Control: max-age=60, s-maxage=0"], False, id="s-maxage before max-age"),
    pytest.param(["Cache-Control: max-age=0, s-maxage=60"], True, id="in both ways"),
    pytest.param(["Cache-Control: max-age=60", "Expires: 0"], True, id="max-age before Expires"),
    pytest.param(["Expires: @60"], True, id="Expires"),
    pytest.param(["Expires: @60", "Date: @61"], False, id="Expires before Date"),
    pytest.param(["Expires: 0"], False, id="Expires: 0"),
    pytest.param(["Expires: Thu, 32 Foo 2099 00:00:00 GMT"], False, id="an unreadable Expires"),
    pytest.param(["Cache-Control: max-age=60, max-age=0"], False, id="the shortest of two"),
    pytest.param(["Cache-Control: max-age=60", "Cache-Control: max-age=0"], False, id="of two lines, too"),
    pytest.param(["Cache-Control: max-age=x"], False, id="unreadable"),
    pytest.param(['Cache-Control: max-age="60"'], True, id="quoted"),
    pytest.param(["Cache-Control: MAX-AGE=60"], True, id="upper case"),
    pytest.param(["Cache-Control: max-age=99999999999999999999"], True, id="overflow"),
    pytest.param(["Cache-Control: max-age=60, no-cache"], False, id="no-cache"),
    pytest.param(['Cache-Control: max-age=60, no-cache="a"'], False, id="qualified no-cache"),
    pytest.param(["Cache-Control: x-new=1, immutable, max-age=60"], True, id="unknown directives"),
    pytest.param(["Cache-Control: max-age=60", "Pragma: no-cache"], True, id="Pragma is no response field"),
    pytest.param(["Cache-Control: max-age=60", "Age: x"], True, id="an unreadable Age"),
    pytest.param(["Cache-Control: max-age=60", "Age: 99, 0"], False, id="the first of two ages"),
    pytest.param(["Last-Modified: @-99999"], False, id="no heuristics unless asked for"),
]


@pytest.mark.parametrize(("response", "fresh"), ROWS)
def test_freshness(edge: CachingEdge, response: list[str], fresh: bool) -> None:
    path = edge.serve(TAG, *map(dated, response))
    edge.ask(path)
    again = edge.ask(path)
    assert is_hit(again) is fresh
    if not fresh:
        assert cache_status(again)[0] == "fwd=stale"
        assert edge.asked(path)[-1].headers["if-none-match"] == '"a"'


REQUESTS = [  # request fields, on a response of age 30 with 30 seconds to live -> Cache-Status
    pytest.param("Cache-Control: no-cache", "fwd=request", id="no-cache"),
    pytest.param("Pragma: no-cache", "fwd=request", id="Pragma"),
    pytest.param("Cache-Control: max-age=29", "fwd=request", id="too old"),
    pytest.param("Cache-Control: max-age=600", "hit", id="young enough"),
    pytest.param("Cache-Control: min-fresh=3600", "fwd=request", id="not fresh enough"),
    pytest.param("Cache-Control: only-if-cached", "hit", id="only-if-cached"),
]


@pytest.mark.parametrize(("field", "told"), REQUESTS)
def test_request_directives(edge: CachingEdge, field: str, told: str) -> None:
    path = edge.serve("Cache-Control: max-age=3600", "Age: 30")
    edge.ask(path)
    assert cache_status(edge.ask(path, field))[0] == told


STALE = [  # response, request -> Cache-Status of a stale response
    pytest.param("max-age=1", "max-stale", "hit", id="max-stale"),
    pytest.param("max-age=1", "max-stale=5", "fwd=stale", id="too stale"),
    pytest.param("max-age=1, must-revalidate", "max-stale", "fwd=stale", id="must-revalidate"),
    pytest.param("s-maxage=1", "max-stale", "fwd=stale", id="s-maxage"),
    pytest.param("max-age=1, stale-while-revalidate=600", "x", "hit", id="stale-while-revalidate"),
    pytest.param(
        "s-maxage=1, stale-while-revalidate=600", "x", "fwd=stale", id="s-maxage forbids that as well"
    ),
]


@pytest.mark.parametrize(("response", "directive", "told"), STALE)
def test_stale_responses(edge: CachingEdge, response: str, directive: str, told: str) -> None:
    path = edge.serve(f"Cache-Control: {response}", "Age: 30", TAG)
    edge.ask(path)
    assert cache_status(edge.ask(path, f"Cache-Control: {directive}"))[0] == told


def test_only_if_cached_and_it_is_not(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: max-age=60")
    refused = edge.ask(path, "Cache-Control: only-if-cached")
    assert refused.status == 504
    assert cache_status(refused) == ["detail=destination_unavailable"]
    assert edge.asked(path) == []


def test_a_stale_response_covers_for_an_origin_that_fails(edge: CachingEdge) -> None:
    answers = iter(
        [
            answer(b"good", headers=("Cache-Control: max-age=1, stale-if-error=600", "Age: 30")),
            answer(b"bad", "503 Service Unavailable"),
        ]
    )

    def handler(request: Recorded) -> bytes:
        return next(answers)

    path = edge.script(handler)
    edge.ask(path)
    stale = edge.ask(path)
    assert (stale.status, stale.body) == (200, b"good")
    assert cache_status(stale)[:2] == ["fwd=stale", "fwd-status=503"]
