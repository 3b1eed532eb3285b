"""The edge's own answers: complete, true, in the form the client wants, and without internals."""

import json
from html.parser import HTMLParser

import pytest

from tests.support.contexts import REQUEST_ID, make_context
from worker.errors import EdgeError
from worker.message import Response
from worker.reasons import Block, Fault, Side
from worker.response.error_page import ErrorPage

SECRET = "connect to 10.0.0.7:5432 as root"
HTML, JSON, PLAIN = b"text/html,*/*;q=0.8", b"application/json", b"*/*"


def page(
    accept: bytes | None, status: int = 502, side: Side = Side.ORIGIN, fault: Fault = Fault.INCOMPLETE
) -> Response:
    ctx = make_context(*([] if accept is None else [(b"Accept", accept)]))
    return ErrorPage("edgecluster")(ctx, EdgeError(status, side, fault, SECRET))


def text(response: Response) -> str:
    assert isinstance(response.body, bytes)
    assert response.length == len(response.body)
    return response.body.decode()


class Checker(HTMLParser):
    """Remembers what an HTML document opens and does not close, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("accept", [HTML, JSON, PLAIN])
def test_every_fault_has_a_page_with_the_request_id_and_without_internals(
    fault: Fault, accept: bytes
) -> None:
    for side in Side:
        content = text(page(accept, 502, side, fault))
        assert content.count(REQUEST_ID.decode()) == 1
        assert SECRET not in content
        assert "\0" not in content


def test_html_is_well_formed_and_loads_nothing() -> None:
    response = page(HTML)
    checker = Checker()
    checker.feed(text(response))
    assert checker.open == []
    assert checker.loads == []
    assert response.fields.get(b"content-type") == b"text/html; charset=utf-8"
    assert (response.fields.get(b"content-security-policy") or b"").startswith(b"default-src 'none'")


@pytest.mark.parametrize(
    ("side", "states"),
    [
        (Side.CLIENT, ["bad", "unknown", "unknown"]),
        (Side.EDGE, ["good", "bad", "unknown"]),
        (Side.ORIGIN, ["good", "good", "bad"]),
    ],
)
def test_html_shows_where_it_failed(side: Side, states: list[str]) -> None:
    content = text(page(HTML, side=side))
    assert [part.split('"')[0] for part in content.split('<li class="')[1:]] == states


def test_json_is_an_object_of_plain_facts() -> None:
    facts = json.loads(text(page(JSON)))
    assert facts["status"] == 502
    assert facts["title"] == "Bad Gateway"
    assert facts["failed"] == "origin"
    assert facts["reason"] == "http_response_incomplete"
    assert facts["request_id"] == REQUEST_ID.decode()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, b"text/plain"),
        (b"*/*", b"text/plain"),
        (b"image/png", b"text/plain"),
        (b"text/html", b"text/html"),
        (b"TEXT/HTML;q=0.3", b"text/html"),
        (b"application/json, text/html;q=0.9", b"application/json"),
        (b"application/json;q=0.1, text/html;q=0.9", b"text/html"),
        (b"application/problem+json", b"application/problem+json"),
        (b"text/html;q=0, */*", b"text/plain"),
        (b"text/html;q=..", b"text/plain"),
    ],
)
def test_the_client_chooses_the_form(accept: bytes | None, kind: bytes) -> None:
    assert (page(accept).fields.get(b"content-type") or b"").split(b";")[0] == kind


def test_errors_are_never_stored() -> None:
    assert page(HTML).fields.get(b"cache-control") == b"no-store"


def test_proxy_status_names_the_faults_of_origins() -> None:
    refused = page(HTML, 502, Side.ORIGIN, Fault.CONNECT_REFUSED)
    assert refused.fields.get(b"proxy-status") == b"edgecluster; error=connection_refused"
    assert b"proxy-status" not in page(HTML, 400, Side.CLIENT, Fault.BAD_REQUEST).fields


def test_unavailable_says_when_to_come_back() -> None:
    assert page(HTML, 503, Side.EDGE, Fault.OVERLOAD).fields.get(b"retry-after") == b"5"


@pytest.mark.parametrize(("status", "block"), [(403, Block.ACCESS), (429, Block.RATE), (403, Block.WAF)])
def test_a_refusal_notes_its_reason_and_carries_the_request_id(status: int, block: Block) -> None:
    ctx = make_context((b"Accept", JSON))
    response = ErrorPage("edgecluster").refuse(ctx, status, block)
    assert ctx.block is block
    assert response.status == status
    facts = json.loads(text(response))
    assert facts["reason"] == block
    assert facts["request_id"] == REQUEST_ID.decode()


def test_two_requests_never_share_a_page() -> None:
    pages = ErrorPage("edgecluster")
    first, second = make_context(), make_context()
    second.request_id = b"f" * 32
    for ctx in (first, second):
        response = pages.refuse(ctx, 403, Block.ACCESS)
        assert ctx.request_id.decode() in text(response)
        response.fields.append(b"Retry-After", b"9")  # what a gate adds stays with its own response
    assert b"retry-after" not in pages.refuse(make_context(), 403, Block.ACCESS).fields
