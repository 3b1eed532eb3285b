"""The listener of `h1_edge` for connections of either version, and clients for HTTP/2."""

from typing import Any

from tests.support.h1_edge import H1Edge
from tests.support.h2_client import H2Client
from worker.pipeline import Edge
from worker.protocol.h2.connection import H2Protocol
from worker.protocol.versions import HttpServer
from worker.settings import ListenerSettings


class H2Edge(H1Edge):
    """Speaks HTTP/2 to who begins with its preface, or agrees on it by TLS."""

    def make_server(self, edge: Edge, listener: ListenerSettings) -> HttpServer:
        return HttpServer(edge, self.limits, listener, trusted=self.trusted, tally=self.tally, http2=True)

    @property
    def h2_connection(self) -> H2Protocol:
        """The one connection there is."""
        (connection,) = self.server.connections
        assert isinstance(connection, H2Protocol)
        return connection

    async def client(self, **options: Any) -> H2Client:
        """A client connection."""
        reader, writer = await self.connect()
        return H2Client(reader, writer, **options)

    async def client_over_tls(self, context: Any) -> H2Client:
        reader, writer = await self.connect(ssl=context, server_hostname="localhost")
        return H2Client(reader, writer, scheme="https")
