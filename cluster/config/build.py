"""From a checked Config to the settings the supervisor and the workers are started with."""

import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import Any

from cluster.acme.challenges import KINDS
from cluster.acme.names import is_public
from cluster.certificates import covers, read_pair
from cluster.config.build_origins import NamedOrigins
from cluster.config.paths import absolute, default_state_dir
from cluster.config.sections.access import Access
from cluster.config.sections.acme import Acme, Binding
from cluster.config.sections.cache import Cache, Key
from cluster.config.sections.compression import Compression
from cluster.config.sections.leaks import Leaks
from cluster.config.sections.rate_limits import RateLimit
from cluster.config.sections.rewriting import (
    Headers,
    Hsts,
    Redirect,
    RequestChanges,
    ResponseChanges,
    Rewrite,
)
from cluster.config.sections.sites import Route, Rules, Site
from cluster.config.sections.tls import ClientCertificates, Tls
from cluster.config.sections.top import MAX_WORKERS, Config
from cluster.config.sections.waf import Waf
from cluster.errors import BootError
from cluster.settings import (
    AcmeSettings,
    AuthoritySettings,
    BindingSettings,
    CertificateSettings,
    ClusterSettings,
    TlsSettings,
)
from worker.reasons import Leak
from worker.settings import (
    AccessSettings,
    CacheSettings,
    ClientCertificateSettings,
    CompressionSettings,
    ExclusionSettings,
    GeoSettings,
    HeaderSettings,
    JudgeSettings,
    KeySettings,
    LeakSettings,
    Limits,
    LogSettings,
    RateLimitSettings,
    RedirectSettings,
    RewriteSettings,
    RouteSettings,
    SiteSettings,
    WafSettings,
    WorkerSettings,
)

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def cluster_settings(config: Config, base: Path, config_path: Path | None) -> ClusterSettings:
    """The settings of `config`; paths in it are relative to the directory `base`."""
    certificates = tuple(
        CertificateSettings(absolute(pair.certificate, base), absolute(pair.key, base))
        for pair in sorted(config.tls.certificates, key=lambda pair: not pair.default)
    )
    acme = None if config.acme is None else acme_settings(config.acme, config, certificates, base)
    worker = replace(worker_settings(config, base), acme=acme is not None)
    return ClusterSettings(
        worker=worker,
        workers=usable_cpus() if config.workers == "auto" else config.workers,
        cache_bytes=config.cache.memory,
        state_dir=absolute(config.state_dir, base) if config.state_dir else default_state_dir(),
        config_path=config_path,
        admin=config.admin,
        certificates=certificates,
        ticket_rotation_s=config.tickets.rotate,
        tls=tls_settings(config.tls),
        acme=acme,
        local_names=local_names(config),
        user=config.user,
        heartbeat_timeout_s=config.heartbeat_timeout,
        pin_cores=config.pin_cores,
        keep_cache=config.cache.keep,
        keep_cache_on_stop=config.cache.keep_on_stop,
    )


def tls_settings(tls: Tls) -> TlsSettings:
    return TlsSettings(
        profile=tls.profile,
        minimum_version=tls.minimum_version,
        refuse_unknown_name=tls.unknown_name == "refuse",
        refuse_no_name=tls.no_name == "refuse",
    )


def acme_settings(
    acme: Acme, config: Config, given: tuple[CertificateSettings, ...], base: Path
) -> AcmeSettings | None:
    """None when nothing listens on https, or no host is left that an authority could vouch for."""

    def authority(directory: str, ca_file: str | None, eab: Binding | None) -> AuthoritySettings:
        file = absolute(ca_file, base) if ca_file else None
        return AuthoritySettings(directory, file, binding_settings(eab, base) if eab else None)

    hosts = dict.fromkeys(host for site in config.sites for host in site.hosts if is_public(host))
    if not any(listener.scheme == "https" for listener in config.listen):
        return None
    covered = [name for pair in given for name in _names(pair)] if hosts else []
    names = tuple(host for host in hosts if not any(covers(name, host) for name in covered))
    if not names:
        return None
    usual = LETS_ENCRYPT_STAGING if acme.staging else LETS_ENCRYPT
    authorities = [authority(acme.directory or usual, acme.ca_file, acme.eab)]
    if acme.fallback is not None:
        authorities.append(authority(acme.fallback.directory, acme.fallback.ca_file, acme.fallback.eab))
    return AcmeSettings(tuple(authorities), names, acme.email, challenges(acme, config))


