"""The bytes of one request stream, and where its request stands (RFC 9114 4.1)."""

from typing import Generic

from worker.fields import Fields
from worker.protocol.h3.codes import EXCESSIVE_LOAD, FRAME_UNEXPECTED, H3Error
from worker.protocol.h3.frames import (
    CANCEL_PUSH,
    DATA,
    GOAWAY,
    HEADERS,
    MAX_PUSH_ID,
    OF_HTTP2,
    PUSH_PROMISE,
    SETTINGS,
    FrameReader,
    Manner,
)
from worker.protocol.stream import Made

_ELSEWHERE = OF_HTTP2 | {CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID}


class RequestReader(FrameReader, Generic[Made]):
    """One request stream: frames in their order, and what the session has to remember of it."""

    __slots__ = (
        "_max_section", "blocked", "empty_frames", "fin", "frame_left", "has_head", "has_trailers", "head",
        "length", "out_ended", "owed", "received", "stream", "trailers", "unread",
    )  # fmt: skip

    def __init__(self, stream: Made, max_section: int) -> None:
        super().__init__()
        self.stream = stream
        self.has_head = False
        self.has_trailers = False
        self.blocked = False  # its field section waits for QPACK's table
        self.fin = False  # nothing more will be pushed
        self.trailers: Fields | None = None
        self.length: int | None = None  # of the body, if announced
        self.received = 0  # bytes of the body
        self.empty_frames = 0  # that carry neither request nor data, not yet counted
        # Flow control: bytes that came and have not been given back.
        self.owed = 0  # pushed since the last reckoning
        self.unread = 0  # of the body, handed up
        # The answer.
        self.head = b""  # its head, waiting for the first piece
        self.frame_left = 0  # bytes to come of the DATA frame that was begun
        self.out_ended = False
        self._max_section = max_section

    def judge(self, kind: int, size: int) -> Manner:
        if kind == DATA:
            if not self.has_head or self.has_trailers:
                raise H3Error(FRAME_UNEXPECTED, "DATA outside of a body")
            self.empty_frames += not size
            return Manner.PIECES
        if kind == HEADERS:
            if self.has_trailers or self.stream.protocol is not None:
                raise H3Error(FRAME_UNEXPECTED, "HEADERS behind the end")
            if size > self._max_section:
                raise H3Error(EXCESSIVE_LOAD, "field section too large")
            return Manner.WHOLE
        if kind in _ELSEWHERE:
            raise H3Error(FRAME_UNEXPECTED, f"frame of type {kind} on a request stream")
        self.empty_frames += 1
        return Manner.SKIPPED
