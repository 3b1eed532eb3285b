"""Active health checks: asks every server of every group that wants it, again and again, and notes what came.

Decides only whether one check passed. How many in a row matter, and what follows from that, is the shared
health's business; there the state also stays when this process dies.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from cluster.control import h2_probes
from cluster.control.names import Names
from worker.errors import EdgeError
from worker.origin.health import GroupHealth
from worker.origin.resolve import Resolver
from worker.origin.tls import client_context
from worker.reasons import Fault
from worker.settings import GroupSettings, OriginSettings, ProbeSettings

log = logging.getLogger("edgecluster.control")

JITTER: Final = 0.1  # of the interval, either way: checks that began together do not stay together
AGENT: Final = "edgecluster-probe"

# The first that an error is an instance of.
_FAULTS: Final[tuple[tuple[type[Exception], Fault], ...]] = (
    (aiohttp.ClientConnectorDNSError, Fault.DNS),
    (aiohttp.ClientConnectorCertificateError, Fault.TLS_CERTIFICATE),
    (aiohttp.ClientSSLError, Fault.TLS),
    (aiohttp.ClientConnectorError, Fault.CONNECT_REFUSED),
    (TimeoutError, Fault.RESPONSE_TIMEOUT),
    (aiohttp.ClientConnectionError, Fault.INCOMPLETE),
    (aiohttp.ClientPayloadError, Fault.INCOMPLETE),
    (aiohttp.ClientError, Fault.PROTOCOL),
    (ssl.SSLError, Fault.TLS),
    (OSError, Fault.UNAVAILABLE),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check."""

    passed: bool
    fault: Fault | None = None  # there was no answer
    status: int = 0
    detail: str = ""  # for the log

    @property
    def reason(self) -> str:
        """Why it did not pass."""
        return f"status {self.status}" if self.fault is None else f"{self.fault} ({self.detail})"


class Prober:
    """Checks the servers of those groups that have a `probe`, each in its own rhythm.

    `resolvers`: the DNS servers that know their names, as for the workers.
    """

    def __init__(
        self, groups: Iterable[tuple[GroupSettings, GroupHealth]], resolvers: Sequence[str] = ()
    ) -> None:
        self._groups = tuple(groups)
        self._resolvers = resolvers

    async def run(self) -> None:
        """Check until cancelled."""
        names = Names(self._resolvers)
        try:
            await self._run(names)
        finally:
            await names.close()

    async def _run(self, names: Names) -> None:
        resolver = names.resolver
        connector = aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False, resolver=names)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for settings, health in self._groups:
                if settings.probe is not None:
                    for number in range(len(settings.servers)):
                        tasks.create_task(_watch(session, resolver, settings, settings.probe, health, number))


async def _watch(
    session: aiohttp.ClientSession,
    resolver: Resolver,
    group: GroupSettings,
    probe: ProbeSettings,
    health: GroupHealth,
    number: int,
) -> None:
    """One server, for ever. Nothing that can happen in a check ends it."""
    server = group.servers[number]
    await asyncio.sleep(random.uniform(0, JITTER) * probe.interval_s)
    while True:
        began_s = time.monotonic()
        try:
            _note(health, group, number, await check(session, server, probe, resolver))
        except Exception:  # of ours: say so, and judge the server by the next check
            log.exception("the check of %s in group %r failed by itself", server.url, group.name)
        pause_s = probe.interval_s * random.uniform(1 - JITTER, 1 + JITTER)
        await asyncio.sleep(max(0.0, began_s + pause_s - time.monotonic()))


def _note(health: GroupHealth, group: GroupSettings, number: int, result: Result) -> None:
    now_ns = time.monotonic_ns()
    if not health.note_probe(number, result.passed, now_ns, fault=result.fault, status=result.status):
        return
    url = group.servers[number].url
    if result.passed:
        log.info("group %r: %s is healthy again: status %d", group.name, url, result.status)
    else:
        log.warning("group %r: %s is unhealthy: %s", group.name, url, result.reason)


async def check(
    session: aiohttp.ClientSession, server: OriginSettings, probe: ProbeSettings, resolver: Resolver
) -> Result:
    """Ask once, on a new connection. Only the head of the answer counts, except gRPC's health service's."""
    if server.protocol == "h2":
        return await _check_h2(server, probe, resolver)
    host = probe.host or server.host_header
    headers = {"User-Agent": AGENT, **({"Host": host} if host else {})}
    try:
        async with (
            asyncio.timeout(probe.timeout_s),
            session.get(
                URL(server.url + probe.path, encoded=True),
                headers=headers,
                ssl=client_context(server) or True,
                server_hostname=server.server_name if server.scheme == "https" else None,
                allow_redirects=False,
            ) as response,
        ):
            status = response.status
            return Result(_passes(status, probe), status=status)
    except TimeoutError:
        return Result(False, Fault.RESPONSE_TIMEOUT, detail=f"no answer within {probe.timeout_s:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Result(False, _fault_of(error), detail=str(error) or type(error).__name__)


async def _check_h2(server: OriginSettings, probe: ProbeSettings, resolver: Resolver) -> Result:
    host = probe.host or server.host_header or server.url.partition("://")[2]
    try:
        async with asyncio.timeout(probe.timeout_s):
            status, against = await h2_probes.ask(server, probe.path, host, AGENT, resolver)
    except TimeoutError:
        return Result(False, Fault.RESPONSE_TIMEOUT, detail=f"no answer within {probe.timeout_s:g} s")
    except EdgeError as error:
        return Result(False, error.fault, detail=error.detail)
    if against:
        return Result(False, Fault.UNAVAILABLE, detail=against)
    return Result(_passes(status, probe), status=status)


def _passes(status: int, probe: ProbeSettings) -> bool:
    return any(first <= status <= last for first, last in probe.statuses)


def _fault_of(error: Exception) -> Fault:
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), Fault.PROTOCOL)
