"""Plain HTTP on a port that speaks TLS: the client is told so, in place of a handshake that just fails.

Looks at the first bytes of a connection without taking them, so that TLS finds all of them. Knows nothing of
certificates or sites, and answers no request: whatever was asked, the answer is where to ask instead.
"""

import asyncio
import contextlib
import re
import socket
from asyncio import AbstractEventLoop, Future

from worker.errors import EdgeError
from worker.protocol.head import REQUEST_LINE, normal_authority

REQUEST_BYTES = 8 * 1024  # read of a request before it is answered, and behind the answer, at most
PATIENCE_S = 2.0  # for the rest of a request's head, and for the client to take the answer
SHOWN_BYTES = 200  # of the path; longer ones are left out

_PEEKED = 16
_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_PREFACE_LINE = b"PRI * HTTP/2.0\r\n"  # RFC 9113 3.4
_HEAD = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
)


async def first_bytes(loop: AbstractEventLoop, sock: socket.socket, timeout_s: float) -> bytes:
    """Up to 16 bytes the client has sent, which stay to be read; b"" if it sends nothing more.

    Raises OSError: TimeoutError when nothing comes in time.
    """
    data = _peek(sock)
    if data is not None:  # under load they are there before the connection is accepted
        return data
    readable: Future[None] = loop.create_future()
    loop.add_reader(sock, _settle, readable, None)
    timer = loop.call_later(timeout_s, _settle, readable, TimeoutError(f"no byte in {timeout_s:g} s"))
    try:
        await readable
    finally:
        timer.cancel()
        loop.remove_reader(sock)
    return _peek(sock) or b""


def may_be_http(first: bytes) -> bool:
    """Methods are in capitals, and no TLS record or SSL 2 hello begins with one (RFC 8446 5.1)."""
    return b"A" <= first[:1] <= b"Z"


async def answer(loop: AbstractEventLoop, sock: socket.socket) -> None:
    """Answer 400 if a request is what comes. Closes nothing. Raises OSError when the client has left."""
    sock.setblocking(False)
    head = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES:
                piece = await loop.sock_recv(sock, REQUEST_BYTES)
                if not piece:
                    break
                head += piece
    if REQUEST_LINE.match(head) is None and not head.startswith(_PREFACE_LINE):
        return
    body = _page(head, sock.getsockname())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await loop.sock_sendall(sock, _HEAD % len(body) + (b"" if head.startswith(b"HEAD ") else body))
            sock.shutdown(socket.SHUT_WR)
            # A socket closed with unread bytes resets the connection, and the answer could be lost.
            read = len(head)
            while read < REQUEST_BYTES * 2 and (piece := await loop.sock_recv(sock, REQUEST_BYTES)):
                read += len(piece)


def _page(head: bytes, address: tuple[str, int]) -> bytes:
    _method, target, _version = head.split(b" ", 2)
    path = b"/"
    if target.startswith(b"/") and len(target) <= SHOWN_BYTES and target.isascii():
        path = target.partition(b"?")[0]
    url = f"https://{_host(head, address)}{path.decode()}"
    said = "400 Bad Request\n\nThis port speaks https, and the request came without TLS."
    return f"{said}\nUse {url}\n".encode()


def _host(head: bytes, address: tuple[str, int]) -> str:
    """What the client calls us; our own address if it does not say."""
    named = _HOST.search(head)
    with contextlib.suppress(EdgeError):
        if named is not None:
            return normal_authority(named[1], b"https").decode()
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _peek(sock: socket.socket) -> bytes | None:
    """What lies there to be read; None when nothing has come yet."""
    try:
        return sock.recv(_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None


def _settle(waited: Future[None], error: Exception | None) -> None:
    if waited.done():
        return
    if error is None:
        waited.set_result(None)
    else:
        waited.set_exception(error)
