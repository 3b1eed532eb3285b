"""The origin's end of a tunnel: the body of a 101 (Switching Protocols)."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns

from worker.errors import EdgeError
from worker.message import TunnelEnd
from worker.reasons import Fault, Side
from worker.settings import OriginSettings
from worker.tunnel import TransportEnd


class OriginEnd(TransportEnd):
    """Made by the connection when it has read the 101; the pool goes on to look after it through that."""

    __slots__ = ("_moved", "_settings", "_since_ns", "_tell_lost")

    def __init__(
        self,
        settings: OriginSettings,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        held: bytes,
        tell_lost: Callable[[Exception | None], None],
    ) -> None:
        """`held` is what came behind the 101; `tell_lost` is called when the connection is gone."""
        super().__init__(transport, loop, held=held)
        self._settings = settings
        self._tell_lost = tell_lost
        self._moved = 0  # bytes both ways when last looked at
        self._since_ns = monotonic_ns()  # when that had last changed

    def lost(self, error: Exception | None, other: TunnelEnd | None) -> None:
        if other is not None:
            lost = (
                None if error is None else self._error(502, Fault.INCOMPLETE, f"lost the connection: {error}")
            )
            other.close(lost)
        self._tell_lost(error)

    def overdue(self, now_ns: int) -> None:
        """End a tunnel in which no byte has moved for too long, either way. Called about once a second.

        Where one direction has ended already, or the connection closes, the origin's usual patience applies.
        """
        moved = self.taken + self.given
        if moved != self._moved:
            self._moved, self._since_ns = moved, now_ns
            return
        settings = self._settings
        if self._ended or self._shut or self.transport.is_closing():
            name, limit_s = "idle_timeout", settings.idle_timeout_s
        else:
            name, limit_s = "tunnel_idle_timeout", settings.tunnel_idle_timeout_s
        if now_ns - self._since_ns > limit_s * 1e9:
            if self._other is not None:
                self._other.close(
                    self._error(504, Fault.READ_TIMEOUT, f"no byte either way for {limit_s} s (`{name}`)")
                )
            self.abort()

    def _error(self, status: int, fault: Fault, detail: str) -> EdgeError:
        return EdgeError(status, Side.ORIGIN, fault, f"{self._settings.url}: {detail}")
