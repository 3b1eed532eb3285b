"""The seven layers in motion: gates, fetch, filters, observers, and errors turned into answers.

Law of the hit path: gates are plain calls, so an answer that a gate can give makes no task, no
future and no await. Only `forward`, entered when no gate answered, may wait.
"""

import logging
from asyncio import CancelledError, Task, sleep
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import monotonic_ns
from typing import Any, Protocol, cast

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response, TunnelEnd
from worker.reasons import Fault, Side
from worker.settings import RouteSettings

log = logging.getLogger("edgecluster.pipeline")

# What a gate answers that lets the request wait for `ctx.delay_ns`, or for what `ctx.pending` comes to, which
# may be an answer; then the gates behind it are asked.
LATER = Response(0, Fields.trusted(b""), None, 0)


class Gate(Protocol):
    """Security, cache lookup: may answer, may not wait."""

    def __call__(self, ctx: Context) -> Response | None: ...


class Fetch(Protocol):
    """The origin, or the cache's fill around it: the one stage that waits."""

    def __call__(self, ctx: Context) -> Awaitable[Response]: ...


class Filter(Protocol):
    """Response processing: amends in place, may not wait."""

    def __call__(self, ctx: Context, response: Response) -> None: ...


class Observer(Protocol):
    """Log, metrics: may only look."""

    def __call__(self, ctx: Context) -> None: ...


class ErrorPage(Protocol):
    """Makes the answer for a request that failed."""

    def __call__(self, ctx: Context, error: EdgeError) -> Response: ...


Finish = Callable[[Context], None]
Spawn = Callable[[Coroutine[Any, Any, None]], Task[None]]
Refresh = Callable[[Context], Coroutine[Any, Any, None]]


