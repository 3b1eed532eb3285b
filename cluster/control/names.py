"""Names of the servers that are checked, found as the workers find them.

Hands what `worker.origin.resolve` knows to aiohttp. Which addresses a name has, and for how long, is not
decided here.
"""

import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from worker.origin.resolve import Resolver


class Names(AbstractResolver):
    """By `servers`, as "address:port"; none: those that /etc/resolv.conf names."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.resolver = Resolver(servers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """As long as it takes: the check that waits has a time of its own. Raises OSError."""
        addresses = await self.resolver.resolve(host, float("inf"))
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        await self.resolver.close()


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
