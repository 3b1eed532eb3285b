"""One request and its answer on a stream of a connection that carries many (HTTP/2, HTTP/3), whatever its frames."""

from typing import Generic, TypeVar

from worker.fields import Fields, Section
from worker.protocol.lending import Lending

# Why a stream is reset, in the codes of HTTP/2 (RFC 9113 7); other framings put their own in place of them.
NO_ERROR: int
PROTOCOL_ERROR: int
INTERNAL_ERROR: int
CANCEL: int

Made = TypeVar("Made", bound=Stream)

class Framing(Generic[Made]):
    """One connection's frames, as its streams see them."""

    streams: dict[int, Made]  # those that are open
    def take_closed(self) -> list[Made]:
        """The streams that have ended since the last call, either way."""
    def take_drained(self) -> list[Made]:
        """The streams that have room again for a piece they refused."""
    def forget(self, stream: Stream, code: int) -> int:
        """The stream has ended: by `code`, 0 if all of it went well."""
    def give_up(self, code: int) -> list[Made]:
        """The connection is gone. The streams that were open, which will hear no more of it."""
    def give_notice(self) -> None:
        """Tell the client to open no more streams, but take those that are on their way."""
    def go_away(self) -> None:
        """Take no more streams; those there are come to their end."""
    def answer(
        self, stream: Stream, status: int, fields: Fields, date_line: bytes | None, length: int
    ) -> int:
        """Send the head of an answer, see `Stream.respond`; what the stream holds of its body follows."""
    def interim(self, stream: Stream, status: int, fields: Fields) -> int: ...
    def resume(self, stream: Stream) -> int:
        """The stream holds more of its body, or knows now that none follows."""
    def reset(self, stream: Stream, code: int) -> int:
        """End the stream at once. `code`: one of those above."""
    def consumed(self, stream: Stream, size: int) -> int: ...
    def widen(self, stream: Stream, size: int) -> int: ...
    def has_ended(self, stream: Stream) -> bool:
        """Has our side of the stream ended?"""

class Stream:
    """One request and its answer. The framing fills in the request; a subclass takes its body and answers.

    At most one piece of a body is here at a time. `moved` is set whenever some of it leaves.
    """

    id: int
    method: bytes
    scheme: bytes | None
    authority: bytes | None
    host: bytes | None  # the field, which :authority has to agree with
    protocol: bytes | None  # of an extended CONNECT (RFC 8441)
    target: bytes
    path: bytes
    query: bytes | None
    fields: Fields | None  # None while the head is not complete
    too_large: bool  # the header section exceeds the limits; `fields` holds its beginning
    ended: bool  # nothing of the request is still to come
    closed: bool
    code: int  # once closed, why: 0, or an error code of the version's
    bytes_sent: int
    moved: bool
    last: bool  # nothing follows the piece at hand
    tunnelled: bool  # either side may end its own direction
    trailers: Fields | None  # of the answer
    def receive(self, data: bytes) -> None:
        """Some of the request's body has come."""
    def receive_end(self, trailers: Fields | None) -> None:
        """All of it has, with these trailers or None."""
    def belong(self, framing: Framing[Made], id: int) -> int:
        """It is that stream of that connection."""
    def read_head(self, section: Section) -> int:
        """The head is complete and breaks no rule."""
    @property
    def left(self) -> int:
        """Bytes of the body at hand that have not been taken."""
    def take(self, limit: int) -> bytes:
        """The next bytes of the body, at most `limit`; b"" when none are at hand. Copies them, unless they are all."""
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
    def switch(self, fields: Fields, date_line: bytes | None) -> int:
        """Answer an extended CONNECT by 200 (RFC 8441 5): until `leave`, either side may end its own direction."""
    def leave(self) -> int:
        """End a tunnel behind the last piece, both directions of it."""
    def has_left(self) -> bool:
        """Has the last piece? If not, `take_drained` will tell."""
    def offer(self, piece: bytes) -> bool:
        """The next piece of the body; False if the one before is still here (then `take_drained` will tell)."""
    def finish(self, trailers: Fields | None) -> int:
        """The body offered ends behind the last piece, with these trailers or None."""
    def reset(self, code: int) -> int:
        """End the stream at once, by one of the codes above."""
    def consumed(self, size: int) -> int:
        """So much of the body has been read, and the client may send as much again."""
    def widen(self, size: int) -> None:
        """Let the client have up to `size` bytes of the body on the way."""
