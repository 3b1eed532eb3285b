"""Methods a route takes."""

import pytest

from worker.context import Client, Context
from worker.fields import Fields
from worker.message import Request, Response
from worker.reasons import Block
from worker.security.methods import MethodGate


def refuse(ctx: Context, status: int, block: Block) -> Response:
    ctx.block = block
    return Response(status, Fields.of([]), b"", 0)


def asked(method: bytes) -> Context:
    request = Request(method, b"http", b"a", b"/", b"/", None, b"1.1", Fields.of([]))
    return Context(request, Client("192.0.2.7", 1, b"\xc0\0\2\7", "http://127.0.0.1:80"), b"0" * 32, 0, 0.0)


@pytest.mark.parametrize(
    ("methods", "method", "allow"),
    [
        ((b"GET",), b"GET", None),
        ((b"GET",), b"HEAD", None),
        ((b"GET",), b"PURGE", None),
        ((b"GET", b"POST"), b"POST", None),
        ((b"GET",), b"POST", b"GET, HEAD"),
        ((b"GET", b"HEAD"), b"DELETE", b"GET, HEAD"),
        ((b"POST",), b"GET", b"POST"),
        ((b"POST",), b"HEAD", b"POST"),
        ((b"POST", b"OPTIONS"), b"GET", b"POST, OPTIONS"),
    ],
)
def test_other_methods_get_405_and_the_list(
    methods: tuple[bytes, ...], method: bytes, allow: bytes | None
) -> None:
    ctx = asked(method)
    response = MethodGate(methods, refuse)(ctx)
    if allow is None:
        assert response is None
    else:
        assert response is not None
        assert (response.status, response.fields.get(b"allow"), ctx.block) == (405, allow, Block.METHOD)
