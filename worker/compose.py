"""Settings -> the running stages of one worker. The only module that knows every stage.

The seven layers in order: TLS and parsing belong to a connection (`protocol`, wired in `run`); from here on a
request passes normalise and security (3), cache lookup (4), fill and origin (5), response processing (6)
and is sent by its exchange (7); observers look at the end.
"""

import hashlib
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from shmcache.core import Segment
from worker.cache.fill import Fill
from worker.cache.key import KeyMaker, cache_key, key_maker
from worker.cache.lookup import Lookup
from worker.cache.purge_gate import PurgeGate
from worker.cache.tags import drop_tags
from worker.context import Context
from worker.errors import EdgeError
from worker.geo import Geo
from worker.message import Request, Response
from worker.networks import NetworkMap, SharedNetworks
from worker.observe.access_log import AccessLog
from worker.observe.counters import LOG_LINES_LOST
from worker.observe.leaks import Leaks
from worker.observe.metrics import Metrics
from worker.observe.purges import Purges
from worker.origin.directory import DirectoryFetch
from worker.origin.fetch import OriginFetch, open_pool
from worker.origin.group import GroupFetch
from worker.origin.h2.pool import H2Pool
from worker.origin.health import GroupHealth
from worker.origin.loop import LoopGate
from worker.origin.pool import Pool
from worker.origin.request_rules import RuledFetch
from worker.origin.resolve import Resolver
from worker.origin.rewrite import Rewrite, RewritingFetch
from worker.pipeline import Edge, Fetch, Filter, Gate, Observer, Pipeline, Refresh, Spawn
from worker.reasons import Fault, Side
from worker.response.browser_ttl import BrowserTtl
from worker.response.compress import Compress
from worker.response.error_page import ErrorPage
from worker.response.fields import EdgeFields
from worker.response.header_rules import HeaderRules
from worker.response.hop_by_hop import drop_hop_by_hop
from worker.response.redirect import AutomaticHttps, CanonicalRedirect, Redirects
from worker.routing import Routes
from worker.security.access import AccessGate
from worker.security.bans import BanGate
from worker.security.challenge import PREFIX, ChallengeGate
from worker.security.challenge_certificate import find_certificate
from worker.security.client_address import ClientAddressGate
from worker.security.client_certificate import ClientCertificateGate
from worker.security.concurrency import ConcurrencyGate
from worker.security.door import Door, ProxiedAccessGate
from worker.security.leaks.fetch import LeakFetch
from worker.security.leaks.finder import finder
from worker.security.lists import read_networks
from worker.security.methods import MethodGate
from worker.security.normalize import Normalizer
from worker.security.ratekey import key_parts
from worker.security.ratelimit import RateLimitGate
from worker.security.waf.gate import WafGate
from worker.security.waf.inspection import Inspection, judge_in_thread
from worker.security.waf.judges import Judges
from worker.settings import (
    AccessSettings,
    DirectorySettings,
    GroupSettings,
    HeaderSettings,
    JudgeSettings,
    Origin,
    OriginSettings,
    RateLimitSettings,
    RouteSettings,
    WafSettings,
    WorkerSettings,
)

SWITCH_S = 0.001  # what the loop waits at most for a thread that computes
CRAWLED = 4096  # entries looked at per sweep: less than half a millisecond


