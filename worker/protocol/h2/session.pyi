"""One connection's HTTP/2 framing (RFC 9113), by libnghttp2: bytes in, requests out; answers in, bytes out."""

from collections.abc import Callable
from typing import TypeVar

from worker.protocol.stream import Framing, Made

NO_ERROR: int
PROTOCOL_ERROR: int
ENHANCE_YOUR_CALM: int

Owner = TypeVar("Owner")

class Session(Framing[Made]):
    """One connection, as its server. `owner` is handed to `make_stream`, which makes a Stream for each request."""

    resets: int  # since the last `forgive`
    empty_frames: int
    def __init__(
        self,
        owner: Owner,
        make_stream: Callable[[Owner], Made],
        *,
        streams: int,
        header_bytes: int,
        header_count: int,
        resets: int,
        empty_frames: int,
    ) -> None:
        """`streams` at a time; `resets` of streams and `empty_frames` (that carry neither request nor data)
        between two calls of `forgive`: more end the connection with ENHANCE_YOUR_CALM."""
    def receive(self, data: bytes) -> list[Made]:
        """The streams whose request heads `data` completes; what it says of others has been told to them."""
    def take(self) -> bytes:
        """What is to be sent, about 64 KiB at most; b"" when nothing is, or may be."""
    def forgive(self) -> None:
        """A second has passed: resets and empty frames are counted anew."""
    def terminate(self, code: int) -> None:
        """Say GOAWAY with that error; nothing else follows it."""
    def close(self) -> list[Made]:
        """The connection is gone. The streams that were open, which will hear no more of it."""
    @property
    def has_begun(self) -> bool:
        """The client has sent its preface, and the head of a frame behind it (RFC 9113 3.4)."""
    @property
    def is_over(self) -> bool:
        """All is said: the connection may be closed."""
