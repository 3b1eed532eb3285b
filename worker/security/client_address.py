"""Who asks, when a proxy stands between: the address that trusted proxies vouch for.

Knows X-Forwarded-For and Forwarded; whom to trust is said in the settings.
"""

import re
from collections.abc import Sequence

from worker.addresses import Address, Networks, bucket_key, read_address
from worker.context import Client, Context
from worker.fields import FORWARDED
from worker.message import Response
from worker.settings import Network

KNOWN = 4096  # clients remembered, with what is known of them
HOPS = 32  # elements looked at: no chain of proxies is that long

# The node of a forwarded-element (RFC 7239 4): what `for=` names, in quotes or not, among other parameters.
_FOR = re.compile(rb'(?:^|;)[ \t]*for=(?:"([^"\\]*)"|([^;," \t]*))[ \t]*(?:;|$)', re.IGNORECASE)
# An address, with brackets where it is IPv6 and perhaps a port.
_NODE = re.compile(rb"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:]+(?:[0-9.]+)?)")


class ClientAddressGate:
    """Lets the stages behind it see the client a trusted proxy spoke for; answers nobody.

    The list is read from its end, which the proxy nearest to us wrote: the first address that is no trusted
    proxy's is the client's. What is no address ends the list, for nobody can tell who wrote what is before
    it. Without any, the client is the proxy itself.
    """

    def __init__(self, trusted: Sequence[Network], field: str) -> None:
        """`field`: "x-forwarded-for" or "forwarded". The other one is not believed: a proxy that writes one
        of them may pass on whatever its client has put into the other."""
        self._trusted = Networks(trusted)
        self._field = field.encode()
        self._known: dict[tuple[bytes, str, str, str], Client] = {}

    def __call__(self, ctx: Context) -> Response | None:
        peer = ctx.peer
        if peer.trusted and ctx.request.fields.mask & FORWARDED:
            said = ctx.request.fields.joined(self._field)
            if said:
                ctx.client = self._client(said, peer)
        return None

    def _client(self, said: bytes, peer: Client) -> Client:
        key = (said, peer.listener, peer.tls_version, peer.tls_cipher)
        client = self._known.get(key)
        if client is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            address = self._believed(said)
            client = peer if address is None else _behind(address, peer)
            if client is not peer:  # which belongs to one connection alone
                self._known[key] = client
        return client

    def _believed(self, said: bytes) -> Address | None:
        """The client's address; None if nobody vouches for one."""
        believed = None
        for element in said.split(b",")[: -HOPS - 1 : -1]:
            address = self._address(element.strip(b" \t"))
            if address is None:
                break
            believed = address
            if address not in self._trusted:
                break
        return believed

    def _address(self, element: bytes) -> Address | None:
        if self._field == b"forwarded":
            found = _FOR.search(element)
            if found is None:
                return None
            element = found[1] if found[1] is not None else found[2]
        node = _NODE.fullmatch(element)
        if node is None:
            return None
        try:
            return read_address((node[1] or node[2] or node[3]).decode())
        except ValueError:
            return None


def _behind(address: Address, peer: Client) -> Client:
    """A client at `address`, who reaches us by way of `peer`."""
    return Client(str(address), 0, bucket_key(address), peer.listener, peer.tls_version, peer.tls_cipher)
