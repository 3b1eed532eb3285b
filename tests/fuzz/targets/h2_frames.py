"""HTTP/2 from clients: any frames, cut anywhere, do no more than end the connection. What is said of
streams holds together, what is sent is whole frames, and nothing is left when the connection is closed.
"""

from tests.fuzz.answers import WAYS, answer
from tests.fuzz.take import Take, cut
from tests.support import h2_raw as raw
from worker.fields import Fields
from worker.protocol.h2.session import Session
from worker.protocol.stream import Stream

POST: raw.Head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/p?q")]
SOCKET: raw.Head = [(":method", "CONNECT"), (":protocol", "websocket"), *raw.GET[1:]]
MORE: raw.Head = [*raw.GET, ("cookie", "a"), ("cookie", "b"), ("te", "trailers"), ("content-length", "3")]

SEEDS = (
    b"\0\0" + raw.PREFACE + raw.settings() + raw.get(1) + raw.get(3, end=False, fields=MORE)
    + raw.frame(raw.DATA, raw.END_STREAM, 3, b"abc") + raw.frame(raw.SETTINGS, raw.ACK),
    b"\1\7" + raw.PREFACE + raw.settings((4, 1), (5, 16384)) + raw.get(1, end=False, fields=POST)
    + raw.frame(raw.DATA, raw.PADDED, 1, b"\1xy") + raw.window_update(1, 10) + raw.window_update(0, 10)
    + raw.frame(raw.HEADERS, 5, 1, raw.head([("x", "y")])),
    b"\2\3" + raw.PREFACE + raw.settings((3, 0)) + raw.get(1, end=False, fields=SOCKET) + raw.reset(1)
    + raw.frame(raw.PING, 0, 0, b"12345678") + raw.frame(raw.GOAWAY, 0, 0, bytes(8)),
    b"\3\0" + raw.PREFACE + raw.settings() + raw.frame(raw.HEADERS, 1, 5, raw.head()[:3])
    + raw.frame(raw.CONTINUATION, 4, 5, raw.head()[3:]) + raw.frame(raw.PRIORITY, 0, 7, bytes(5)),
)  # fmt: skip
WORDS = (
    raw.get(1), raw.get(3), raw.get(5, end=False), raw.reset(1), raw.window_update(1, 2**31 - 1),
    raw.settings((4, 0)), raw.frame(raw.DATA, 1, 1), raw.frame(raw.CONTINUATION, 4, 1),
    raw.frame(raw.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1"), raw.frame(0xFA, 0, 1, b"x"), raw.head([("Upper",
    "x")]), raw.head([("connection", "x")]), raw.head([("x", "a\rb")]), b"\0\0\0\1", b"\x82", b"\x3f\xe1\x1f",
    b"\x40\x01x",
)  # fmt: skip


class Seen(Stream):
    """Holds the session to its promises."""

    def __init__(self, owner: object) -> None:
        self.size = 0
        self.whole = False

    def receive(self, data: bytes) -> None:
        assert self.fields is not None and not self.whole and not self.closed
        self.size += len(data)
        self.consumed(len(data))

    def receive_end(self, trailers: Fields | None) -> None:
        assert self.fields is not None and not self.whole
        self.whole = True


def check(data: bytes) -> None:
    take = Take(data)
    way, step = take.below(WAYS), take.below(64)
    session: Session[Seen] = Session(
        None, Seen, streams=8, header_bytes=2048, header_count=16, resets=20, empty_frames=50
    )
    out = b""
    rest = take.rest()
    for piece in cut(rest, step) if step else [rest]:
        for stream in session.receive(piece):
            assert stream.fields is not None and stream.id % 2 and stream.method
            _is_strict(stream)
            if not stream.closed:
                answer(stream, way)
        while sent := session.take():
            out += sent
        if session.is_over:
            break
    _whole_frames(out)
    left = session.close()
    assert all(stream.closed for stream in left) and not session.receive(b"x") and not session.take()


def _is_strict(stream: Stream) -> None:
    fields = stream.fields
    assert fields is not None
    if not stream.too_large:
        for name, value in fields.items():
            assert name == name.lower() and not set(value) & {0, 10, 13}
            assert name not in (b"connection", b"transfer-encoding", b"upgrade", b"keep-alive")
        assert len(fields.get_all(b"host")) < 2 and len(fields.get_all(b"cookie")) < 2
    assert not set(stream.target) & {0, 9, 10, 13, 32}


def _whole_frames(out: bytes) -> None:
    at = 0
    while at < len(out):
        at += 9 + int.from_bytes(out[at : at + 3], "big")
    assert at == len(out)
