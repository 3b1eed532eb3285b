"""RFC 9213: fields that speak to this edge alone, through a whole edge."""

import pytest

from tests.support.caching_edge import CachingEdge, cache_status, is_hit
from tests.support.scripted_origin import Recorded, answer

TAG = 'ETag: "a"'
ROWS = [  # response fields -> stored and fresh?
    pytest.param(["CDN-Cache-Control: max-age=60"], True, id="alone"),
    pytest.param(
        ["Cache-Control: no-store", "CDN-Cache-Control: max-age=60"], True, id="before Cache-Control"
    ),
    pytest.param(["Cache-Control: max-age=60", "CDN-Cache-Control: no-store"], False, id="in both ways"),
    pytest.param(["Cache-Control: max-age=60", "CDN-Cache-Control: private"], False, id="private"),
    pytest.param(["Expires: 0", "CDN-Cache-Control: max-age=60"], True, id="before Expires"),
    pytest.param(["Cache-Control: max-age=60", "CDN-Cache-Control: none"], False, id="no lifetime in it"),
    pytest.param(
        ["CDN-Cache-Control: no-store", "Edgecluster-Cache-Control: max-age=60"], True, id="our own first"
    ),
    pytest.param(
        ["Edgecluster-Cache-Control: no-store", "CDN-Cache-Control: max-age=60"],
        False,
        id="in both ways, too",
    ),
    pytest.param(["Cache-Control: max-age=60", "CDN-Cache-Control: &"], True, id="a broken one is not there"),
    pytest.param(["Cache-Control: max-age=60", "CDN-Cache-Control:"], True, id="nor is an empty one"),
    pytest.param(["CDN-Cache-Control: MAX-AGE=60"], False, id="keys are lower case"),
    pytest.param(['CDN-Cache-Control: max-age="60"'], False, id="a string is no number"),
    pytest.param(["CDN-Cache-Control: max-age=60;a=b, x=(1 2)"], True, id="parameters and other members"),
    pytest.param(["Cache-Control: max-age=60", "Other-Cache-Control: no-store"], True, id="others' fields"),
]


@pytest.mark.parametrize(("response", "fresh"), ROWS)
def test_targeted_fields(edge: CachingEdge, response: list[str], fresh: bool) -> None:
    path = edge.serve(TAG, *response)
    edge.ask(path)
    assert is_hit(edge.ask(path)) is fresh


def test_the_field_for_all_cdns_is_passed_on_and_our_own_is_not(edge: CachingEdge) -> None:
    path = edge.serve(
        "Edgecluster-Cache-Control: max-age=60", "CDN-Cache-Control: max-age=9", "Cache-Control: private"
    )
    for found in (edge.ask(path), edge.ask(path)):
        assert found.fields["cdn-cache-control"] == "max-age=9"
        assert found.fields["cache-control"] == "private"
        assert "edgecluster-cache-control" not in found.fields


def test_our_own_field_is_remembered_through_a_304(edge: CachingEdge) -> None:
    def handler(request: Recorded) -> bytes:
        if "if-none-match" in request.headers:
            return answer(b"", "304 Not Modified", (TAG,))
        return answer(
            b"x", headers=(TAG, "Cache-Control: no-store", "Edgecluster-Cache-Control: max-age=60", "Age: 90")
        )

    path = edge.script(handler)
    edge.ask(path)
    assert cache_status(edge.ask(path))[:2] == ["fwd=stale", "fwd-status=304"]
    assert is_hit(edge.ask(path))
