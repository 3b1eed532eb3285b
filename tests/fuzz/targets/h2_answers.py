"""HTTP/2 from origins: any frames do no more than end the connection or the stream, and each stream is told
in order.
"""

from tests.fuzz.take import Take, cut
from tests.support import h2_raw as raw
from worker.fields import Fields
from worker.origin.h2.session import CANCEL, H2Stream, Session

OK: raw.Head = [(":status", "200"), ("x", "y"), ("content-length", "3")]
SEEDS = (
    b"\0\0" + raw.settings() + raw.frame(raw.SETTINGS, raw.ACK) + raw.frame(raw.HEADERS, 4, 1, raw.head(OK))
    + raw.frame(raw.DATA, 1, 1, b"abc") + raw.frame(raw.HEADERS, 5, 3, raw.head([(":status", "204")])),
    b"\1\5" + raw.settings((3, 1), (4, 5)) + raw.frame(raw.HEADERS, 4, 1, raw.head([(":status", "103")]))
    + raw.frame(raw.HEADERS, 4, 1, raw.head([(":status", "500")])) + raw.frame(raw.DATA, 0, 1, b"x" * 99)
    + raw.frame(raw.HEADERS, 5, 1, raw.head([("t", "v")])),
    b"\2\0" + raw.settings() + raw.reset(1) + raw.frame(raw.GOAWAY, 0, 0, bytes(4) + b"\0\0\0\2why")
    + raw.reset(3, 7),
    b"\3\1" + raw.settings() + raw.frame(raw.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + raw.head()),
)  # fmt: skip
WORDS = (
    raw.head(OK), raw.head([(":status", "99")]), raw.head([(":status", "101")]), raw.head([("Upper", "x")]),
    raw.reset(1), raw.window_update(0, 2**31 - 1), raw.window_update(1, 0), raw.frame(raw.DATA, 1, 1),
    raw.frame(raw.DATA, 0, 5, b"x"), raw.frame(raw.HEADERS, 5, 1, raw.head(OK)),
    raw.frame(raw.PING, 1, 0, bytes(8)), raw.frame(raw.CONTINUATION, 4, 1),
    raw.head([("connection", "close")]), b"\x3f\xe1\x1f", b"\x88",
)  # fmt: skip

HEAD = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: b\r\nCookie: a; b\r\n\r\n"


class Asked(H2Stream):
    """Holds the session to its promises."""

    def __init__(self) -> None:
        self.said = ""  # i, h, d and e in their order; r for refused

    def receive_interim(self, status: int, fields: Fields) -> None:
        assert 100 <= status < 200 and "h" not in self.said
        self.said += "i"

    def receive_head(self, status: int, fields: Fields, ended: bool) -> None:
        assert 200 <= status <= 999 and "h" not in self.said
        assert all(name == name.lower() and not set(value) & {0, 10, 13} for name, value in fields.items())
        self.said += "he" if ended else "h"

    def receive(self, data: bytes) -> None:
        if "r" in self.said:
            return  # until the session has sent the reset
        assert "h" in self.said and "e" not in self.said
        self.said += "d"
        self.consumed(len(data))

    def receive_end(self, trailers: Fields | None) -> None:
        if "r" in self.said:
            return
        assert "h" in self.said and "e" not in self.said
        self.said += "e"

    def refuse(self, why: str | None, too_large: bool) -> None:
        assert why or too_large
        self.said += "r"
        self.reset(CANCEL)


def check(data: bytes) -> None:
    take = Take(data)
    how, step = take.below(4), take.below(64)
    session: Session[Asked] = Session(header_bytes=2048, header_count=16, window=65536)
    streams = [Asked() for _ in range(3)]
    for number, stream in enumerate(streams):
        assert stream.submit(session, HEAD, b"http", how == number)
    session.take()
    rest = take.rest()
    for piece in cut(rest, step) if step else [rest]:
        session.receive(piece)
        if how == 1 and not streams[1].closed:
            streams[1].offer(b"body" * 100)
            streams[1].finish(None)
        elif how == 3 and not streams[0].closed:
            streams[0].reset(CANCEL)
        session.take_closed()
        session.take_drained()
        while session.take():
            pass
        if session.failed:
            assert session.said or session.fault
            break
    assert all(stream.closed for stream in session.close())
    assert all(stream.closed for stream in streams)
