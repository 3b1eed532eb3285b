"""A request's body on its way to an origin, over whatever version of HTTP, and what may go wrong then."""

from asyncio import Task
from collections.abc import Awaitable
from typing import Protocol

from worker.errors import EdgeError
from worker.message import Stream
from worker.reasons import Fault, Side


class Exchange(Protocol):
    """One request on its way to an origin."""

    upload: Task[None] | None

    async def send_pieces(self, body: Stream) -> None:
        """Send all of the body. Raises EdgeError if that cannot be."""
        ...

    def fail(self, error: EdgeError) -> None:
        """End the exchange."""
        ...


async def send_body(exchange: Exchange, body: Stream) -> None:
    """Send the request's body as fast as the origin takes it, beside the answer, which may come first."""
    error = await _failure(exchange.send_pieces(body))
    exchange.upload = None
    if error is not None:
        exchange.fail(error)


async def _failure(sending: Awaitable[None]) -> EdgeError | None:
    """Why the body was not sent whole; None if it was."""
    try:
        await sending
    except EdgeError as error:
        return error
    except Exception as error:
        return EdgeError(500, Side.EDGE, Fault.INTERNAL, f"reading the request body: {error!r}")
    return None


def wrong_length(sent: int, length: int) -> EdgeError:
    """The client sent other than the `length` bytes it had announced."""
    detail = f"the request body has {'more' if sent > length else 'fewer'} bytes than announced"
    return EdgeError(400, Side.CLIENT, Fault.BAD_REQUEST, detail)
