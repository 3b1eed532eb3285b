"""A tunnel: two connections joined after a switch of protocols, each passing on to the other what it reads.

Bytes go from transport to transport by plain calls, without a task, a future or a queue in between. Knows
neither HTTP nor who stands behind the connections: the protocols and the origin bring an end each.
"""

import asyncio
from typing import cast

from worker.errors import EdgeError
from worker.message import TunnelEnd

# What may wait in one end's transport before the other end stops reading. With the read that was under way
# then (uvloop's is 256 KiB) a direction holds at most 320 KiB; docs/upgrades.md says what that means.
HIGH_WATER_BYTES = 64 * 1024


class TransportEnd:
    """One end (`message.TunnelEnd`), an asyncio.Protocol of its transport from the moment it is made.

    Reads nothing before `start`. A subclass says by `lost` what becomes of its connection's end.
    """

    __slots__ = (
        "_ended", "_held", "_loop", "_other", "_over_tls", "_shut", "_stopped", "given", "is_full", "is_lost",
        "taken", "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        held: bytes = b"",
        is_full: bool = False,
    ) -> None:
        """`held`: what was read of the new protocol already; `is_full`: the transport asked for a pause."""
        self.transport = transport
        self.is_full = is_full
        self.is_lost = False
        self.taken = len(held)  # bytes read
        self.given = 0  # bytes to be written
        self._loop = loop
        self._over_tls = transport.get_extra_info("sslcontext") is not None
        self._other: TunnelEnd | None = None
        self._held = held  # read before the start
        self._stopped = False  # told not to read
        self._ended = False  # its peer sends nothing more
        self._shut = False  # its peer was told that nothing more comes
        self.pause_reading()
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        transport.set_protocol(cast(asyncio.Protocol, self))  # all but the name: the class is compiled

    # message.TunnelEnd

    def join(self, other: TunnelEnd) -> None:
        self._other = other

    def start(self) -> None:
        other = self._other
        assert other is not None
        held, self._held = self._held, b""
        if held:
            other.write(held)
        if self._ended:
            other.write_eof()
        if self.is_lost:
            other.close()
        elif not other.is_full:
            self.resume_reading()

    def write(self, data: bytes) -> None:
        if not self.is_lost:
            self.given += len(data)
            self.transport.write(data)

    def write_eof(self) -> None:
        if self._shut or self.is_lost:
            return
        self._shut = True
        if self._ended or not self.transport.can_write_eof():
            self.close()
        else:
            self.transport.write_eof()

    def pause_reading(self) -> None:
        self._stopped = True
        if self._over_tls:
            # Not while the transport is delivering: aiofastnet (1.2.0) would keep what it has decrypted.
            self._loop.call_soon(self._pause_reading)
        else:
            self._pause_reading()

    def _pause_reading(self) -> None:
        if self._stopped and not self.is_lost and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._stopped:
            self._stopped = False
            if not self._ended and not self.is_lost and not self.transport.is_closing():
                self.transport.resume_reading()

    def close(self, error: EdgeError | None = None) -> None:
        if not self.is_lost:
            self.transport.close()

    def abort(self) -> None:
        """End the connection at once; what waits in its transport is gone."""
        if not self.is_lost:
            self.transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self.taken += len(data)
        if self._other is None:
            self._held += data  # a TLS transport delivers the rest of its turn before it pauses
        else:
            self._other.write(data)

    def eof_received(self) -> bool:
        """Half-close: passed on, and the other direction goes on, except over TLS, which has none."""
        self._ended = True
        if self._other is not None:
            self._other.write_eof()
        return not self._over_tls and not self._shut

    def pause_writing(self) -> None:
        self.is_full = True
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        self.is_full = False
        if self._other is not None:
            self._other.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        other, self._other = self._other, None
        self.lost(error, other)

    def lost(self, error: Exception | None, other: TunnelEnd | None) -> None:
        """The connection is gone; `other` is the end that has to be closed now, None before the start."""
        raise NotImplementedError