def binding_settings(eab: Binding, base: Path) -> BindingSettings:
    return BindingSettings(eab.kid, eab.key or "", absolute(eab.key_file, base) if eab.key_file else None)


def challenges(acme: Acme, config: Config) -> tuple[str, ...]:
    """How to prove a name, and how when that fails."""
    if acme.challenge != "auto":
        return (acme.challenge,)
    is_plain = any(listener.scheme == "http" for listener in config.listen)
    return KINDS if is_plain else KINDS[::-1]


def _names(pair: CertificateSettings) -> tuple[str, ...]:
    """What a given certificate is for; nothing when it cannot be read, which others tell of."""
    try:
        return read_pair(pair.certificate, pair.key).names
    except BootError:
        return ()


def usable_cpus() -> int:
    """CPUs this process may run on (taskset, cgroup cpusets), at most as many as there may be workers."""
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def local_names(config: Config) -> tuple[str, ...]:
    """Names a local certificate has to carry: this machine's, the sites' and the listeners'."""
    hosts = [host for site in config.sites for host in site.hosts if host != "*"]
    addresses = [one.host for one in config.listen if not ip_address(one.host).is_unspecified]
    return tuple(dict.fromkeys([*LOCAL_NAMES, *hosts, *addresses]))


def worker_settings(config: Config, base: Path) -> WorkerSettings:
    log, origins = config.log, NamedOrigins(config.origins, base)
    path = log.path if log.path in ("-", "") else str(absolute(log.path, base))
    limits = config.limits
    return WorkerSettings(
        listeners=tuple(config.listen),
        sites=tuple(
            site_settings(site, index, origins, config, base) for index, site in enumerate(config.sites)
        ),
        limits=Limits(
            request_line_bytes=limits.request_line,
            header_bytes=limits.header,
            header_count=limits.header_count,
            body_bytes=limits.body,
            header_timeout_s=limits.header_timeout,
            body_timeout_s=limits.body_timeout,
            idle_timeout_s=limits.idle_timeout,
            send_timeout_s=limits.send_timeout,
            requests_per_connection=limits.requests_per_connection,
            pipelined=limits.pipelined,
            connections=limits.connections,
            streams=limits.streams,
            resets=limits.resets,
            empty_frames=limits.empty_frames,
            body_rate=limits.body_rate,
            send_rate=limits.send_rate,
            connections_per_address=limits.connections_per_address,
            connection_rate=limits.connection_rate or 0.0,
            connection_burst=limits.connection_burst or ceil(limits.connection_rate or 0),
            requests_per_address=limits.requests_per_address,
        ),
        access=access_settings(config.access, base) if config.access else None,
        log=LogSettings(path, log.format),
        trusted_proxies=tuple(config.trusted_proxies),
        client_address=config.client_address,
        name=config.name,
        drain_timeout_s=config.drain_timeout,
        http2=config.http2.tls,
        http2_plain=config.http2.plain,
        http3=config.http3,
        resolvers=tuple(config.resolvers),
        geo=GeoSettings(
            country=str(absolute(config.geo.country, base)) if config.geo.country else "",
            asn=str(absolute(config.geo.asn, base)) if config.geo.asn else "",
        ),
    )


def site_settings(site: Site, index: int, origins: NamedOrigins, config: Config, base: Path) -> SiteSettings:
    """A site's routes, and one for "/" when the site's own origin takes what they leave."""
    hosts = () if "*" in site.hosts else tuple(in_host_field(host) for host in site.hosts)
    name = site_name(site, index)
    routes = list(site.routes)
    if site.origin is not None and all(route.prefix != "/" for route in routes):
        routes.append(Route(prefix="/"))
    purgers = tuple((site.purge or config.purge).allow)
    wanted = site.client_certificate
    authority = "" if wanted is None else str(absolute(wanted.ca_file, base))
    return SiteSettings(
        name,
        hosts,
        tuple(
            replace(
                route_settings(route, site, name, origins, base),
                purgers=purgers,
                waf=waf_settings((config.waf, site.waf, route.waf), base),
                client_certificate=client_certificate_settings(route, wanted, authority),
            )
            for route in routes
        ),
        authority,
    )