class Exchange(Protocol):
    """One request's way back to its client, offered by h1, h2 and h3 alike.

    Each sets ctx.status and ctx.bytes_out.
    """

    def send(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Answer with a body that is None, bytes or Pinned; never waits.

        Calls `finish(ctx)` exactly once: when the last byte was handed to the transport, or the client left.
        """
        ...

    async def stream(self, ctx: Context, response: Response) -> None:
        """Answer with a Stream, piece by piece, waiting while the client is slow.

        Raises EdgeError when either side breaks off; the connection (h1) or stream (h2, h3) is then
        already cut so that nobody can take the part for the whole.
        """
        ...

    def inform(self, ctx: Context, status: int, fields: Fields) -> None:
        """Send an interim answer (1xx), where the protocol and the client allow it.

        Nothing happens when `ctx` is not (any more) the request in hand.
        """
        ...

    def tunnel(self, ctx: Context, response: Response, finish: Finish) -> None:
        """Switch protocols as `response` (101) says, and join the client with its body; never waits.

        Calls `finish(ctx)` exactly once: when the tunnel has ended, or at once if the client has left.
        """
        ...


class Pipeline:
    """The stages of one route."""

    def __init__(
        self,
        *,
        gates: Sequence[Gate],
        fetch: Fetch,
        send_filters: Sequence[Filter],
        observers: Sequence[Observer],
        error_page: ErrorPage,
        spawn: Spawn,
        refresh: Refresh | None = None,
    ) -> None:
        self.gates = tuple(gates)
        self.fetch = fetch
        self.send_filters = tuple(send_filters)
        self.observers = tuple(observers)
        self.error_page = error_page
        self.spawn = spawn
        self.refresh = refresh
        self._finish = self.finish  # bound once

    def handle(self, ctx: Context, exchange: Exchange) -> Task[None] | None:
        """Answer at once if a gate can, else start `forward`; its task, so that a lost client can end it."""
        try:
            for gate in self.gates:
                response = gate(ctx)
                if response is not None:
                    if response is LATER:
                        return self.spawn(self.wait(ctx, exchange, gate))
                    self.answer(ctx, response, exchange)
                    return None
        except Exception as error:
            self.answer(ctx, self.failure(ctx, error), exchange)
            return None
        return self.spawn(self.forward(ctx, exchange))

    async def wait(self, ctx: Context, exchange: Exchange, gate: Gate) -> None:
        """Let the request wait as `gate` says, then go on behind it."""
        behind = self.gates.index(gate) + 1
        try:
            response = await _wait(ctx)
            if response is not None:
                self.answer(ctx, response, exchange)
                return
            for next_gate in self.gates[behind:]:
                response = next_gate(ctx)
                if response is LATER:
                    await self.wait(ctx, exchange, next_gate)
                    return
                if response is not None:
                    self.answer(ctx, response, exchange)
                    return
        except CancelledError:
            ctx.error = EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, "while it waited at a gate")
            self.finish(ctx)
            raise
        except Exception as error:
            self.answer(ctx, self.failure(ctx, error), exchange)
            return
        await self.forward(ctx, exchange)

    async def forward(self, ctx: Context, exchange: Exchange) -> None:
        """Fetch, then answer."""
        ctx.inform = exchange.inform
        try:
            response = await self.fetch(ctx)
        except CancelledError:  # nobody is there to be answered, but the request has been
            ctx.error = EdgeError(499, Side.CLIENT, Fault.CLIENT_GONE, "before its answer")
            self.finish(ctx)
            raise
        except Exception as error:
            response = self.failure(ctx, error)
        if response.body is None or isinstance(response.body, bytes) or hasattr(response.body, "views"):
            self.answer(ctx, response, exchange)
            return
        if response.status == 101:
            self.switch(ctx, response, exchange)
            return
        try:
            for send_filter in self.send_filters:
                send_filter(ctx, response)
            await exchange.stream(ctx, response)
        except EdgeError as error:
            ctx.error = error
        except Exception:
            log.exception("request %s failed while its answer was sent", ctx.request_id.decode())
            ctx.error = EdgeError(500, Side.EDGE, Fault.INTERNAL)
        finally:
            response.body.close()
            self.finish(ctx)

    def answer(self, ctx: Context, response: Response, exchange: Exchange) -> None:
        """Filter, send, and start a background refresh if the answer was stale."""
        for send_filter in self.send_filters:
            send_filter(ctx, response)
        exchange.send(ctx, response, self._finish)
        if ctx.refresh and self.refresh is not None:
            self.spawn(self.refresh(ctx))

    def switch(self, ctx: Context, response: Response, exchange: Exchange) -> None:
        """The origin switches protocols: what follows is between it and the client."""
        try:
            for send_filter in self.send_filters:
                send_filter(ctx, response)
        except Exception as error:
            cast(TunnelEnd, response.body).close()
            self.answer(ctx, self.failure(ctx, error), exchange)
        else:
            exchange.tunnel(ctx, response, self._finish)

    def finish(self, ctx: Context) -> None:
        """Let the observers see the finished request."""
        ctx.ended_ns = monotonic_ns()
        for observe in self.observers:
            observe(ctx)

    def failure(self, ctx: Context, error: Exception) -> Response:
        """The answer for an exception from a stage; anything but an EdgeError is our own bug: 500, logged."""
        if not isinstance(error, EdgeError):
            log.error("request %s failed", ctx.request_id.decode(), exc_info=error)
            error = EdgeError(500, Side.EDGE, Fault.INTERNAL, repr(error))
        ctx.error = error
        return self.error_page(ctx, error)


async def _wait(ctx: Context) -> Response | None:
    """Until it is the request's turn; an answer if it turns out that it gets no further."""
    pending, ctx.pending = ctx.pending, None
    if pending is not None:
        return await pending()
    await sleep(ctx.delay_ns * 1e-9)
    ctx.now_ns += ctx.delay_ns
    ctx.now_s += ctx.delay_ns * 1e-9
    return None


class Edge:
    """The entrance: one spelling per request, then the pipeline of its route.

    `normalize` is the first gate and runs before routing, because routes are chosen by what it made of the
    path. `find` gives a request's route, None if no site wants it, and the pipeline that answers it.
    """

    def __init__(
        self,
        normalize: Callable[[Request], None],
        find: Callable[[Request], tuple[RouteSettings | None, Pipeline]],
        rejecting: Pipeline,
    ) -> None:
        self.normalize = normalize
        self.find = find
        self.rejecting = rejecting

    def handle(self, ctx: Context, exchange: Exchange) -> Task[None] | None:
        """Entry point for every protocol: a request whose head is complete and valid."""
        try:
            self.normalize(ctx.request)
        except EdgeError as error:
            self.reject(ctx, error, exchange)
            return None
        ctx.route, pipeline = self.find(ctx.request)
        return pipeline.handle(ctx, exchange)

    def reject(self, ctx: Context, error: EdgeError, exchange: Exchange) -> None:
        """Answer a request that broke a protocol rule before any stage saw it."""
        self.rejecting.answer(ctx, self.rejecting.failure(ctx, error), exchange)
