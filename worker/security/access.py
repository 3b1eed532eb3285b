"""The access list: which client addresses a route serves.

Knows addresses and networks; what a refusal looks like is the `refuse` it is given.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

import radix

from worker.context import Context
from worker.message import Response
from worker.reasons import Block
from worker.settings import AccessSettings

Refuse = Callable[[Context, int, Block], Response]


class AccessGate:
    """Answers 403 to clients the access list denies.

    The most specific network that holds the address decides; of an equal allow and deny the deny;
    without any, `default_allow`. The verdict is remembered on the connection, so every request after the
    first costs one comparison. A connection that alternates between routes with different lists is
    looked up again at each change.
    """

    def __init__(self, settings: AccessSettings, refuse: Refuse) -> None:
        self._refuse = refuse
        self._default_allow = settings.default_allow
        self._denied = object()  # what `client.access` holds when this very gate denied the client
        self._networks = radix.Radix()
        for network in settings.allow:
            self._networks.add(str(network)).data["allow"] = True
        for network in settings.deny:  # after the allows: an equal one is overwritten
            self._networks.add(str(network)).data["allow"] = False

    def __call__(self, ctx: Context) -> Response | None:
        client = ctx.client
        verdict = client.access
        if verdict is self:
            return None
        if verdict is not self._denied:
            if self.is_allowed(client.address):
                client.access = self
                return None
            client.access = self._denied
        return self._refuse(ctx, 403, Block.ACCESS)

    def is_allowed(self, address: str) -> bool:
        """Whether the list lets this address in.

        An IPv4 client on an IPv6 socket (::ffff:192.0.2.1) is the IPv4 address it is; a zone (%eth0) is
        not looked at. Raises ValueError when `address` is none.
        """
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        node = self._networks.search_best(packed=parsed.packed)
        return self._default_allow if node is None else bool(node.data["allow"])
