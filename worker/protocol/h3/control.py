"""The client's control stream (RFC 9114 6.2.1): SETTINGS first, then what may follow."""

from worker.protocol.h3.codes import (
    EXCESSIVE_LOAD,
    FRAME_ERROR,
    FRAME_UNEXPECTED,
    ID_ERROR,
    MISSING_SETTINGS,
    H3Error,
)
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
    read_varint,
)
from worker.protocol.h3.settings import read_settings

FRAME_BYTES = 4096  # no frame that means something here needs more

_ELSEWHERE = OF_HTTP2 | {DATA, HEADERS, PUSH_PROMISE}


class ControlReader(FrameReader):
    """Reads that stream. We never push, so what a client says about pushes is checked and that is all."""

    __slots__ = ("_goaway", "_has_settings", "_max_push", "frames")

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0  # that came, not yet counted
        self._has_settings = False
        self._max_push = -1
        self._goaway: int | None = None

    def judge(self, kind: int, size: int) -> Manner:
        if kind != SETTINGS and not self._has_settings:
            raise H3Error(MISSING_SETTINGS, "control stream does not begin with SETTINGS")
        if kind in _ELSEWHERE or (kind == SETTINGS and self._has_settings):
            raise H3Error(FRAME_UNEXPECTED, f"frame of type {kind} on the control stream")
        self.frames += 1
        self._has_settings = True
        if kind not in (SETTINGS, GOAWAY, MAX_PUSH_ID, CANCEL_PUSH):
            return Manner.SKIPPED
        if size > FRAME_BYTES:
            raise H3Error(EXCESSIVE_LOAD, "frame too large")
        return Manner.WHOLE

    def read(self, data: bytes) -> dict[int, int] | None:
        """The next bytes; the client's settings, if they are among them."""
        self.push(data)
        settings = None
        while (found := self.take()) is not None:
            kind, payload = found
            if kind == SETTINGS:
                settings = read_settings(payload)
            else:
                self._on_number(kind, payload)
        return settings

    def _on_number(self, kind: int, payload: bytes) -> None:
        """A frame that holds one integer."""
        found = read_varint(payload, 0)
        if found is None or found[1] != len(payload):
            raise H3Error(FRAME_ERROR, "frame is not one integer")
        number = found[0]
        if kind == CANCEL_PUSH:
            raise H3Error(ID_ERROR, "no push was promised")
        if kind == MAX_PUSH_ID:
            if number < self._max_push:
                raise H3Error(ID_ERROR, "MAX_PUSH_ID went down")
            self._max_push = number
        else:
            if self._goaway is not None and number > self._goaway:
                raise H3Error(ID_ERROR, "GOAWAY went up")
            self._goaway = number