class Composed:
    """The stages of one worker, and the few calls its loop makes on them.

    `spawn` starts a background task and keeps it alive. Raises OSError when the access log cannot be opened.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        segment: Segment,
        spawn: Spawn,
        *,
        geo: Geo | None = None,
        lists: Mapping[AccessSettings, NetworkMap] | None = None,
        bans: SharedNetworks | None = None,
        judges: Mapping[JudgeSettings, Judges] | None = None,
        count_rule: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._segment = segment
        self._spawn = spawn
        self._log = AccessLog(settings.log, lambda lines: segment.statistics.add(LOG_LINES_LOST, lines))
        self._observers: tuple[Observer, ...] = (Metrics(segment.statistics, count_rule), self._log)
        self._purges = Purges(segment.statistics)
        self._leaks = Leaks(segment.statistics)
        self._error_page = ErrorPage(settings.name)
        self._fields = EdgeFields(settings.name)
        self._resolver = Resolver(settings.resolvers)
        self._origins: dict[Origin, OriginFetch | GroupFetch | DirectoryFetch] = {}
        self._pools: dict[OriginSettings, Pool | H2Pool] = {}
        self._sources: list[Pool | H2Pool | DirectoryFetch] = []  # what has connections or threads
        self._fills: list[Fill] = []
        self._geo = geo
        self._country = None if geo is None else geo.country
        self._lists = lists or {}
        self._judges = judges or {}
        self._thread: ThreadPoolExecutor | None = None
        self._keys = Routes(settings.sites, self._key, cache_key)
        self._normalizer = Normalizer()
        self._first: list[Gate] = []  # of every request
        if settings.trusted_proxies:
            self._first.append(ClientAddressGate(settings.trusted_proxies, settings.client_address))
        if settings.acme:
            self._first.append(ChallengeGate(segment.cache))
        if bans is not None:
            self._first.append(BanGate(bans, self._error_page.refuse))
        access = None if settings.access is None else self._access(settings.access)
        if access is not None:
            self._first.append(ProxiedAccessGate(access, self._error_page.refuse))
        limits = settings.limits
        if limits.requests_per_address:
            self._first.append(self._concurrency(limits.requests_per_address))
        self.door = Door(limits, segment.presence, segment.buckets, bans=bans, access=access)
        unknown = self._pipeline(self._first, _no_such_site)
        self.edge = Edge(self._normalizer, Routes(settings.sites, self._route, unknown).find, unknown)

    # What the loop calls

    def sweep(self, now_ns: int) -> None:
        """A few times a second: enforce the origins' timeouts, look after waiters, clear what expired."""
        for source in self._sources:
            source.sweep(now_ns)
        for fill in self._fills:
            fill.sweep(now_ns)
        self._segment.cache.crawl(now_ns, CRAWLED)

    def on_doorbell(self) -> None:
        """Another process ended a lease that somebody here waits for."""
        for fill in self._fills:
            fill.on_doorbell()

    def challenge_certificate(self, name: str) -> tuple[bytes, bytes] | None:
        """What proves to an authority, during the TLS handshake, that `name` is ours."""
        return find_certificate(self._segment.cache, name)

    def flush(self) -> None:
        """Write the buffered log lines."""
        self._log.flush()

    def reopen_log(self) -> None:
        """After a log rotation."""
        self._log.reopen()

    async def close(self) -> None:
        """End the idle origin connections and the log. Called after the last request."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        for source in self._sources:
            source.close()
        for source in self._sources:
            await source.wait_closed()
        await self._resolver.close()
        self._log.close()

    # How a route is put together

    def _route(self, route: RouteSettings) -> Pipeline:
        refuse = self._error_page.refuse
        codings = route.compression.codings
        gates: list[Gate] = [*self._first]
        if route.methods:
            gates.append(MethodGate(route.methods, refuse))
        if route.access is not None:
            gates.append(self._access(route.access))
        limits = [self._rate_limit(limit) for limit in route.rate_limits]
        gates += limits
        waf = None if route.waf is None else self._waf(route.waf)
        if waf is not None:
            gates.append(waf)
        gates += self._canonical(route)
        if route.client_certificate is not None:
            gates.append(ClientCertificateGate(route.client_certificate, refuse))
        if route.redirects:
            gates.append(Redirects(route.redirects))
        cache, key = self._segment.cache, self._key(route)
        gates.append(Lookup(cache, route.cache, codings, key))
        gates.append(PurgeGate(route.purgers, cache, key, refuse, self._purges))
        gates.append(LoopGate(_own_id(self._settings)))
        fill = Fill(
            self._fetch(route),
            cache,
            self._segment.leases,
            route.cache,
            codings,
            self._spawn,
            store_filters=(drop_hop_by_hop, drop_tags, Compress(route.compression, storing=True)),
            key_of=self._key_of,
        )
        self._fills.append(fill)
        counting = tuple(gate.count for gate in limits if gate.counts_answers)
        fetch: Fetch = fill
        if waf is not None and route.waf is not None:
            fetch = self._inspection(fill, waf, route.waf)
        return self._pipeline(gates, fetch, fill.refresh, _send_filters(route), counting)

    def _access(self, settings: AccessSettings) -> AccessGate:
        networks = self._lists.get(settings)
        return AccessGate(
            settings,
            read_networks(settings) if networks is None else networks,
            self._error_page.refuse,
            asn_of=None if self._geo is None else self._geo.asn,
            country_of=self._country,
        )

    def _concurrency(self, most: int) -> ConcurrencyGate:
        gate = ConcurrencyGate(self._segment.presence, most, self._error_page.refuse)
        self._observers += (gate.finish,)
        return gate

    def _rate_limit(self, limit: RateLimitSettings) -> RateLimitGate:
        asn_of = None if self._geo is None else self._geo.asn
        key_of = key_parts(limit.key, asn_of=asn_of, country_of=self._country)
        segment = self._segment
        return RateLimitGate(limit, segment.buckets, segment.windows, self._error_page.refuse, key_of)

    def _waf(self, settings: WafSettings) -> WafGate:
        judges = self._judges[settings.judge]
        in_thread = partial(judge_in_thread, judges.thread, self._waf_thread)
        return WafGate(judges.loop, settings, self._error_page.refuse, in_thread)

    def _inspection(self, fetch: Fetch, gate: WafGate, settings: WafSettings) -> Inspection:
        judges = self._judges[settings.judge]
        return Inspection(fetch, gate, judges.loop, judges.thread, settings, self._waf_thread)

    def _waf_thread(self) -> Executor:
        """The one thread that judges long bodies, from the first of them on."""
        if self._thread is None:
            sys.setswitchinterval(SWITCH_S)
            self._thread = ThreadPoolExecutor(1, "waf")
        return self._thread

    def _canonical(self, route: RouteSettings) -> list[Gate]:
        """Who came by the wrong scheme or name is led away before a certificate is asked for."""
        gates: list[Gate] = []
        if route.https_if_trusted and self._settings.trusted_hosts:
            gates.append(self._automatic_https())
        if route.https_only or route.canonical_host is not None:
            https_port = self._https_port() if route.https_only else None
            gates.append(CanonicalRedirect(https_port, route.canonical_host))
        return gates

    def _automatic_https(self) -> AutomaticHttps:
        plain = [listener.port for listener in self._settings.listeners if listener.scheme == "http"]
        return AutomaticHttps(self._settings.trusted_hosts, plain, self._https_port(), PREFIX)

    def _https_port(self) -> int:
        """Where https is spoken: by us, else by a proxy in front of us, which has the usual port."""
        ports = (listener.port for listener in self._settings.listeners if listener.scheme == "https")
        return next(ports, 443)

    def _fetch(self, route: RouteSettings) -> Callable[..., Awaitable[Response]]:
        """The route's origin, and around it what the route changes about requests and answers."""
        fetch: Callable[..., Awaitable[Response]] = self._origin(route.origin)
        if route.rewrite is not None:
            rewrite = Rewrite(route.rewrite, _addresses(route.origin), self._normalizer.normal_path)
            fetch = RewritingFetch(fetch, rewrite)
        if route.request_headers != HeaderSettings():
            fetch = RuledFetch(fetch, route.request_headers)
        if route.leaks is not None:
            found = finder(frozenset(route.leaks.kinds))
            fetch = LeakFetch(fetch, route.leaks, found, self._leaks, self._leaks.missed)
        return fetch

    def _key_of(self, request: Request) -> bytes:
        """The primary key that the request's own route gives it."""
        key: KeyMaker
        _, key = self._keys.find(request)
        return key(request)

    def _key(self, route: RouteSettings) -> KeyMaker:
        return key_maker(route.cache.key, self._country)

    def _origin(self, origin: Origin) -> OriginFetch | GroupFetch | DirectoryFetch:
        """Routes with the same origin share it."""
        fetch = self._origins.get(origin)
        if fetch is None:
            fetch = self._origins[origin] = self._new_origin(origin)
        return fetch

    def _new_origin(self, origin: Origin) -> OriginFetch | GroupFetch | DirectoryFetch:
        if isinstance(origin, DirectorySettings):
            directory = DirectoryFetch(origin)
            self._sources.append(directory)
            return directory
        if isinstance(origin, OriginSettings):
            return self._server(origin)
        # What is tried again is the group's decision.
        servers = [self._server(replace(server, retries=0)) for server in origin.servers]
        return GroupFetch(origin, servers, GroupHealth(self._segment.scoreboard, origin), self._key_of)

    def _server(self, server: OriginSettings) -> OriginFetch:
        """Everyone who asks the same server shares its connections, whatever it is to each of them."""
        same = replace(server, weight=1, backup=False, retries=0)
        pool = self._pools.get(same)
        if pool is None:
            pool = self._pools[same] = open_pool(same, self._resolver)
            self._sources.append(pool)
        return OriginFetch(server, self._settings.name, _own_id(self._settings), pool)

    def _pipeline(
        self,
        gates: Sequence[Gate],
        fetch: Fetch,
        refresh: Refresh | None = None,
        send_filters: tuple[Filter, ...] = (),
        observers: tuple[Observer, ...] = (),
    ) -> Pipeline:
        return Pipeline(
            gates=gates,
            fetch=fetch,
            send_filters=(*send_filters, self._fields),
            observers=self._observers + observers,
            error_page=self._error_page,
            spawn=self._spawn,
            refresh=refresh,
        )


