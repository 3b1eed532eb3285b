"""HTTP/3 from clients: any bytes on any streams, cut anywhere, do no more than end the connection, by a
code of the RFC. Flow control comes out even, and nothing is left when the connection is closed.
"""

from tests.fuzz.answers import WAYS, answer
from tests.fuzz.take import Take, cut
from tests.support import h3_raw as raw
from tests.support.h3_link import WrittenDown
from worker.fields import Fields
from worker.protocol.h3 import codes, frames
from worker.protocol.h3.qpack import has_more_lines
from worker.protocol.h3.session import Session
from worker.protocol.stream import Stream


def step(stream: int, data: bytes, flags: int = 0) -> bytes:
    """One step of an input: flags, stream, length, bytes."""
    return bytes((flags, stream, len(data))) + data


SEEDS = (
    b"\0\0" + step(1, raw.control(raw.frame(raw.GOAWAY, b"\0"))) + step(0, raw.head(), 1)
    + step(4, raw.post(3)) + step(4, raw.frame(raw.DATA, b"abc") + raw.head([(b"x", b"y")]), 1),
    b"\1\5" + step(1, raw.control() + raw.frame(raw.GREASE, b"x")) + step(3, b"\2\x3f\xe1\x1f\x41x\1y")
    + step(0, raw.frame(raw.HEADERS, b"\2\0\x80")) + step(2, b"\3\x80"),
    b"\2\1" + step(1, raw.control(raw.frame(raw.MAX_PUSH_ID, b"\5"))) + step(0, raw.post()) + step(0, b"", 2)
    + step(4, raw.frame(raw.HEADERS, raw.literal([*raw.GET, (b"cookie", b"a"), (b"cookie", b"b")])))
    + step(4, b"", 4),
    b"\3\0" + step(1, b"\0" + raw.settings((1, 4096), (7, 16), (6, 9))) + step(5, b"\x21grease", 1)
    + step(0, b"\x40"),
)  # fmt: skip
WORDS = (
    raw.head(), raw.post(1), raw.control(), raw.frame(raw.DATA, b"x"), raw.frame(raw.SETTINGS),
    raw.frame(raw.CANCEL_PUSH, b"\0"), raw.frame(2, b""),
    raw.frame(raw.HEADERS, raw.literal([(b"Upper", b"x")])), raw.literal([*raw.GET, (b"te", b"x")]),
    raw.frame(raw.HEADERS, raw.literal([*raw.GET, (b"x", b"a\r")])), b"\xff" * 8, b"\x3f\xff\xff\xff\x7f",
    b"\2\0\x80", step(0, b"", 1), step(0, b"", 2), step(0, b"", 4), b"\x80\x00\x40\x00",
)  # fmt: skip

LEGAL = {getattr(codes, name) for name in dir(codes) if name.isupper()}
STREAMS = (0, 2, 6, 10, 4, 14, 8)  # of requests, and unidirectional ones of the client


class Seen(Stream):
    """Holds the session to its promises."""

    def __init__(self) -> None:
        self.whole = False

    def receive(self, data: bytes) -> None:
        assert self.fields is not None and not self.closed and not self.whole
        self.consumed(len(data))

    def receive_end(self, trailers: Fields | None) -> None:
        assert self.fields is not None and not self.closed and not self.whole
        self.whole = True


def check(data: bytes) -> None:
    _integers(data)
    take = Take(data)
    way, size = take.below(WAYS), take.below(16)
    link = WrittenDown()
    session = Session(link, Seen, streams=8, header_bytes=2048, header_count=16, resets=20, empty_frames=50)
    over: set[int] = set()
    came: dict[int, int] = {}
    while take.left and link.closed is None:
        flags, stream_id = take.below(256), take.pick(STREAMS)
        piece = take.some()
        if flags & 4 and not stream_id & 2:
            if stream_id not in link.ended and stream_id not in link.resets:
                link.resets[stream_id] = 0x10C  # by the engine
            session.receive_stop(stream_id, 0x10C)
        elif stream_id in over:
            continue
        elif flags & 2:
            over.add(stream_id)
            session.receive_reset(stream_id, 0x10C)
        else:
            if flags & 1:
                over.add(stream_id)
            taken = _send(session, link, stream_id, piece, flags & 1, size, way)
            came[stream_id] = came.get(stream_id, 0) + taken
    session.close()
    assert link.closed is None or link.closed in LEGAL
    assert all(code in LEGAL for code in (*link.resets.values(), *link.stops.values()))
    for stream_id, read in link.read.items():
        assert read <= came.get(stream_id, 0)


def _send(
    session: Session[Seen], link: WrittenDown, stream_id: int, data: bytes, ended: int, size: int, way: int
) -> int:
    """Give the session these bytes in pieces; how many it took."""
    pieces = cut(data, size) if size else [data]
    taken = 0
    for number, piece in enumerate(pieces or [b""], 1):
        if link.closed is not None:
            break
        taken += len(piece)
        for stream in session.receive(stream_id, piece, bool(ended) and number >= len(pieces)):
            if not stream.closed:
                _is_strict(stream)
                answer(stream, way)
    return taken


def _is_strict(stream: Stream) -> None:
    fields = stream.fields
    assert fields is not None and (stream.method or stream.too_large)
    for name, value in fields.items():
        assert name == name.lower() and not set(value) & {0, 10, 13}


def _integers(data: bytes) -> None:
    found = frames.read_varint(data, 0)
    if found is not None:
        value, end = found
        assert frames.read_varint(frames.varint(value), 0) == (value, len(frames.varint(value)))
        assert len(frames.varint(value)) <= end
    if has_more_lines(data, 4):
        assert len(data) > 4 and has_more_lines(data, 3)
