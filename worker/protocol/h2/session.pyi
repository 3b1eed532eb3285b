"""One connection's HTTP/2 framing (RFC 9113), by libnghttp2: bytes in, requests out; answers in, bytes out."""

from collections.abc import Callable
from typing import Generic, TypeVar

from worker.fields import Fields
from worker.protocol.lending import Lending

NO_ERROR: int
PROTOCOL_ERROR: int
INTERNAL_ERROR: int
CANCEL: int
ENHANCE_YOUR_CALM: int

Owner = TypeVar("Owner")
Made = TypeVar("Made", bound=H2Stream)

class Session(Generic[Made]):
    """One connection, as its server. `owner` is handed to `make_stream`, which makes a H2Stream for each request."""

    streams: dict[int, Made]  # those that are open
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
    def take_closed(self) -> list[Made]:
        """The streams that have ended since the last call, either way."""
    def take_drained(self) -> list[Made]:
        """The streams that have room again for a piece they refused."""
    def forgive(self) -> None:
        """A second has passed: resets and empty frames are counted anew."""
    def give_notice(self) -> None:
        """Tell the client to open no more streams, but take those that are on their way (RFC 9113 6.8)."""
    def go_away(self) -> None:
        """Take no more streams; those there are come to their end."""
    def terminate(self, code: int) -> None:
        """Say GOAWAY with that error; nothing else follows it."""
    def close(self) -> list[Made]:
        """The connection is gone. The streams that were open, which will hear no more of it."""
    @property
    def is_over(self) -> bool:
        """All is said: the connection may be closed."""

class H2Stream:
    """One request and its answer. `Session` fills in the request; a subclass takes its body and answers.

    At most one piece of a body is here at a time. `moved` is set whenever some of it leaves.
    """

    id: int
    method: bytes
    scheme: bytes | None
    authority: bytes | None
    host: bytes | None  # the field, which :authority has to agree with
    target: bytes
    path: bytes
    query: bytes | None
    fields: Fields | None  # None while the head is not complete
    too_large: bool  # the header section exceeds the limits; `fields` holds its beginning
    ended: bool  # nothing of the request is still to come
    closed: bool
    code: int  # once closed, why (RFC 9113 7)
    bytes_sent: int
    moved: bool
    def receive(self, data: bytes) -> None:
        """Some of the request's body has come."""
    def receive_end(self, trailers: Fields | None) -> None:
        """All of it has, with these trailers or None."""
    @property
    def has_output(self) -> bool:
        """Some of the answer waits for the client's window, or the connection's."""
    def respond(
        self,
        status: int,
        fields: Fields,
        date_line: bytes | None,
        length: int,
        body: bytes | Lending | None,
        more: bool,
    ) -> int:
        """Begin the answer: `date_line` unless the fields have a Date, Content-Length unless `length` is negative.

        `body`: all of it as bytes, or lent, or None. `more`: it comes by `offer` and `finish`.
        """
    def interim(self, status: int, fields: Fields) -> int:
        """An interim answer."""
    def offer(self, piece: bytes) -> bool:
        """The next piece of the body; False if the one before is still here (then `take_drained` will tell)."""
    def finish(self, trailers: Fields | None) -> int:
        """The body offered ends behind the last piece, with these trailers or None."""
    def reset(self, code: int) -> int:
        """End the stream at once (RST_STREAM)."""
    def consumed(self, size: int) -> int:
        """So much of the body has been read, and the client may send as much again."""
    def widen(self, size: int) -> None:
        """Let the client have up to `size` bytes of the body on the way."""
