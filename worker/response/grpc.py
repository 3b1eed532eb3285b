"""The edge's own answers to gRPC clients: a status of gRPC in the header section, and no body.

A client of gRPC takes any HTTP status but 200 for a broken proxy, and tells its caller little of it. What is
called Trailers-Only there (gRPC over HTTP/2, "Responses") it understands.
"""

from worker.fields import Fields
from worker.message import Response
from worker.reasons import Block, Fault, Side

_CANCELLED, _DEADLINE_EXCEEDED, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED = 1, 4, 7, 8
_UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE = 12, 13, 14

# Everything else has been told by whose fault it is.
_STATUS: dict[Fault | Block, int] = {
    Block.ACCESS: _PERMISSION_DENIED,
    Block.WAF: _PERMISSION_DENIED,
    Block.RATE: _RESOURCE_EXHAUSTED,
    Block.CONCURRENCY: _RESOURCE_EXHAUSTED,
    Fault.HEADER_TOO_LARGE: _RESOURCE_EXHAUSTED,
    Fault.URI_TOO_LONG: _RESOURCE_EXHAUSTED,
    Fault.BODY_TOO_LARGE: _RESOURCE_EXHAUSTED,
    Fault.RESPONSE_HEADER_SIZE: _RESOURCE_EXHAUSTED,
    Fault.RESPONSE_BODY_SIZE: _RESOURCE_EXHAUSTED,
    Fault.REQUEST_TIMEOUT: _DEADLINE_EXCEEDED,
    Fault.RESPONSE_TIMEOUT: _DEADLINE_EXCEEDED,
    Fault.READ_TIMEOUT: _DEADLINE_EXCEEDED,
    Fault.WRITE_TIMEOUT: _DEADLINE_EXCEEDED,
    Fault.UNKNOWN_HOST: _UNIMPLEMENTED,
    Fault.CLIENT_GONE: _CANCELLED,
    Fault.OVERLOAD: _UNAVAILABLE,
    Fault.DRAINING: _UNAVAILABLE,
    Fault.PROTOCOL: _INTERNAL,
}
_TYPE = b"application/grpc"


def is_grpc(fields: Fields) -> bool:
    """Is a request with these fields one of gRPC? Not of gRPC-Web, whose clients read bodies."""
    value = fields.get(b"content-type")
    return value is not None and value.startswith(_TYPE) and value[len(_TYPE) :][:1] in (b"", b"+", b";")


def grpc_answer(side: Side, reason: Fault | Block, words: str, extra: str) -> Response:
    """The answer that says `words`, which are plain ASCII without a percent sign; `extra` are more lines."""
    status = _STATUS.get(reason, _UNAVAILABLE if side is Side.ORIGIN else _INTERNAL)
    lines = f"Content-Type: application/grpc\r\nGrpc-Status: {status}\r\nGrpc-Message: {words}\r\n{extra}"
    response = Response(200, Fields.trusted(lines.encode("ascii")), b"", 0)
    response.settled = True
    return response