def _send_filters(route: RouteSettings) -> tuple[Filter, ...]:
    """What the route's rules change about every answer."""
    filters: list[Filter] = []
    if route.cache.browser_ttl_s is not None:
        filters.append(BrowserTtl(route.cache.browser_ttl_s))
    if route.response_headers != HeaderSettings() or route.hsts is not None:
        filters.append(HeaderRules(route.response_headers, route.hsts))
    return tuple(filters)


def _addresses(origin: Origin) -> set[str]:
    """What an origin may call itself: its URL, and the Host it is told."""
    if isinstance(origin, DirectorySettings):
        return set()
    if isinstance(origin, GroupSettings):
        return set().union(*(_addresses(server) for server in origin.servers))
    named = {origin.url}
    if origin.host_header is not None:
        named.add(f"{origin.scheme}://{origin.host_header}")
    return named


async def _no_such_site(ctx: Context) -> Response:
    """The fetch stage of requests no site wants (RFC 9110 15.5.20)."""
    raise EdgeError(421, Side.CLIENT, Fault.UNKNOWN_HOST, f"no site serves {ctx.request.host!r}")


def _own_id(settings: WorkerSettings) -> str:
    """What CDN-Loop calls us: the same for all workers and generations of this edge, and nobody else's."""
    addresses = " ".join(sorted(listener.url for listener in settings.listeners))
    digest = hashlib.blake2b(f"{socket.gethostname()} {addresses}".encode(), digest_size=6)
    return f"{settings.name}-{digest.hexdigest()}"
