"""Frames of HTTP/3 in the bytes of one stream (RFC 9114 7.1), and their integers (RFC 9000 16).

Knows how frames are cut, not what they mean: a subclass of `FrameReader` says which may come and how.
"""

from enum import Enum

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0x0, 0x1, 0x3, 0x4, 0x5, 0x7, 0xD
OF_HTTP2 = frozenset((0x2, 0x6, 0x8, 0x9))  # have no meaning here and must not be ignored (RFC 9114 7.2.8)


class Manner(Enum):
    """How a frame's payload is given out."""

    WHOLE = 1
    PIECES = 2  # as they come
    SKIPPED = 3


def varint(value: int) -> bytes:
    """`value` in the fewest bytes."""
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x40000000:
        return (value | 0x80000000).to_bytes(4, "big")
    return (value | 0xC000000000000000).to_bytes(8, "big")


def read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """The integer at data[at] and where it ends; None if it is not all there."""
    if at >= len(data):
        return None
    first = data[at]
    size = 1 << (first >> 6)
    if size == 1:
        return first, at + 1
    if len(data) - at < size:
        return None
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def frame(kind: int, payload: bytes) -> bytes:
    return b"".join((varint(kind), varint(len(payload)), payload))


class FrameReader:
    """Cuts one stream into frames. Holds one frame that is wanted whole, and what was pushed last."""

    __slots__ = ("_at", "_data", "_kind", "_left", "_manner")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._kind = -1  # of the frame under way, -1 between two
        self._left = 0  # bytes of it still to be given out
        self._manner = Manner.SKIPPED

    def judge(self, kind: int, size: int) -> Manner:
        """How a frame that begins is to be read; H3Error if it must not come, or not so large."""
        raise NotImplementedError

    def push(self, data: bytes) -> None:
        """The next bytes of the stream."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def is_between(self) -> bool:
        """No frame is under way, nor has one begun to come."""
        return self._kind < 0 and self._at == len(self._data)

    def take(self) -> tuple[int, bytes] | None:
        """The next frame that is wanted whole, or the next piece of one; None until more is pushed."""
        data = self._data
        while True:
            if self._kind < 0 and not self._begin(data):
                return None
            at, left = self._at, self._left
            there = len(data) - at
            if self._manner is Manner.WHOLE and there < left:
                return None
            size = min(there, left)
            self._at = at + size
            self._left = left - size
            kind = self._kind
            if size == left:
                self._kind = -1
            if self._manner is not Manner.SKIPPED and (size or self._manner is Manner.WHOLE):
                return kind, data[at : at + size]
            if size < left or not there:
                return None

    def _begin(self, data: bytes) -> bool:
        """Read type and length of the next frame, if they are there."""
        kind = read_varint(data, self._at)
        size = read_varint(data, kind[1]) if kind is not None else None
        if kind is None or size is None:
            return False
        self._manner = self.judge(kind[0], size[0])
        self._kind = kind[0]
        self._left, self._at = size
        return True
