"""Answers of origins in HTTP/1: a head that is taken says one thing about its body, and is taken again when
it is written anew; a hopeless beginning is never one of a head that is taken. Bodies keep to what was
announced.
"""

from tests.fuzz.take import Take, cut
from worker.fields import CONTENT_LENGTH, TRANSFER_ENCODING
from worker.origin.body import Body, BodyError
from worker.origin.response_head import CHUNKED, UNTIL_CLOSE, HeadError, is_hopeless, read_head

SEEDS = (
    b"\0\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: X-A, close\r\nX-A: b\r\n\r\nabcdef",
    b"\1\3HTTP/1.0 404 Not Found\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\n",
    b"\0\1HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n",
    b"\0\7HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
    b"\0\0HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81",
    b'\0\0HTTP/1.1 304 N\r\nETag: "x"\r\nContent-Length: 9\r\n\r\n',
)
WORDS = (
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"100", b"103", b"304", b"999", b"\r\n\r\n", b"\n",
    b"Content-Length: ", b"Connection: ", b"Transfer-Encoding: chunked\r\n", b"Keep-Alive: timeout=",
    b"close", b"keep-alive", b"gzip, chunked", b"\x80", b"\0", b" ", b"Upgrade: h2c\r\n", b"0\r\n\r\n",
    b"Proxy-Authenticate: x\r\n", b"X-Request-Id: y\r\n",
)  # fmt: skip
LIMIT = 64


class Tapped:
    """Where a body comes from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abandon(self) -> None: ...


def check(data: bytes) -> None:
    take = Take(data)
    to_head, step = bool(take.below(2)), take.below(8) + 1
    data = take.rest()
    block, mark, rest = data.partition(b"\r\n\r\n")
    block += mark
    hopeless = any(is_hopeless(block[:end]) for end in range(1, min(len(block), 64)))
    try:
        head = read_head(block, to_head=to_head)
    except HeadError as error:
        assert error.args[0]
        return
    assert not hopeless
    assert 100 <= head.status <= 999 and (head.size >= 0 or head.size in (CHUNKED, UNTIL_CLOSE))
    assert head.length is None or head.length >= 0
    assert not head.fields.mask & TRANSFER_ENCODING and b"connection" not in head.fields
    assert not (head.keep and head.size == UNTIL_CLOSE)
    if to_head or head.status in (204, 304) or head.status < 200:
        assert head.size == 0
    again = b"HTTP/1.1 200 OK\r\n%b\r\n" % head.fields.encode()
    read = read_head(again, to_head=False)
    assert read.fields.items() == [pair for pair in head.fields.items() if pair[0].lower() != b"upgrade"]
    assert head.status != 200 or not head.fields.mask & CONTENT_LENGTH or to_head or head.size == head.length
    _body(head.size, rest, step)


def _body(size: int, data: bytes, step: int) -> None:
    outcomes = []
    for pieces in ([data], cut(data, step) or [b""]):
        body = Body(Tapped(), size, None, LIMIT)
        outcome: bytes | str
        try:
            for piece in pieces:
                if not body.complete:
                    body.feed(piece)
            outcome = body.take_all()
        except BodyError:
            outcome = "refused"  # for its size or its form: which of them is seen first depends on the cuts
        else:
            assert size < 0 or len(outcome) <= size
            assert size >= 0 or len(outcome) <= LIMIT
            assert body.trailers is None or size == CHUNKED
        outcomes.append((outcome, body.complete))
    assert outcomes[0] == outcomes[1]
