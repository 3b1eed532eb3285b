"""RFC 9111 3: what is stored and what is not, through a whole edge."""

import pytest

from tests.support.caching_edge import CachingEdge, cache_status, is_hit

FRESH = "Cache-Control: max-age=60"
PUBLIC = "Cache-Control: public, max-age=60"
UNDERSTOOD = "Cache-Control: must-understand, no-store, max-age=60"
BASIC = ("Authorization: Basic eDp5",)

ROWS = [  # status, response fields, request fields -> why not stored (None: it is)
    pytest.param("200 OK", [FRESH], (), None, id="a lifetime"),
    pytest.param("200 OK", [], (), "no-lifetime", id="nothing to go by"),
    pytest.param("404 Not Found", [FRESH], (), None, id="an error with a lifetime"),
    pytest.param("299 Odd", [FRESH], (), None, id="an unknown status with a lifetime"),
    pytest.param("302 Found", ["Location: /x"], (), "no-lifetime", id="a status that needs permission"),
    pytest.param("200 OK", ["Cache-Control: no-store, max-age=60"], (), "no-store", id="no-store"),
    pytest.param("200 OK", ["Cache-Control: private, max-age=60"], (), "private", id="private"),
    pytest.param("200 OK", ['Cache-Control: private="x", max-age=60'], (), "private", id="qualified private"),
    pytest.param("200 OK", [FRESH, "Cache-Control: no-store"], (), "no-store", id="lines combine"),
    pytest.param("200 OK", [FRESH, "Vary: *"], (), "vary-star", id="Vary *"),
    pytest.param("200 OK", [FRESH, "Set-Cookie: a=b"], (), "set-cookie", id="a cookie"),
    pytest.param("200 OK", [PUBLIC, "Set-Cookie: a=b"], (), None, id="public cookie"),
    pytest.param("200 OK", [FRESH], BASIC, "authorization", id="authorised"),
    pytest.param("200 OK", [PUBLIC], BASIC, None, id="authorised and public"),
    pytest.param("200 OK", ["Cache-Control: s-maxage=60"], BASIC, None, id="authorised and s-maxage"),
    pytest.param("200 OK", [FRESH + ", must-revalidate"], BASIC, None, id="and must-revalidate"),
    pytest.param("200 OK", [UNDERSTOOD], (), None, id="understood"),
    pytest.param(
        "299 Odd", [UNDERSTOOD], (), "status", id="not understood"
    ),
    pytest.param("200 OK", [FRESH], ("Cache-Control: no-store",), "request-no-store", id="request no-store"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "response", "request_fields", "reason"), ROWS)
def test_storing(
    edge: CachingEdge, status: str, response: list[str], request_fields: tuple[str, ...], reason: str | None
) -> None:
    path = edge.serve(*response, status=status)
    first = edge.ask(path, *request_fields)
    assert ("stored" in cache_status(first)) is (reason is None)
    if reason is not None:
        assert f"detail={reason}" in cache_status(first)
    again = edge.ask(path)
    assert is_hit(again) is (reason is None)
    assert again.body == first.body


def test_fields_of_one_hop_are_not_stored(edge: CachingEdge) -> None:
    path = edge.serve(FRESH, "Connection: X-Hop", "X-Hop: 1", "X-End: 2", "Proxy-Authenticate: Basic")
    for answer in (edge.ask(path), edge.ask(path)):
        assert answer.fields["x-end"] == "2"
        assert not {"x-hop", "proxy-authenticate"} & set(answer.fields)


def test_a_partial_answer_is_passed_on_and_not_stored(edge: CachingEdge) -> None:
    path = edge.serve(FRESH, "Content-Range: bytes 0-999/2000", status="206 Partial Content")
    first = edge.ask(path, "Range: bytes=0-999")
    assert (first.status, cache_status(first)[-1]) == (206, "detail=partial-content")
    assert not is_hit(edge.ask(path))
