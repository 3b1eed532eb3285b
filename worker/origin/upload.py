"""What may go wrong while a request's body is sent to an origin, whatever version of HTTP carries it."""

from collections.abc import Awaitable

from worker.errors import EdgeError
from worker.reasons import Fault, Side


async def failure(sending: Awaitable[None]) -> EdgeError | None:
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