def client_certificate_settings(
    route: Route, wanted: ClientCertificates | None, authority: str
) -> ClientCertificateSettings | None:
    """What the route says, else its site. Each route asks: none is open for who was not asked."""
    if wanted is None:
        return None
    said = route.client_certificate
    return ClientCertificateSettings(authority, wanted.required if said is None else said == "required")


def site_name(site: Site, index: int) -> str:
    """What the site at that place among the sites is called."""
    if site.name is not None:
        return site.name
    if site.hosts and "*" not in site.hosts:
        return site.hosts[0]
    return "default" if index == 0 else f"site-{index}"


def route_name(route: Route, site_name: str) -> str:
    """What a route of that site is called."""
    return route.name or site_name + route.prefix


def in_host_field(host: str) -> bytes:
    """A host as a request names it: IPv6 addresses in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]".encode() if ":" in host else host.encode()


def route_settings(
    route: Route, site: Site, site_name: str, origins: NamedOrigins, base: Path
) -> RouteSettings:
    """What the route says, and for what it leaves out, what its site says."""
    name = route_name(route, site_name)
    origin, group_name = (route.origin, name) if route.origin is not None else (site.origin, site_name)
    assert origin is not None, "broken_rules() has refused this"

    def chosen(key: str) -> Rules:
        return route if getattr(route, key) is not None else site

    access, limits = chosen("access").access, chosen("rate_limits").rate_limits
    rewrite, headers = chosen("rewrite").rewrite, chosen("headers").headers or Headers()
    host, hsts = chosen("canonical_host").canonical_host, chosen("hsts").hsts
    upgrade = chosen("upgrade").upgrade
    settings = RouteSettings(
        name=name,
        prefix=route.prefix.encode(),
        origin=origins.settings(origin, group_name),
        cache=cache_settings(chosen("cache").cache or Cache()),
        compression=compression_settings(chosen("compression").compression or Compression()),
        access=access_settings(access, base) if access else None,
        rate_limits=tuple(rate_limit_settings(limit) for limit in limits or ()),
        rewrite=rewrite_settings(rewrite) if rewrite else None,
        redirects=tuple(redirect_settings(redirect) for redirect in chosen("redirects").redirects or ()),
        https_only=bool(chosen("https_only").https_only),
        https_if_trusted=chosen("https_only").https_only is None,
        canonical_host=in_host_field(host) if host else None,
        request_headers=header_settings(headers.request),
        response_headers=header_settings(headers.response),
        hsts=hsts_value(hsts) if hsts else None,
        methods=tuple(method.encode() for method in chosen("methods").methods or ()),
        leaks=leak_settings(chosen("leaks").leaks),
    )
    return (
        settings if upgrade is None else replace(settings, upgrade=tuple(name.encode() for name in upgrade))
    )


def cache_settings(cache: Cache) -> CacheSettings:
    return CacheSettings(
        enabled=cache.enabled,
        max_object_bytes=cache.max_object,
        lease_s=cache.lease,
        collapse=cache.collapse,
        ignore_client=cache.ignore_client,
        heuristic=cache.heuristic,
        by_status=by_status(cache.by_status),
        ttl_s=cache.ttl,
        max_ttl_s=cache.max_ttl,
        browser_ttl_s=cache.browser_ttl,
        stale_while_revalidate_s=cache.stale_while_revalidate,
        stale_if_error_s=cache.stale_if_error,
        drop_cookies=cache.drop_cookies,
        key=key_settings(cache.key),
        languages=tuple(cache.languages),
    )


def by_status(lifetimes: dict[str, int]) -> tuple[tuple[int, int, int], ...]:
    """(first status, last, seconds), single ones before classes so that they win."""
    return tuple(
        (*status_range(key), seconds)
        for key, seconds in sorted(lifetimes.items(), key=lambda item: "x" in item[0])
    )


def status_range(key: str) -> tuple[int, int]:
    """(first, last) of "404" or "4xx"."""
    return int(key.replace("x", "0")), int(key.replace("x", "9"))


def key_settings(key: Key) -> KeySettings:
    return KeySettings(
        query=key.query,
        sort_query=key.sort_query,
        drop=tuple(pattern.encode() for pattern in key.drop),
        keep=tuple(pattern.encode() for pattern in key.keep),
        headers=tuple(name.lower().encode() for name in key.headers),
        cookies=tuple(name.encode() for name in key.cookies),
        device=key.device,
        country=key.country,
    )


def compression_settings(compression: Compression) -> CompressionSettings:
    return CompressionSettings(tuple(compression.codings), compression.min_size, compression.quality)


def access_settings(access: Access, base: Path) -> AccessSettings:
    """The lists, and an explicit answer for everyone else: an allow list alone means nobody else."""
    default = access.default or ("deny" if access.allows and not access.denies else "allow")
    return AccessSettings(
        tuple(access.allow),
        tuple(access.deny),
        allow_files=tuple(str(absolute(path, base)) for path in access.allow_files),
        deny_files=tuple(str(absolute(path, base)) for path in access.deny_files),
        allow_asns=tuple(access.allow_asns),
        deny_asns=tuple(access.deny_asns),
        allow_countries=tuple(code.encode() for code in access.allow_countries),
        deny_countries=tuple(code.encode() for code in access.deny_countries),
        default_allow=default == "allow",
    )


def waf_settings(said: Sequence[Waf | None], base: Path) -> WafSettings | None:
    """The WAF as the file says at its top, for the site and for the route: each key by the last that has it,
    exclusions by all. None for off."""
    wafs = [waf for waf in said if waf is not None]

    def last(key: str, default: Any) -> Any:
        given = (value for waf in reversed(wafs) if (value := getattr(waf, key)) is not None)
        return next(given, default)

    usual, mode = WafSettings(), last("mode", "log")
    if mode == "off":
        return None
    excluded = (ExclusionSettings(one.rule, one.variable or "") for waf in wafs for one in waf.exclude)
    return WafSettings(
        judge=JudgeSettings(
            threshold=last("threshold", usual.judge.threshold),
            paranoia=last("paranoia", usual.judge.paranoia),
            rules=tuple(str(absolute(path, base)) for path in last("rules", ())),
            exclude=tuple(dict.fromkeys(excluded)),
        ),
        blocks=mode == "block",
        body_bytes=last("body_limit", usual.body_bytes),
        body_wait_s=last("body_wait", usual.body_wait_s),
        refuses_rest=last("over_limit", "pass") == "refuse",
    )


def leak_settings(leaks: Leaks | None) -> LeakSettings | None:
    if leaks is None or leaks.mode == "off":
        return None
    kinds = tuple(kind for kind in Leak if kind in leaks.kinds)
    return LeakSettings(leaks.mode, kinds, leaks.limit, leaks.hold, leaks.status)


def rate_limit_settings(limit: RateLimit) -> RateLimitSettings:
    most, window_s = limit.limit or (limit.most, 0)
    return RateLimitSettings(
        limit.name,
        rate=limit.rate or most / window_s,
        burst=most,
        action=limit.action,
        window_s=window_s,
        key=tuple(limit.key),
        methods=tuple(method.encode() for method in limit.methods),
        costs=tuple((method.encode(), cost) for method, cost in limit.cost.items()),
        statuses=tuple(status_range(status) for status in limit.statuses),
        longest_delay_s=limit.longest_delay,
    )


def rewrite_settings(rewrite: Rewrite) -> RewriteSettings:
    host = None if rewrite.host is None else in_host_field(rewrite.host).decode()
    return RewriteSettings(
        host,
        (rewrite.strip_prefix or "").encode(),
        tuple((path.pattern, path.to) for path in rewrite.path),
        (rewrite.add_prefix or "").encode(),
        rewrite.cookies,
    )


def redirect_settings(redirect: Redirect) -> RedirectSettings:
    return RedirectSettings(redirect.to, redirect.path, redirect.pattern, redirect.status)


def header_settings(changes: RequestChanges | ResponseChanges) -> HeaderSettings:
    return HeaderSettings(
        tuple((name.encode(), value.encode()) for name, value in changes.set.items()),
        tuple((name.encode(), value.encode()) for name, value in changes.add.items()),
        tuple(name.lower().encode() for name in changes.remove),
    )


def hsts_value(hsts: Hsts) -> bytes:
    """RFC 6797 6.1."""
    subdomains = "; includeSubDomains" if hsts.subdomains else ""
    return f"max-age={hsts.max_age}{subdomains}{'; preload' if hsts.preload else ''}".encode()
