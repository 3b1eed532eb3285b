"""The transport of a TLS connection from a client: aiofastnet's, and the alert of a handshake that failed.

aiofastnet (1.2.0) cuts such a connection while what OpenSSL says about it is still in memory, so that the
client cannot tell a wrong version from a network that broke. Knows nothing of HTTP.
"""

import asyncio
import ssl
from asyncio import AbstractEventLoop
from socket import socket
from typing import Any

from aiofastnet.ssl_transport import SSLTransport_Socket

LEAST_TIMEOUT_S = 0.001  # a transport takes none of 0
SHUTDOWN_TIMEOUT_S = 5.0
INCOMING_BYTES = 32 * 1024  # per connection, two TLS records: requests are small, connections many
OUTGOING_BYTES = 128 * 1024  # per connection: fewer, larger writes of large bodies


class ClientTransport(SSLTransport_Socket):  # type: ignore[misc]  # it has no types
    """TLS over an accepted socket."""

    __slots__ = ()

    def _force_close(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError) and self.is_closing():
            self._write_ready()  # it has nothing to write but what OpenSSL left
        super()._force_close(exc)


async def shake_hands(
    loop: AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    connection: socket,
    timeout_s: float,
) -> None:
    """Speak TLS on `connection`, which it owns from now on; `protocol` has a transport at the end.

    Raises OSError: what comes is no TLS, nothing is agreed on, or it takes too long.
    """
    connection.setblocking(False)
    shaken = loop.create_future()
    transport: Any = ClientTransport(
        loop,
        protocol,
        context,
        True,  # the server's side
        max(timeout_s, LEAST_TIMEOUT_S),
        SHUTDOWN_TIMEOUT_S,
        INCOMING_BYTES,
        OUTGOING_BYTES,
        connection,
        waiter=shaken,
    )
    try:
        await shaken
    except BaseException:
        transport.abort()
        raise
