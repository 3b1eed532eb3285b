"""Request and Response: what flows between the stages. Data only, no behaviour that waits.

Everything on the wire is bytes. A body is None (there is none), bytes (it is whole and small),
a `Pinned` (it is whole and lies in the shared segment) or a `Stream` (it arrives over time). The body of
a 101 (Switching Protocols) is a `TunnelEnd`: no body, but the way to who switched.
"""

from collections.abc import Sequence
from typing import Protocol

from worker.errors import EdgeError
from worker.fields import Fields


class Stream(Protocol):
    """A body that arrives over time, pulled by its reader, which is what gives back-pressure."""

    length: int | None  # bytes announced, None when the sender did not say
    trailers: Fields | None  # set once read() has returned b""

    async def read(self) -> bytes:
        """The next piece; b"" once at the end. Raises EdgeError if the sender breaks off."""
        ...

    def close(self) -> None:
        """The reader wants no more: release what stands behind the stream. Safe to call twice."""
        ...


class Pinned(Protocol):
    """A stored body lent by the segment: its bytes stay unchanged until `release`."""

    def __len__(self) -> int: ...

    def views(self, start: int = 0, stop: int | None = None) -> Sequence[memoryview]:
        """Read-only views that together are the body from `start` up to `stop`."""
        ...

    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` up to `stop` as an object of their own; the body is released."""
        ...

    def release(self) -> None:
        """Give the bytes back. Safe to call twice; called by the sender when the last byte left."""
        ...


class TunnelEnd(Protocol):
    """One end of a tunnel, as the other end drives it. Plain calls; nothing waits, no byte makes a task.

    An end gives what it reads to the other's `write`, its peer's half-close to `write_eof`, and closes the
    other when its connection is lost. While it is full it has the other `pause_reading`, which is what
    bounds memory. To begin, both are told to `join`, then both to `start`.
    """

    is_full: bool  # what it was given to write waits for its peer

    def join(self, other: "TunnelEnd") -> None:
        """Get to know the other end. Nothing moves yet."""
        ...

    def start(self) -> None:
        """Pass on what was read, and read on."""
        ...

    def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None:
        """Nothing more will be written. Safe to call twice."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self, error: EdgeError | None = None) -> None:
        """End the connection behind what was written; `error` tells who failed. Safe to call twice."""
        ...


Body = bytes | Pinned | Stream | TunnelEnd | None


class Request:
    """One request, read-only by convention once the protocol has made it.

    `path` and `query` are what the client sent until the normalise gate has replaced them by the one
    spelling that every later stage sees and that is forwarded. `host` is lower-case, without the
    default port of `scheme`. `query` is None without a question mark. `upgrade` names the protocols the
    client would switch to on its connection, whatever field or frame offers them; the protocol sets it.
    """

    __slots__ = (
        "body", "fields", "host", "method", "path", "query", "scheme", "target", "upgrade", "version",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        scheme: bytes,
        host: bytes,
        target: bytes,
        path: bytes,
        query: bytes | None,
        version: bytes,
        fields: Fields,
        body: Stream | None = None,
    ) -> None:
        self.method = method  # b"GET"
        self.scheme = scheme  # b"http" or b"https"
        self.host = host  # b"example.org" or b"example.org:8443"
        self.target = target  # the request target as received, for the log
        self.path = path  # b"/a/b"
        self.query = query  # b"x=1"
        self.version = version  # b"1.0", b"1.1", b"2", b"3"
        self.fields = fields
        self.body = body
        self.upgrade = b""  # b"websocket"


class Response:
    """One answer; filters may change it until it is sent.

    `length` is the body's size in bytes, None while unknown (a stream that did not announce it).
    The protocol writes the framing fields (Content-Length or Transfer-Encoding) and Connection
    itself: `fields` never holds them. For HEAD and 304, `length` still tells the selected
    representation's size and the protocol sends no body.
    """

    __slots__ = ("body", "fields", "length", "settled", "status")

    def __init__(self, status: int, fields: Fields, body: Body = None, length: int | None = None) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.length = length
        self.settled = False  # coding is chosen already (a stored variant): compression leaves it alone
