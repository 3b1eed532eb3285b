"""What a worker is started with: plain frozen dataclasses, already checked by `cluster.config`.

Parses nothing, reads no file, knows no default that depends on the machine. Sizes are bytes,
durations seconds unless the name says otherwise.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address every worker accepts on."""

    scheme: str  # "http" or "https"
    host: str  # numeric address
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on everything a client may send. Exceeding one is an answer (4xx) or a close, never memory."""

    request_line_bytes: int = 16 * 1024  # 414 above
    header_bytes: int = 64 * 1024  # 431 above
    header_count: int = 128  # 431 above
    body_bytes: int = 10 * 1024**3  # 413 above
    header_timeout_s: float = 10.0  # first byte to end of the header section: 408
    body_timeout_s: float = 30.0  # between two pieces of a request body: 408
    idle_timeout_s: float = 60.0  # between requests on a connection: close
    send_timeout_s: float = 60.0  # client takes no byte of the answer: close
    requests_per_connection: int = 100_000
    pipelined: int = 64  # requests read ahead on one connection before reading stops
    connections: int = 65_536  # per worker; above: refused, counted


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

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


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


@dataclass(frozen=True, slots=True)
class CompressionSettings:
    """Compression of one route."""

    codings: tuple[str, ...] = ("zstd", "br", "gzip")  # in order of preference when q-values tie
    min_bytes: int = 512
    quality: int = 5


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Address lists: the most specific network decides, deny before allow; none: `default_allow`."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    default_allow: bool = True


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """A token bucket per client address (/64 for IPv6), shared by all workers."""

    name: str
    rate: float  # tokens per second
    burst: int
    action: str = "block"  # or "log"


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Requests of one site whose path begins with `prefix`; the longest prefix wins."""

    name: str
    prefix: bytes
    origin: OriginSettings
    cache: CacheSettings = CacheSettings()
    compression: CompressionSettings = CompressionSettings()
    access: AccessSettings | None = None
    rate_limits: tuple[RateLimitSettings, ...] = ()
    purgers: tuple[Network, ...] = ()  # whose PURGE requests are carried out


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Host names served alike. `hosts` empty: any host."""

    name: str
    hosts: tuple[bytes, ...]
    routes: tuple[RouteSettings, ...]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The access log. `path` "-" is standard output, "" is none."""

    path: str = "-"
    format: str = "json"  # or "combined"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker needs to know."""

    listeners: tuple[ListenerSettings, ...]
    sites: tuple[SiteSettings, ...]
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    trusted_proxies: tuple[Network, ...] = ()
    name: str = "edgecluster"  # how we call ourselves in Via, Cache-Status and CDN-Loop
    drain_timeout_s: float = 30.0
