"""What a worker is started with: plain frozen dataclasses, already checked by `cluster.config`.

Parses nothing, reads no file, knows no default that depends on the machine. Sizes are bytes,
durations seconds unless the name says otherwise.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from worker.reasons import Leak

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address every worker accepts on."""

    scheme: str  # "http" or "https"
    host: str  # numeric address
    port: int
    # Every connection begins with a PROXY protocol head, by a trusted proxy. No part of which address it is.
    proxy_protocol: bool = field(default=False, compare=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def may_have_http3(self) -> bool:
        """It is https, and no proxy must have spoken first: datagrams would come past that proxy."""
        return self.scheme == "https" and not self.proxy_protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on everything a client may send. Exceeding one is an answer (4xx) or a close, never memory."""

    request_line_bytes: int = 16 * 1024  # 414 above
    header_bytes: int = 64 * 1024  # 431 above
    header_count: int = 128  # 431 above
    body_bytes: int = 10 * 1024**3  # 413 above
    # First byte to end of the header section: 408. Of the first from the connection on; if none comes: close.
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0  # between two pieces of a request body: 408
    idle_timeout_s: float = 60.0  # between requests on a connection: close
    send_timeout_s: float = 60.0  # client takes no byte of the answer: close
    requests_per_connection: int = 100_000
    pipelined: int = 64  # requests read ahead on one connection before reading stops
    connections: int = 65_536  # per worker; above: the most expendable are closed for new ones
    streams: int = 100  # HTTP/2 requests at a time on one connection; above: refused, to be tried again
    resets: int = 200  # HTTP/2 streams reset per second and connection; above: GOAWAY
    empty_frames: int = 2000  # HTTP/2 frames with neither request nor data, as resets
    body_rate: int = 100  # bytes per second of a body that is waited for, least over body_timeout_s; 0: any
    send_rate: int = 100  # ... that a client takes of its answer, least over send_timeout_s; 0: any
    # Of one client address, of IPv6 its /64, in all workers together; not of trusted proxies.
    connections_per_address: int = 0  # open at once, 0: any number; above: closed unread
    connection_rate: float = 0.0  # new ones per second, 0: any number; above: closed unread
    connection_burst: int = 0  # ... that may come at once
    requests_per_address: int = 0  # under way at once, 0: any number; above: 429


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """One upstream server."""

    scheme: str
    host: str  # name or address
    port: int
    host_header: str | None = None  # None: pass on the client's Host
    server_name: str | None = None  # SNI; None: host
    verify: bool = True
    ca_file: str | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0  # between two pieces of the answer
    keepalive_s: float = 55.0
    keepalive_connections: int = 256  # idle ones kept per worker
    connections: int = 4096  # per worker
    header_bytes: int = 64 * 1024
    retries: int = 1
    client_certificate: str | None = None  # PEM file, with the key in `client_key` or in the same file
    client_key: str | None = None
    total_timeout_s: float = 0.0  # request begun to answer complete, 0: none
    queue: int = 1024  # requests that may wait for a connection when `connections` are in use
    queue_timeout_s: float = 5.0
    response_bytes: int = 0  # largest body of an answer, 0: any
    tunnel_idle_timeout_s: float = 3600.0  # no byte either way on an upgraded connection
    protocol: str = "http/1.1"  # or "h2", or "auto": h2 where TLS finds that the origin has it
    streams: int = 100  # requests at a time on one connection, of h2
    weight: int = 1  # share of the requests within its group
    backup: bool = False  # asked only when no other server of its group is available

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Active health checks: a request to each server, sent by the control process."""

    path: str = "/"
    host: str | None = None  # None: the server's host_header, or its name
    interval_s: float = 5.0
    timeout_s: float = 2.0
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)  # (first, last) that pass
    passes: int = 2  # in a row until an unhealthy server is healthy
    failures: int = 3  # in a row until a healthy one is not; the very first check decides alone


