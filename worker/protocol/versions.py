"""Which version of HTTP a connection speaks: what TLS agreed on (ALPN), or how a plain one begins.

One `HttpServer` holds the connections of a listener, whatever they speak. A plain connection that begins with
the preface of HTTP/2 speaks it by prior knowledge (RFC 9113 3.3), where the listener allows that.
"""

import asyncio
from typing import Any, cast

from worker.context import Client
from worker.protocol.acme_tls import PROTOCOL
from worker.protocol.h1 import CLOSED, H1Protocol, H1Server
from worker.protocol.h2.connection import H2Protocol

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 3.4


class HttpServer(H1Server):
    """The connections of one listener. `http2`: they may speak it."""

    def __init__(self, *args: Any, http2: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http2 = http2

    def factory(self, client: Client | None = None, since_ns: int = 0) -> Any:
        """A protocol for a new connection."""
        if self.scheme == b"https":
            return AgreedProtocol(self, client, since_ns)
        return (PlainProtocol if self.http2 else H1Protocol)(self, client, since_ns)


class AgreedProtocol(asyncio.Protocol):
    """Gives way to the protocol that client and server agreed on during the TLS handshake."""

    def __init__(self, server: HttpServer, client: Client | None = None, since_ns: int = 0) -> None:
        self._server = server
        self._client = client
        self._since_ns = since_ns or server.now_ns  # the handshake takes of its time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if agreed == PROTOCOL:  # the handshake was all there was to say (RFC 8737 4)
            if self._client is not None:
                self._server.part(self._client)
            cast(asyncio.Transport, transport).close()
            return
        speaks = cast(Any, H2Protocol if agreed == "h2" else H1Protocol)
        protocol = speaks(self._server, self._client, self._since_ns)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class PlainProtocol(H1Protocol):
    """HTTP/1, unless the connection begins with the preface of HTTP/2."""

    __slots__ = ("_beginning",)

    def __init__(self, server: HttpServer, client: Client | None = None, since_ns: int = 0) -> None:
        super().__init__(server, client, since_ns)
        self._beginning: bytes | None = b""  # None once it is known

    def data_received(self, data: bytes) -> None:
        if self._beginning is None:
            super().data_received(data)
            return
        data = self._beginning + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self._beginning = None
            super().data_received(data)
        elif len(data) < len(PREFACE):
            self._beginning = data
        else:
            self._give_way(data)

    def _give_way(self, data: bytes) -> None:
        transport, self._transport = self._transport, None
        self._phase = CLOSED
        if transport is None:
            return
        protocol = H2Protocol(self.server, None, self._since_ns)
        self.server.hand_over(self, protocol)
        transport.set_protocol(cast(asyncio.BaseProtocol, protocol))
        protocol.open(transport, self._client)
        protocol.data_received(data)
