"""The client's end of a tunnel over an HTTP/1 connection that has switched protocols."""

import asyncio
from typing import TYPE_CHECKING

from worker.context import Context
from worker.errors import EdgeError
from worker.message import TunnelEnd
from worker.pipeline import Finish
from worker.protocol.standing import AT_WORK, Standing
from worker.reasons import Fault, Side
from worker.tunnel import TransportEnd

if TYPE_CHECKING:
    from worker.protocol.server import ConnectionServer


class ClientEnd(TransportEnd):
    """Takes the place of the connection in its server, and ends the request when the tunnel has ended.

    A draining server keeps it until the drain is over: nobody can tell where a foreign protocol may be cut.
    """

    __slots__ = ("_ctx", "_finish", "_mark", "_server", "_since_ns")

    def __init__(
        self,
        server: "ConnectionServer",
        transport: asyncio.Transport,
        ctx: Context,
        finish: Finish,
        *,
        held: bytes,
        is_full: bool,
    ) -> None:
        super().__init__(transport, server.loop, held=held, is_full=is_full)
        self._server = server
        self._ctx = ctx
        self._finish = finish
        self._mark = 0  # bytes in the closing transport when last looked at
        self._since_ns = 0  # when they last became fewer; 0 until it closes
        server.connections.add(self)
        server.tally.tunnel(opened=True)

    def close(self, error: EdgeError | None = None) -> None:
        if self._ctx.error is None:
            self._ctx.error = error
        TransportEnd.close(self)

    def lost(self, error: Exception | None, other: TunnelEnd | None) -> None:
        ctx = self._ctx
        if error is not None and ctx.error is None:
            ctx.error = EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, f"lost the connection: {error}")
        if other is not None:
            other.close()
        ctx.bytes_in = self.taken
        ctx.bytes_out = self.given
        self._server.discard(self, ctx.peer)
        self._server.tally.tunnel(opened=False)
        self._finish(ctx)

    # server.Connection

    @property
    def is_busy(self) -> bool:
        return True

    def standing(self) -> Standing:
        return AT_WORK, 0, self._ctx.peer

    def drain(self) -> None:
        """It goes on until `abort`."""

    def abort(self) -> None:
        if self._ctx.error is None and self._server.draining:
            self._ctx.error = EdgeError(503, Side.EDGE, Fault.DRAINING, "cut when the drain was over")
        TransportEnd.abort(self)

    def sweep(self, now_ns: int) -> None:
        """Cut a closing connection whose client does not take the rest; all else is the origin's end's."""
        if not self.transport.is_closing():
            return
        left = self.transport.get_write_buffer_size()
        if not self._since_ns or left != self._mark:
            self._mark, self._since_ns = left, now_ns
        elif now_ns - self._since_ns > self._server.limits.send_timeout_s * 1e9:
            self.abort()
