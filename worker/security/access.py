"""The access list: which client addresses a route serves.

Knows addresses, networks, countries and autonomous systems; what a refusal looks like is the `refuse` it is
given.
"""

from collections.abc import Callable

from worker.context import Client, Context
from worker.message import Response
from worker.networks import NetworkMap
from worker.reasons import Block
from worker.security.address import packed_address
from worker.security.lists import ALLOW, DENY
from worker.settings import AccessSettings

Refuse = Callable[[Context, int, Block], Response]
AsnOf = Callable[[Client], int]
CountryOf = Callable[[Client], bytes]


class AccessGate:
    """Answers 403 to clients the access list denies.

    The most specific network that holds the address decides; of an equal allow and deny the deny. Without
    any, its autonomous system decides if that is listed, then its country, then `default_allow`; deny before
    allow. The verdict is remembered on the client, so every request after the first costs one comparison. A
    connection that alternates between routes with different lists is looked up again at each change.
    """

    def __init__(
        self,
        settings: AccessSettings,
        networks: NetworkMap,
        refuse: Refuse,
        *,
        asn_of: AsnOf | None = None,
        country_of: CountryOf | None = None,
    ) -> None:
        """`networks`: what `lists.read_networks` has read of the settings. Without `asn_of` and `country_of`
        nobody knows of what they tell."""
        self._refuse = refuse
        self._networks = networks
        self._default_allow = settings.default_allow
        self._denied = object()  # what `client.access` holds when this very gate denied the client
        self._asns = dict.fromkeys(settings.allow_asns, True) | dict.fromkeys(settings.deny_asns, False)
        self._countries = dict.fromkeys(settings.allow_countries, True) | dict.fromkeys(
            settings.deny_countries, False
        )
        self._asn_of = asn_of if self._asns else None
        self._country_of = country_of if self._countries else None

    def __call__(self, ctx: Context) -> Response | None:
        client = ctx.client
        verdict = client.access
        if verdict is self:
            return None
        if verdict is not self._denied:
            if self.is_allowed(client):
                client.access = self
                return None
            client.access = self._denied
        return self._refuse(ctx, 403, Block.ACCESS)

    def is_allowed(self, client: Client) -> bool:
        """Whether the list lets this client in.

        An IPv4 client on an IPv6 socket (::ffff:192.0.2.1) is the IPv4 address it is; a zone (%eth0) is
        not looked at. Raises ValueError when its address is none.
        """
        found = self._networks.find(packed_address(client.address))
        if found:
            return found == ALLOW
        allowed = None
        if self._asn_of is not None:
            allowed = self._asns.get(self._asn_of(client))
        if allowed is None and self._country_of is not None:
            allowed = self._countries.get(self._country_of(client))
        return self._default_allow if allowed is None else allowed


assert DENY > ALLOW, "the larger value of two equal networks holds"
