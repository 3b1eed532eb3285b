"""Active health checks of servers that speak nothing but HTTP/2, gRPC's own health service among them.

They go the way of requests: by the pool of connections that the workers have, made for one check. What a
check proves, and when it is made, is decided in `probes`.
"""

from typing import Final

from worker.fields import Fields
from worker.message import Response
from worker.origin.h2.body import StreamBody
from worker.origin.h2.pool import H2Pool
from worker.origin.resolve import Resolver
from worker.settings import OriginSettings

GRPC_HEALTH: Final = "/grpc.health.v1.Health/Check"  # a call of this is what its path says
_ASK_ALL: Final = bytes(5)  # a message of no bytes: the server as a whole
_SERVING: Final = b"\x00\x00\x00\x00\x02\x08\x01"  # a message of two: status 1
_GRPC_LINES: Final = "Content-Type: application/grpc\r\nConnection: TE\r\nTE: trailers\r\n"


class _Message:
    """A request body (message.Stream) that is there already."""

    def __init__(self, data: bytes) -> None:
        self.length: int | None = None
        self.trailers: Fields | None = None
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        pass


async def ask(
    server: OriginSettings, path: str, host: str, agent: str, resolver: Resolver
) -> tuple[int, str]:
    """Status of the answer to a GET of that path, or to a call of the health service if it names that.

    And what the health service says against the server; "" for nothing. Raises EdgeError.
    """
    is_call = path == GRPC_HEALTH
    method, lines = ("POST", _GRPC_LINES) if is_call else ("GET", "")
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{lines}\r\n".encode("latin-1")
    pool = H2Pool(server, resolver)
    try:
        place = await pool.connect()
        body = _Message(_ASK_ALL) if is_call else None
        response = await place.ask(head, body, to_head=False, informed=None)
        return response.status, await _against(response) if is_call else ""
    finally:
        pool.abort()


async def _against(response: Response) -> str:
    """What an answer of the health service says against the server."""
    body, message = response.body, b""
    fields = response.fields
    if isinstance(body, StreamBody):
        while piece := await body.read():
            message += piece
        fields = body.trailers or fields
    status = fields.get(b"grpc-status") or b"missing"
    if status != b"0":
        return f"grpc-status {status.decode('latin-1')}"
    return "" if message == _SERVING else "it is not serving"
