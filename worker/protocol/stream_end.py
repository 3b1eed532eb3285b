"""The client's end of a tunnel over one stream (RFC 8441, RFC 9220).

The stream's window is what holds a client back, and one piece of the stream with a queue behind it what holds
the origin back. Knows no frame: the stream sends, and is told when a direction ends.
"""

from typing import Protocol

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import TunnelEnd
from worker.pipeline import Finish
from worker.protocol.server import ConnectionServer
from worker.protocol.stream import CANCEL, NO_ERROR
from worker.reasons import Fault, Side
from worker.tunnel import HIGH_WATER_BYTES


class Flusher(Protocol):
    def flush_soon(self) -> None:
        """Frames wait to be sent."""
        ...


class TunnelStream(Protocol):
    """What an end needs of its stream (`stream.Stream`)."""

    @property
    def server(self) -> ConnectionServer: ...

    @property
    def connection(self) -> Flusher: ...

    def offer(self, piece: bytes) -> bool: ...

    def has_left(self) -> bool: ...

    def finish(self, trailers: Fields | None) -> int: ...

    def leave(self) -> int: ...

    def reset(self, code: int) -> int: ...

    def consumed(self, size: int) -> int: ...


class StreamEnd:
    """One end (`message.TunnelEnd`), which `open` begins once the origin has switched.

    Holds what comes ahead of that, without giving its window back. Ends the request when its stream ends.
    """

    __slots__ = (
        "_ctx", "_ended", "_finish", "_held", "_is_broken", "_other", "_owed", "_queue", "_shut", "_stopped",
        "_stream", "is_closing", "is_full", "is_open", "taken",
    )  # fmt: skip

    def __init__(self, stream: TunnelStream) -> None:
        self.is_open = False
        self.is_full = False
        self.is_closing = False
        self.taken = 0  # bytes received
        self._stream = stream
        self._ctx: Context | None = None
        self._finish: Finish | None = None
        self._other: TunnelEnd | None = None
        self._held = bytearray()  # received before the start
        self._queue = bytearray()  # to be sent, behind the piece that the stream has
        self._owed = 0  # bytes received that the client has not got its window back for
        self._stopped = True  # give no window back
        self._ended = False  # the client sends nothing more
        self._shut = False  # the client is told that nothing more comes
        self._is_broken = False  # ... and not in order

    def open(self, ctx: Context, finish: Finish) -> None:
        """The stream's 200 is on its way."""
        self._ctx = ctx
        self._finish = finish
        self.is_open = True
        self._stream.server.tally.tunnel(opened=True)

    # message.TunnelEnd

    def join(self, other: TunnelEnd) -> None:
        self._other = other

    def start(self) -> None:
        other = self._other
        assert other is not None
        held, self._held = self._held, bytearray()
        if held:
            other.write(bytes(held))
        if self._ended:
            other.write_eof()
        if not other.is_full:
            self.resume_reading()

    def write(self, data: bytes) -> None:
        if not self.is_open or self._shut or self.is_closing:
            return
        stream = self._stream
        if self._queue or not stream.offer(data):
            self._queue += data
        if not self.is_full and len(self._queue) + len(data) >= HIGH_WATER_BYTES and not stream.has_left():
            self.is_full = True
            if self._other is not None:
                self._other.pause_reading()
        stream.connection.flush_soon()

    def write_eof(self) -> None:
        if self.is_open and not self._shut and not self.is_closing:
            self._shut = True
            self._go_on()

    def pause_reading(self) -> None:
        self._stopped = True

    def resume_reading(self) -> None:
        self._stopped = False
        owed, self._owed = self._owed, 0
        if owed:
            self._stream.consumed(owed)
            self._stream.connection.flush_soon()

    def close(self, error: EdgeError | None = None) -> None:
        ctx = self._ctx
        if not self.is_open or self.is_closing or ctx is None:
            return
        if ctx.error is None:
            ctx.error = error
        self.is_closing = True
        self._is_broken = error is not None
        self._go_on()

    # The stream's side.

    def receive(self, data: bytes) -> None:
        """The client has sent some."""
        self.taken += len(data)
        if self._other is None:
            self._held += data
        else:
            self._other.write(data)
        if self._stopped:
            self._owed += len(data)
        else:
            self._stream.consumed(len(data))

    def receive_end(self) -> None:
        """The client sends nothing more."""
        self._ended = True
        if self._other is not None:
            self._other.write_eof()

    def drained(self) -> None:
        """The last piece has left."""
        if not self.is_open:
            return
        self._go_on()
        if self.is_full and self._stream.has_left():
            self.is_full = False
            if self._other is not None:
                self._other.resume_reading()

    def cut_off(self, *, draining: bool) -> None:
        """The connection is about to be cut."""
        if draining and self._ctx is not None and self._ctx.error is None:
            self._ctx.error = EdgeError(503, Side.EDGE, Fault.DRAINING, "cut when the drain was over")

    def lost(self, code: int) -> None:
        """The stream has ended, by that error code."""
        self.is_open = False
        ctx, self._ctx = self._ctx, None
        finish, self._finish = self._finish, None
        other, self._other = self._other, None
        assert ctx is not None and finish is not None
        if code != NO_ERROR and ctx.error is None:
            ctx.error = EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, f"the stream was reset, error {code}")
        if other is not None:
            other.close()
        ctx.bytes_in = self.taken
        self._stream.server.tally.tunnel(opened=False)
        finish(ctx)

    def _go_on(self) -> None:
        """Send what waits, and the end behind it."""
        stream = self._stream
        if self._queue and stream.has_left():
            stream.offer(bytes(self._queue))
            self._queue.clear()
        if not self._queue:
            if self._is_broken:
                if stream.has_left():
                    stream.reset(CANCEL)
            elif self.is_closing:
                stream.leave()
            elif self._shut:
                stream.finish(None)
        stream.connection.flush_soon()
