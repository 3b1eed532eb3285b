"""The gate of routes whose clients show a certificate: who may ask, over which connection.

A connection is asked for its certificate during the handshake, by the name it asks for then. What it asks for
later in Host is another matter: hence the first of the two questions.
"""

from collections.abc import Callable

from worker.context import Client, Context
from worker.errors import EdgeError
from worker.identity import FIELDS
from worker.message import Response
from worker.reasons import Block, Fault, Side
from worker.settings import ClientCertificateSettings

Refuse = Callable[[Context, int, Block], Response]


def may_carry(client: Client, authority: str) -> bool:
    """Whether requests for a site that wants certificates of `authority` may come by this connection."""
    return client.asked == authority


class ClientCertificateGate:
    """421 where the connection was not asked for such a certificate, 403 where it showed none and must.

    The client may try a 421 again over a connection of its own (RFC 9110 15.5.20). A certificate whose time
    is over since the handshake, or since that of the session that was resumed, is none.
    """

    def __init__(self, settings: ClientCertificateSettings, refuse: Refuse) -> None:
        self._authority = settings.authority
        self._required = settings.required
        self._refuse = refuse

    def __call__(self, ctx: Context) -> Response | None:
        client, fields = ctx.peer, ctx.request.fields
        fields.remove(*FIELDS)  # a response may vary by them: not by what the client claims
        if client.tls_version and not may_carry(client, self._authority):
            raise EdgeError(
                421, Side.CLIENT, Fault.MISDIRECTED, "the connection was not asked for a client certificate"
            )
        identity = client.identity if may_carry(client, self._authority) else None
        if identity is None or identity.until_s < ctx.now_s:
            return self._refuse(ctx, 403, Block.CLIENT_CERTIFICATE) if self._required else None
        ctx.identity = identity
        fields.append_lines(identity.lines)
        return None
