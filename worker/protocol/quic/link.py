"""The border between QUIC and HTTP/3: what each of the two asks of the other, in this project's words.

Nothing above it knows which QUIC engine is used, nothing below it knows HTTP. Streams are named by their ids
(RFC 9000 2.1), codes are those of HTTP/3 (RFC 9114 8.1), times are monotonic.
"""

from typing import Protocol

Address = tuple[str, int]  # numeric host without a scope, port


class Link(Protocol):
    """One QUIC connection, as HTTP/3 sees it. Nothing is sent before `flush_soon`, or the end of the call
    to the `Application` that gave rise to it."""

    @property
    def peer(self) -> Address:
        """Where the client is; changes when it moves to another network (RFC 9000 9)."""
        ...

    @property
    def is_early(self) -> bool:
        """The handshake is not confirmed: what is delivered now may be replayed (RFC 8470)."""
        ...

    @property
    def cipher(self) -> str:
        """Of TLS 1.3, as OpenSSL spells it."""
        ...

    def open_stream(self) -> int:
        """A new unidirectional stream of ours."""
        ...

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        """Put `data` behind what was given for that stream; `end`: nothing follows. It may wait for the
        client's windows: ask `waiting`."""
        ...

    def waiting(self, stream_id: int) -> int:
        """Bytes given for that stream and not yet acknowledged: they are held in memory."""
        ...

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of what that stream delivered has been read: the client may send as much again."""
        ...

    def widen(self, stream_id: int, size: int) -> None:
        """Let the client have up to `size` bytes of that stream on the way."""
        ...

    def reset(self, stream_id: int, code: int) -> None:
        """Break off what we send on that stream (RESET_STREAM)."""
        ...

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the client to send no more on that stream (STOP_SENDING)."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """End the connection with an error code of HTTP/3; `Application.lost` follows."""
        ...

    def flush_soon(self) -> None:
        """Send what there is, together with what else comes up in this turn of the loop."""
        ...


class Application(Protocol):
    """HTTP/3 on one connection, as the dispatcher sees it."""

    def confirmed(self) -> None:
        """The handshake is complete: nothing is early any more."""
        ...

    def stream_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        """The next bytes of a stream, in order; b"" with `ended` when only the end came."""
        ...

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client broke off what it sent on that stream."""
        ...

    def stream_stopped(self, stream_id: int, code: int) -> None:
        """The client wants no more of what we send on that stream: the engine has reset it."""
        ...

    def moved(self) -> None:
        """Datagrams came or left: streams may have room again for what they hold back."""
        ...

    def lost(self, code: int) -> None:
        """The connection has ended, for whatever reason; no call follows."""
        ...
