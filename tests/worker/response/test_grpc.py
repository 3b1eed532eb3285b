"""The edge's own answers to gRPC clients, and who is taken for one."""

import pytest

from tests.support.contexts import REQUEST_ID, make_context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.reasons import Block, Fault, Side
from worker.response.error_page import ErrorPage
from worker.response.grpc import is_grpc


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc+json; x=y", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/grpcx", False),
        (b"application/json", False),
        (None, False),
    ],
)
def test_the_content_type_tells_a_grpc_request(media, expected):
    assert is_grpc(Fields.of([] if media is None else [(b"content-type", media)])) is expected


@pytest.mark.parametrize(
    ("status", "side", "fault", "grpc_status"),
    [
        (502, Side.ORIGIN, Fault.CONNECT_REFUSED, 14),
        (502, Side.ORIGIN, Fault.TERMINATED, 14),
        (502, Side.ORIGIN, Fault.TLS_CERTIFICATE, 14),
        (504, Side.ORIGIN, Fault.CONNECT_TIMEOUT, 14),
        (503, Side.ORIGIN, Fault.CONNECTION_LIMIT, 14),
        (503, Side.ORIGIN, Fault.UNAVAILABLE, 14),
        (503, Side.EDGE, Fault.DRAINING, 14),
        (503, Side.EDGE, Fault.OVERLOAD, 14),
        (504, Side.ORIGIN, Fault.RESPONSE_TIMEOUT, 4),
        (504, Side.ORIGIN, Fault.READ_TIMEOUT, 4),
        (408, Side.CLIENT, Fault.REQUEST_TIMEOUT, 4),
        (413, Side.CLIENT, Fault.BODY_TOO_LARGE, 8),
        (421, Side.CLIENT, Fault.UNKNOWN_HOST, 12),
        (400, Side.CLIENT, Fault.BAD_REQUEST, 13),
        (500, Side.EDGE, Fault.INTERNAL, 13),
        (502, Side.ORIGIN, Fault.PROTOCOL, 13),
    ],
)
def test_an_error_is_a_status_of_grpc_in_the_header_section(status, side, fault, grpc_status):
    ctx = make_context((b"Content-Type", b"application/grpc+proto"))
    response = ErrorPage("edgecluster")(ctx, EdgeError(status, side, fault, "10.0.0.7 as root"))
    assert (response.status, response.body) == (200, b"")
    assert response.fields.get(b"content-type") == b"application/grpc"
    assert response.fields.get(b"grpc-status") == b"%d" % grpc_status
    words = response.fields.get(b"grpc-message") or b""
    assert words.endswith(b"(request id %b)" % REQUEST_ID)
    assert words.isascii() and b"%" not in words and b"10.0.0.7" not in words
    assert (response.fields.get(b"proxy-status") is not None) is (
        side is Side.ORIGIN or fault is Fault.INTERNAL
    )


def test_a_refusal_is_one_too():
    ctx = make_context((b"Content-Type", b"application/grpc"))
    page = ErrorPage("edgecluster")
    for block, grpc_status in ((Block.ACCESS, b"7"), (Block.RATE, b"8"), (Block.WAF, b"7")):
        response = page.refuse(ctx, 403, block)
        assert (response.status, response.fields.get(b"grpc-status")) == (200, grpc_status)
        assert ctx.block is block


@pytest.mark.parametrize("fault", list(Fault))
def test_all_words_may_stand_in_a_field(fault):
    ctx = make_context((b"Content-Type", b"application/grpc"))
    response = ErrorPage("edgecluster")(ctx, EdgeError(502, Side.ORIGIN, fault))
    Fields.of(response.fields.items())
    assert b"%" not in (response.fields.get(b"grpc-message") or b"")