@dataclass(frozen=True, slots=True)
class EjectionSettings:
    """Passive health: a server that fails requests is left out for a while, longer each time."""

    failures: int = 5  # in a row, over all workers; 0: never ejected
    statuses: tuple[tuple[int, int], ...] = ((500, 500), (502, 504))  # answers that count as failures
    time_s: float = 10.0  # the first time, twice as long each time that follows, up to max_time_s
    max_time_s: float = 300.0
    max_share: float = 0.5  # of the group's servers ejected at once; one may, the last available one never


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Circuit breaker of a group: while it is open, requests fail at once and wait for no dead origin."""

    share: float = 0.0  # of requests failed within window_s that opens it, 0: no breaker
    window_s: int = 10
    requests: int = 20  # fewer than these in a window decide nothing
    open_s: float = 5.0  # then one request tries whether it may close


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a group asks another of its servers, or the same one again."""

    attempts: int = 1  # further ones per request
    statuses: tuple[tuple[int, int], ...] = ()  # answers tried again elsewhere, where that is safe
    budget: float = 0.2  # retries per request over the last ten seconds, all workers together
    least: int = 10  # retries in those ten seconds beside that share


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Origins that serve the same: any of them may answer."""

    name: str  # in log, metrics and `edgecluster status`
    servers: tuple[OriginSettings, ...]
    balance: str = "round-robin"  # or "least-connections", "two-choices", "hash"
    slow_start_s: float = 0.0  # a server that comes back gets its whole share only after this time
    probe: ProbeSettings | None = None
    ejection: EjectionSettings = EjectionSettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """`file:` origin: a directory on this machine."""

    path: str
    index: tuple[str, ...] = ("index.html",)


Origin = OriginSettings | GroupSettings | DirectorySettings


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What of a request, beside scheme, host and path, decides which stored response it may get.

    Patterns are names in which `*` stands for any bytes. With `keep` only those parameters count.
    """

    query: str = "all"  # or "none"
    sort_query: bool = False
    drop: tuple[bytes, ...] = ()  # patterns of query parameters that do not count
    keep: tuple[bytes, ...] = ()
    headers: tuple[bytes, ...] = ()  # names in lower case
    cookies: tuple[bytes, ...] = ()
    device: bool = False  # mobile, tablet or desktop
    country: bool = False  # of the client's address, by GeoSettings.country


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Caching of one route."""

    enabled: bool = True
    max_object_bytes: int = 64 * 1024**2
    lease_s: float = 30.0  # how long waiters trust the one who fetches
    collapse: bool = True
    ignore_client: bool = False  # request directives (RFC 9111 5.2.1) and Pragma are not heeded
    heuristic: float = 0.0  # lifetime as a share of the time since Last-Modified, where the origin names none
    by_status: tuple[tuple[int, int, int], ...] = ()  # (first status, last, seconds), where it names none
    ttl_s: int | None = None  # lifetime here of what may be stored, whatever the origin names
    max_ttl_s: int | None = None  # longest lifetime here
    browser_ttl_s: int | None = None  # lifetime that clients are told
    stale_while_revalidate_s: int = 0  # RFC 5861, where the origin names none
    stale_if_error_s: int = 0
    drop_cookies: bool = False  # Set-Cookie is taken out of what may be stored without it
    key: KeySettings = KeySettings()
    languages: tuple[str, ...] = ()  # served, by which Accept-Language is told apart; (): as sent


@dataclass(frozen=True, slots=True)
class CompressionSettings:
    """Compression of one route."""

    codings: tuple[str, ...] = ("zstd", "br", "gzip")  # in order of preference when q-values tie
    min_bytes: int = 512
    quality: int = 5


@dataclass(frozen=True, slots=True)
class LeakSettings:
    """What becomes of answers of the origin in which something is found that nobody should see."""

    mode: str  # "log", "mask" or "replace"
    kinds: tuple[Leak, ...] = tuple(Leak)
    limit_bytes: int = 1024 * 1024  # of a body that are looked at
    hold_bytes: int = 64 * 1024  # of a body that are looked at before any of it is sent, with "replace"
    status: int = 502  # of what takes the answer's place


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may ask. The most specific network decides, else the autonomous system, else the country, else
    `default_allow`; deny before allow."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    allow_files: tuple[str, ...] = ()  # of one network a line
    deny_files: tuple[str, ...] = ()
    allow_asns: tuple[int, ...] = ()  # by GeoSettings.asn
    deny_asns: tuple[int, ...] = ()
    allow_countries: tuple[bytes, ...] = ()  # by GeoSettings.country, b"DE"
    deny_countries: tuple[bytes, ...] = ()
    default_allow: bool = True


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """A token bucket, or a sliding window, for whatever `key` names; shared by all workers."""

    name: str
    rate: float  # tokens per second
    burst: int  # size of the bucket; or what a window grants
    action: str = "block"  # or "log", or "delay" (buckets only)
    window_s: int = 0  # length of the window; 0: a bucket
    key: tuple[str, ...] = ("address",)  # parts (worker.security.ratekey)
    methods: tuple[bytes, ...] = ()  # whose requests count; (): all
    costs: tuple[tuple[bytes, int], ...] = ()  # of a request, by method; 1 where none is named
    statuses: tuple[tuple[int, int], ...] = ()  # (first, last) of answers that count, in place of requests
    longest_delay_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ClientCertificateSettings:
    """Clients show a certificate during the TLS handshake."""

    authority: str  # file of the authorities that vouch for it, as its site's `client_authority`
    required: bool = True  # else who shows none is served as well


@dataclass(frozen=True, slots=True)
class ExclusionSettings:
    """What the WAF does not look at."""

    rule: str  # id of a rule, a range of ids (942100-942199), a tag, or the id of a detector
    variable: str = ""  # "ARGS:comment"; "": nowhere


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """By what the WAF judges requests. Routes with the same share what is compiled of it."""

    threshold: int = 5  # score from which on a request is refused
    paranoia: int = 1  # level of the Core Rule Set
    rules: tuple[str, ...] = ()  # files of SecLang, or folders of such; (): our own detectors alone
    exclude: tuple[ExclusionSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class WafSettings:
    """The WAF of one route."""

    judge: JudgeSettings = JudgeSettings()
    blocks: bool = False  # else it only logs what it would have refused
    body_bytes: int = 128 * 1024  # of a body that are inspected before any of it is forwarded; 0: none
    body_wait_s: float = 30.0  # for those bytes
    refuses_rest: bool = False  # bodies of which there is more, or that take longer


@dataclass(frozen=True, slots=True)
class RewriteSettings:
    """What a route asks its origin for, in place of what the client asked for."""

    host: str | None = None  # Host that the origin is told
    strip_prefix: bytes = b""  # taken from the beginning of the path
    paths: tuple[tuple[str, str], ...] = ()  # (pattern, replacement), then the first that matches is applied
    add_prefix: bytes = b""  # put before what is left
    cookies: bool = False  # Path and Domain of Set-Cookie are mapped back, too


@dataclass(frozen=True, slots=True)
class RedirectSettings:
    """One path, or many by `*` or a pattern, that have moved."""

    to: str  # a path or a URL, in which $1 to $9 stand for what the groups matched
    path: str | None = None  # with `*` for any characters
    pattern: str | None = None  # or as a pattern
    status: int | None = None  # None: 301 for GET and HEAD, 308 for others


@dataclass(frozen=True, slots=True)
class HeaderSettings:
    """Field lines that a route changes."""

    set: tuple[tuple[bytes, bytes], ...] = ()  # in place of all lines of the name
    add: tuple[tuple[bytes, bytes], ...] = ()  # beside them
    remove: tuple[bytes, ...] = ()  # names in lower case


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Requests of one site whose path begins with `prefix`; the longest prefix wins."""

    name: str
    prefix: bytes
    origin: Origin
    cache: CacheSettings = CacheSettings()
    compression: CompressionSettings = CompressionSettings()
    access: AccessSettings | None = None
    waf: WafSettings | None = None
    rate_limits: tuple[RateLimitSettings, ...] = ()
    purgers: tuple[Network, ...] = ()  # whose PURGE requests are carried out
    upgrade: tuple[bytes, ...] = (b"websocket",)  # protocols a connection may be switched to, in lower case
    rewrite: RewriteSettings | None = None
    redirects: tuple[RedirectSettings, ...] = ()
    https_only: bool = False  # http requests are redirected
    https_if_trusted: bool = True  # they are if their host is one of the worker's `trusted_hosts`
    canonical_host: bytes | None = None  # requests for another host name are redirected to this
    request_headers: HeaderSettings = HeaderSettings()
    response_headers: HeaderSettings = HeaderSettings()
    client_certificate: ClientCertificateSettings | None = None
    leaks: LeakSettings | None = None
    hsts: bytes | None = None  # value of Strict-Transport-Security on answers over https
    methods: tuple[bytes, ...] = ()  # that are answered, others with 405; (): all


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Host names served alike. `hosts` empty: any host."""

    name: str
    hosts: tuple[bytes, ...]
    routes: tuple[RouteSettings, ...]
    client_authority: str = ""  # file of the authorities whose certificates its clients are asked for


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The access log. `path` "-" is standard output, "" is none."""

    path: str = "-"
    format: str = "json"  # or "combined"


