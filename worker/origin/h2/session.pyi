"""One connection's HTTP/2 framing (RFC 9113) towards an origin, by libnghttp2: requests out, answers in."""

from typing import Generic, TypeVar

from worker.fields import Fields

NO_ERROR: int
PROTOCOL_ERROR: int
REFUSED_STREAM: int
CANCEL: int

Made = TypeVar("Made", bound=H2Stream)

class Session(Generic[Made]):
    """One connection, as its client."""

    streams: dict[int, Made]  # those that are open
    failed: bool  # nothing more is read or sent, but what `take` still has
    fault: int  # the error code of the GOAWAY that the origin sent, or that it has earned
    said: str | None  # what is wrong, in libnghttp2's words, ours, or those of the origin's GOAWAY
    agreed: bool  # the origin's SETTINGS have come
    is_leaving: bool  # its GOAWAY has
    has_news: bool  # an answer, or some of one, has come; for the owner to clear
    streams_max: int  # that the origin takes at a time
    def __init__(self, *, header_bytes: int, header_count: int, window: int) -> None:
        """`window`: how much of an answer may come that nobody has read."""
    def receive(self, data: bytes) -> int:
        """Tell the streams what `data` says. Sets `failed` if it is not HTTP/2 any more; `said` has the reason."""
    def take(self) -> bytes:
        """What is to be sent, about 64 KiB at most; b"" when nothing is, or may be."""
    def take_closed(self) -> list[Made]:
        """The streams that have ended since the last call, either way."""
    def take_drained(self) -> list[Made]:
        """The streams that have room again for a piece they refused."""
    @property
    def may_ask(self) -> bool:
        """May one more stream be opened? Not after a GOAWAY, nor when all ids are used up."""
    def ping(self) -> None:
        """Ask for a sign of life (RFC 9113 6.7)."""
    def forgive(self) -> None:
        """A second has passed: empty frames are counted anew."""
    def terminate(self) -> None:
        """Say GOAWAY; nothing else follows it."""
    @property
    def is_over(self) -> bool:
        """All is said: the connection may be closed."""
    def close(self) -> list[Made]:
        """The connection is gone. The streams that were open, which will hear no more of it."""

class H2Stream:
    """One request and its answer. A subclass takes what comes.

    At most one piece of the request's body is here at a time. `moved` is set whenever some of it leaves.
    """

    id: int
    answered: bool  # the head of the final answer has come
    ended: bool  # nothing of the answer is still to come
    closed: bool
    code: int  # once closed, why (RFC 9113 7)
    reset_by_peer: bool
    moved: bool
    def receive_interim(self, status: int, fields: Fields) -> None:
        """An interim answer."""
    def receive_head(self, status: int, fields: Fields, ended: bool) -> None:
        """The head of the answer. `ended`: there is no body."""
    def receive(self, data: bytes) -> None:
        """Some of the answer's body."""
    def receive_end(self, trailers: Fields | None) -> None:
        """All of it has come, with these trailers or None."""
    def refuse(self, why: str | None, too_large: bool) -> None:
        """A header or trailer section breaks a rule, or is `too_large`."""
    @property
    def has_output(self) -> bool:
        """Bytes of the request wait for the origin's window, or the connection's."""
    def submit(self, session: Session[Made], head: bytes, scheme: bytes, more: bool) -> bool:
        """Begin the request whose HTTP/1.1 head this is: request line, Host, fields, empty line.

        `more`: a body comes by `offer` and `finish`. False if the connection takes no more requests.
        """
    def offer(self, piece: bytes) -> bool:
        """The next piece of the body; False if the one before is still here (then `take_drained` will tell)."""
    def finish(self, trailers: Fields | None) -> int:
        """The body offered ends behind the last piece, with these trailers or None."""
    def reset(self, code: int) -> int:
        """End the stream at once (RST_STREAM)."""
    def consumed(self, size: int) -> int:
        """So much of the body has been read, and the origin may send as much again."""
