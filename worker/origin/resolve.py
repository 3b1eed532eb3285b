"""Names of origins to addresses: asked for anew when their time is over, one query for all who wait.

Owns what was said about each name and how long that holds. /etc/hosts comes first, then DNS. Knows no
connection; which of several addresses is tried first is `dial`'s business.
"""

import asyncio
import logging
import socket
from asyncio import Task
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from time import monotonic_ns

import aiodns
from aiodns.error import ARES_EBADNAME, ARES_ENODATA, ARES_ENOTFOUND, ARES_ETIMEOUT, DNSError
from pycares import AresError

log = logging.getLogger("edgecluster.resolve")

MIN_TTL_S = 1.0
MAX_TTL_S = 300.0
HOSTS_TTL_S = 30.0  # how often /etc/hosts is looked at
NEGATIVE_TTL_S = 1.0
REFRESH_S = 5.0  # this long before its end an answer is asked for anew in the background; half of a short one

# RFC 8767: while no server answers, what was known last is used on.
STALE_S = 3600.0
STALE_WAIT_S = 1.8  # how long a request waits for a slow server before it goes with what was known
RETRY_S = 5.0

_SECOND_NS = 1_000_000_000

# The servers have answered: there is no such name, or it has no address. All else is a failure to answer.
_GONE = frozenset((ARES_ENOTFOUND, ARES_ENODATA, ARES_EBADNAME))


class ResolveError(OSError):
    """No addresses for a name. `is_final`: the servers say it has none; `timed_out`: they say nothing."""

    def __init__(self, why: str, *, is_final: bool = False, timed_out: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        self.timed_out = timed_out


class _Name:
    """What is known of one name. Times are monotonic ns."""

    __slots__ = (
        "addresses",
        "asked_ns",
        "error",
        "is_failing",
        "query",
        "refresh_ns",
        "until_ns",
        "usable_ns",
    )

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()  # of the last good answer
        self.error: ResolveError | None = None  # why there are none
        self.refresh_ns = 0  # from then on it is asked for in the background
        self.until_ns = 0  # from then on requests wait for that
        self.usable_ns = 0  # until then `addresses` are used on while no server answers
        self.is_failing = False  # no server answered the last time
        self.query: Task[None] | None = None  # under way
        self.asked_ns = 0

    def learn(self, addresses: tuple[str, ...], ttl_s: float, now_ns: int) -> None:
        ttl_s = min(max(ttl_s, MIN_TTL_S), MAX_TTL_S)
        self.addresses, self.error, self.is_failing = addresses, None, False
        self.until_ns = now_ns + int(ttl_s * _SECOND_NS)
        self.refresh_ns = self.until_ns - int(min(REFRESH_S, ttl_s / 2) * _SECOND_NS)
        self.usable_ns = self.until_ns + int(STALE_S * _SECOND_NS)

    def forget(self, error: ResolveError, now_ns: int) -> None:
        self.addresses, self.error, self.is_failing = (), error, False
        self.refresh_ns = self.until_ns = now_ns + int(NEGATIVE_TTL_S * _SECOND_NS)

    def fail(self, error: ResolveError, now_ns: int) -> None:
        """No server answered: go on with the last good answer, if there is one."""
        if not self.addresses or now_ns >= self.usable_ns:
            self.forget(error, now_ns)
        else:
            self.is_failing = True
            self.refresh_ns = self.until_ns = now_ns + int(RETRY_S * _SECOND_NS)


class Resolver:
    """The names of all origins of one worker.

    `servers` as "address:port"; none: those that /etc/resolv.conf names at the time.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        hosts: Path = Path("/etc/hosts"),
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._servers = servers
        self._hosts = hosts
        self._clock = clock
        self._names: dict[str, _Name] = {}  # names come from the configuration, so they are few

    def addresses(self, name: str, now_ns: int) -> tuple[str, ...]:
        """What is known without waiting, () if nothing; asks anew in the background when it is time."""
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = _Name()
        if now_ns >= known.refresh_ns and known.query is None:
            known.asked_ns = now_ns
            known.query = asyncio.get_running_loop().create_task(self._ask(name, known))
        return known.addresses if now_ns < known.usable_ns else ()

    async def resolve(self, name: str, timeout_s: float) -> tuple[str, ...]:
        """The addresses of a name, the preferred one first; never none. Raises ResolveError."""
        now_ns = self._clock()
        addresses = self.addresses(name, now_ns)
        known = self._names[name]
        query = known.query
        if query is not None and now_ns >= known.until_ns:
            if addresses:
                waited_s = (now_ns - known.asked_ns) / _SECOND_NS
                timeout_s = 0.0 if known.is_failing else min(timeout_s, STALE_WAIT_S - waited_s)
            if timeout_s > 0:
                await asyncio.wait((query,), timeout=timeout_s)
            if query.done():
                addresses = known.addresses
            elif not addresses:
                raise ResolveError(f"no answer within {timeout_s:g} s", timed_out=True)
        if not addresses:
            raise known.error or ResolveError("the query failed")
        return addresses

    async def close(self) -> None:
        """End the queries under way."""
        queries = [known.query for known in self._names.values() if known.query is not None]
        for query in queries:
            query.cancel()
        await asyncio.gather(*queries, return_exceptions=True)

    async def _ask(self, name: str, known: _Name) -> None:
        """Find out, and remember what came of it."""
        was_failing = known.is_failing
        try:
            addresses, ttl_s = await self._find(name)
        except ResolveError as error:
            if error.is_final:
                known.forget(error, self._clock())
            else:
                known.fail(error, self._clock())
        else:
            known.learn(addresses, ttl_s, self._clock())
        finally:
            known.query = None
        if known.is_failing and not was_failing:
            log.warning("cannot resolve %s: going on with %s", name, ", ".join(known.addresses))
        elif was_failing and not known.is_failing and known.addresses:
            log.warning("%s is resolved again: %s", name, ", ".join(known.addresses))

    async def _find(self, name: str) -> tuple[tuple[str, ...], float]:
        """The addresses of a name and for how many seconds they hold. Raises ResolveError."""
        addresses = from_hosts(self._hosts, name)
        if addresses:
            return addresses, HOSTS_TTL_S
        try:
            # One for each query: it has a cache of its own that cannot be turned off, and keeps "no address"
            # for an hour. Making it costs 0.4 ms of CPU, once per name and lifetime.
            async with aiodns.DNSResolver(self._servers or None) as dns:
                found = await dns.getaddrinfo(name, type=socket.SOCK_STREAM)
        except DNSError as error:
            code, words = error.args
            raise ResolveError(words, is_final=code in _GONE, timed_out=code == ARES_ETIMEOUT) from None
        except AresError as error:  # no descriptors or memory
            raise ResolveError(str(error)) from None
        ttl_s = min([node.ttl for node in found.nodes] + [alias.ttl for alias in found.cnames])
        return tuple(dict.fromkeys(node.addr[0].decode() for node in found.nodes)), ttl_s


def from_hosts(path: Path, name: str) -> tuple[str, ...]:
    """The addresses that a file like /etc/hosts (hosts(5)) gives a name; lines nobody can read count not."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        address, *names = line.partition("#")[0].lower().split() or ("",)
        if name in names and is_numeric(address):
            found.append(address)
    return tuple(dict.fromkeys(found))


def is_numeric(host: str) -> bool:
    """Is a host an address already?"""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