@dataclass(frozen=True, slots=True)
class GeoSettings:
    """Files in the MaxMind DB format that tell of addresses; "": none."""

    country: str = ""
    asn: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker needs to know."""

    listeners: tuple[ListenerSettings, ...]
    sites: tuple[SiteSettings, ...]
    limits: Limits = Limits()
    access: AccessSettings | None = None  # who may connect at all
    log: LogSettings = LogSettings()
    trusted_proxies: tuple[Network, ...] = ()
    client_address: str = "x-forwarded-for"  # the field in which they name it, or "forwarded"
    name: str = "edgecluster"  # how we call ourselves in Via, Cache-Status and CDN-Loop
    drain_timeout_s: float = 30.0
    http2: bool = True  # on https listeners, for clients that offer it
    http2_plain: bool = False  # on http listeners, for clients that begin with its preface
    http3: bool = True  # on https listeners, by UDP on the same port
    resolvers: tuple[str, ...] = ()  # address:port of DNS servers; (): those of /etc/resolv.conf
    geo: GeoSettings = GeoSettings()
    trusted_hosts: tuple[bytes, ...] = ()  # of the sites: those whose certificate clients trust
    acme: bool = False  # answer the challenges that the control process has put into the cache

    @property
    def servers(self) -> tuple[OriginSettings, ...]:
        """Every server that some route's requests may go to, each once."""
        found: dict[OriginSettings, None] = {}
        for origin in (route.origin for site in self.sites for route in site.routes):
            if isinstance(origin, OriginSettings):
                found[origin] = None
            elif isinstance(origin, GroupSettings):
                found.update(dict.fromkeys(origin.servers))
        return tuple(found)
