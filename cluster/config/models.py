"""The shape of the configuration file: every key, what it means, what it expects, its default.

One pydantic model per mapping, strict, no key beyond the declared ones. `Field(description=...)` is
what an editor shows. Defaults that the settings of the layers below know are taken from there, so that they
are written once.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from cluster.config.origins import Origin
from cluster.config.rewriting import Headers, Hsts, Redirect, Rewrite
from cluster.config.values import (
    Asn,
    Block,
    CacheSize,
    Count,
    CountOrZero,
    Country,
    DirectoryUrl,
    Duration,
    Expects,
    FilePath,
    Flag,
    HostName,
    HostPattern,
    KeyPart,
    LeakKind,
    Listener,
    Many,
    OneOrMany,
    PerWindow,
    ProtocolName,
    Rate,
    Resolver,
    Section,
    ServingListener,
    Size,
    SizeOrZero,
    Statuses,
    TlsVersion,
    Token,
    WafRule,
    WafVariable,
    WholeSeconds,
    WholeSecondsOrZero,
    Word,
)
from worker.settings import (
    CacheSettings,
    CompressionSettings,
    JudgeSettings,
    LeakSettings,
    Limits,
    ListenerSettings,
    LogSettings,
    WafSettings,
    WorkerSettings,
)

MAX_WORKERS = 30  # the segment has 64 places; a reload has two generations side by side


def _workers(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_WORKERS):
        return value
    raise ValueError("")


class Memory(Section):
    """The cache that all workers share."""

    memory: CacheSize = Field(
        default=256 * 1024**2,
        description="Size of the shared segment: responses, counters and leases together.",
    )
    keep: Flag = Field(
        default=True,
        description="Take over, at a start, what an edge that crashed had cached; false: start empty.",
    )
    keep_on_stop: Flag = Field(
        default=False, description="Leave the cache in /dev/shm at a stop, for the next start to take over."
    )


_SERVE_OR_REFUSE = Annotated[Literal["serve", "refuse"], Expects("serve or refuse")]


class Certificate(Section):
    """A certificate for the https listeners."""

    certificate: FilePath = Field(description="PEM file: the certificate, then its intermediates.")
    key: FilePath = Field(description="PEM file: the certificate's private key.")
    default: Flag = Field(
        default=False, description="For clients whose name no certificate is for; else the first is."
    )


class Tls(Section):
    """TLS of the https listeners. A certificate and its key, or a list of such, may be all there is."""

    certificates: Many[Certificate] = Field(
        default=[],
        description="One or several, also of one name with keys of different kinds; one from a local "
        "authority when not given.",
    )
    profile: Annotated[Literal["modern", "default", "old"], Expects("modern, default or old")] = Field(
        default="default",
        description="modern: TLS 1.3 only; default: 1.2 too; old: 1.2 also with ciphers of old clients.",
    )
    minimum_version: TlsVersion | None = Field(
        default=None, description="The least version of TLS; the profile's when not given."
    )
    unknown_name: _SERVE_OR_REFUSE = Field(
        default="serve",
        description="Clients that ask for a name no certificate is for: serve the default one, or refuse.",
    )
    no_name: _SERVE_OR_REFUSE = Field(
        default="serve", description="Clients that ask for no name: serve the default one, or refuse."
    )

    short_words: ClassVar = "a certificate with its key, a list of them"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"certificates": value} if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _take_pair(cls, value: object) -> object:
        """A certificate and its key may stand among our own keys."""
        if not isinstance(value, dict) or "certificates" in value:
            return value
        pair = {key: value[key] for key in ("certificate", "key") if key in value}
        rest = {key: value[key] for key in value if key not in pair}
        return rest | {"certificates": [pair]} if pair else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        full = handler(schema)
        properties = full["properties"]
        one, many = properties["certificates"]["anyOf"]
        pair = handler.resolve_ref_schema(one)["properties"]
        with_pair = {**properties, "certificate": pair["certificate"], "key": pair["key"]}
        return {"anyOf": [{**full, "properties": with_pair}, many]}


class Tickets(Section):
    """Session tickets, by which clients resume TLS sessions."""

    rotate: Duration = Field(
        default=3600.0,
        description="Age at which the key they are sealed with is replaced; the two before it still open.",
    )


class Binding(Section):
    """An account with the authority that was made elsewhere (external account binding)."""

    kid: Word = Field(description="What the authority calls it: the key identifier.")
    key: Word | None = Field(default=None, description="Its MAC key, base64url; better ${NAME} than in here.")
    key_file: FilePath | None = Field(
        default=None, description="File that has the MAC key, instead of `key`."
    )


class Authority(Section):
    """Another certification authority. A URL is short for `{directory: URL}`."""

    directory: DirectoryUrl = Field(description="URL of its ACME directory.")
    ca_file: FilePath | None = Field(default=None, description="PEM file trusted for its https.")
    eab: Binding | None = Field(default=None, description="An account with it that was made elsewhere.")

    short_hand: ClassVar = {"type": "string"}
    short_words: ClassVar = "a URL"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"directory": value} if isinstance(value, str) else value


class Acme(Section):
    """Certificates from a certification authority by ACME, for public host names that have none given."""

    agree: Flag = Field(description="That you agree to the authority's terms of service.")
    email: Word | None = Field(default=None, description="Where the authority may write to.")
    directory: DirectoryUrl | None = Field(
        default=None, description="URL of the authority's ACME directory; Let's Encrypt when not given."
    )
    ca_file: FilePath | None = Field(
        default=None, description="PEM file trusted for its https; the public authorities when not given."
    )
    eab: Binding | None = Field(
        default=None, description="An account with the authority that was made elsewhere, if it wants that."
    )
    staging: Flag = Field(
        default=False, description="Use Let's Encrypt's staging environment, to try it out."
    )
    challenge: Annotated[
        Literal["auto", "http-01", "tls-alpn-01"], Expects("auto, http-01 or tls-alpn-01")
    ] = Field(
        default="auto",
        description="How to prove that a name is ours; auto: http-01 if something listens on http://, else "
        "tls-alpn-01, and after a failure the other one.",
    )
    fallback: Authority | None = Field(
        default=None, description="The authority to ask when the first has failed several times."
    )


class Log(Section):
    """The access log."""

    path: Annotated[str, Expects('the path of a file, "-" for standard output, "" for none')] = Field(
        default=LogSettings().path, description='File to append to; "-" is standard output, "" is none.'
    )
    format: Annotated[Literal["json", "combined"], Expects("json or combined")] = Field(
        default="json", description="One JSON object per line, or the combined format of Apache and nginx."
    )


class GeoSection(Section):
    """Files in the MaxMind DB format (.mmdb) that tell of addresses."""

    country: Annotated[FilePath | None, Expects("the path of a .mmdb file")] = Field(
        default=None, description="File that tells the countries of addresses; read again when it changes."
    )
    asn: Annotated[FilePath | None, Expects("the path of a .mmdb file")] = Field(
        default=None,
        description="File that tells the autonomous systems of addresses; read again when it changes.",
    )


_limits = Limits()


_worker = WorkerSettings((), ())


class LimitsSection(Section):
    """Bounds on what one client may send or hold."""

    request_line: Size = Field(
        default=_limits.request_line_bytes, description="Longest request line; 414 above."
    )
    header: Size = Field(default=_limits.header_bytes, description="Largest header section; 431 above.")
    header_count: Count = Field(default=_limits.header_count, description="Most header fields; 431 above.")
    body: Size = Field(default=_limits.body_bytes, description="Largest request body; 413 above.")
    header_timeout: Duration = Field(
        default=_limits.header_timeout_s,
        description="First byte (of the first request: connection) to end of the header section; 408 after.",
    )
    body_timeout: Duration = Field(
        default=_limits.body_timeout_s, description="Between two pieces of a request body; 408 after."
    )
    idle_timeout: Duration = Field(
        default=_limits.idle_timeout_s, description="Between two requests of a connection; closed after."
    )
    send_timeout: Duration = Field(
        default=_limits.send_timeout_s,
        description="While a client takes no byte of its answer; closed after.",
    )
    requests_per_connection: Count = Field(
        default=_limits.requests_per_connection, description="Requests before a connection is closed."
    )
    pipelined: Count = Field(default=_limits.pipelined, description="Requests read ahead on one connection.")
    connections: Count = Field(
        default=_limits.connections,
        description="Open connections per worker; above, idle and slow ones are closed for new ones.",
    )
    streams: Count = Field(
        default=_limits.streams, description="HTTP/2 requests at a time on one connection."
    )
    resets: Count = Field(
        default=_limits.resets,
        description="HTTP/2 streams reset per second and connection; closed above.",
    )
    empty_frames: Count = Field(
        default=_limits.empty_frames,
        description="HTTP/2 frames with neither request nor data per second and connection; closed above.",
    )
    body_rate: SizeOrZero = Field(
        default=_limits.body_rate,
        description="Least bytes per second of a body, over any body_timeout; 408 below. 0: any.",
    )
    send_rate: SizeOrZero = Field(
        default=_limits.send_rate,
        description="Least bytes per second a client takes, over any send_timeout; closed below. 0: any.",
    )
    connections_per_address: CountOrZero = Field(
        default=0,
        description="Open connections of one address, of IPv6 a /64, in all workers; closed above. 0: any.",
    )
    connection_rate: Annotated[Rate | None, Expects("a rate such as 10/s or 600/m")] = Field(
        default=None, description="New connections of one address over time, such as 20/s; closed above."
    )
    connection_burst: Annotated[Count | None, Expects("a whole number of at least 1")] = Field(
        default=None, description="New ones that may come at once; one second's worth when not given."
    )
    requests_per_address: CountOrZero = Field(
        default=0, description="Requests of one address under way at once, in all workers; 429 above. 0: any."
    )


class Http2(Section):
    """HTTP/2 towards clients. `true` and `false` are short for `{tls: true}` and `{tls: false}`."""

    tls: Flag = Field(default=_worker.http2, description="On https listeners, to clients that offer it.")
    plain: Flag = Field(
        default=_worker.http2_plain,
        description="On http listeners, to clients that begin with it (prior knowledge).",
    )

    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"tls": value} if isinstance(value, bool) else value


_LANGUAGE = Annotated[
    str, Field(pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"), Expects("a language tag such as en or pt-BR")
]
_PATTERN = Annotated[str, Field(pattern=r"^[!-%'-:<>-~]+$"), Expects("a parameter's name such as utm_*")]
_FIELD_NAME = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), Expects("a field's name")]
_COOKIE_NAME = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), Expects("a cookie's name")]


class Key(Section):
    """What decides which stored response a request may get, beside scheme, host and path."""

    query: Annotated[Literal["all", "none"], Expects("all or none")] = Field(
        default="all", description="Whether the query counts; the origin gets it as it is either way."
    )
    sort_query: Flag = Field(default=False, description="Parameters count whatever their order.")
    drop: Many[_PATTERN] = Field(
        default=[], description="Query parameters that do not count; * stands for anything."
    )
    keep: Many[_PATTERN] = Field(
        default=[], description="The only query parameters that count, if the origin reads no others."
    )
    headers: Many[_FIELD_NAME] = Field(default=[], description="Request fields whose values count.")
    cookies: Many[_COOKIE_NAME] = Field(default=[], description="Cookies whose values count.")
    device: Flag = Field(default=False, description="Whether mobile, tablet and desktop are told apart.")
    country: Flag = Field(
        default=False, description="Whether the countries of the clients' addresses are told apart."
    )


_cache = CacheSettings()


class Cache(Section):
    """Caching of a route. `false` is short for `{enabled: false}`."""

    enabled: Flag = Field(default=_cache.enabled, description="Whether the cache is asked and filled.")
    max_object: Size = Field(
        default=_cache.max_object_bytes,
        description="Largest response that is stored, and never more than an eighth of the cache memory.",
    )
    lease: Duration = Field(
        default=_cache.lease_s,
        description="How long requests wait for the one that fetches, then elect another.",
    )
    collapse: Flag = Field(
        default=_cache.collapse, description="One fetch for many requests of one URL at once."
    )
    ignore_client: Flag = Field(
        default=_cache.ignore_client,
        description="Heed no Cache-Control or Pragma of requests: nobody can bypass the cache.",
    )
    heuristic: Annotated[float, Field(ge=0, le=1), Expects("a share from 0 to 1 such as 0.1")] = Field(
        default=_cache.heuristic,
        description="Lifetime where the origin names none, as a share of the time since Last-Modified; "
        "at most a week. 0: none.",
    )
    by_status: Annotated[
        dict[Statuses, WholeSecondsOrZero],
        Expects("a mapping of statuses to durations such as {404: 10s, 5xx: 1s}"),
    ] = Field(default={}, description="Lifetimes of answers for which the origin names none, by status.")
    ttl: Annotated[WholeSeconds | None, Expects("a duration of whole seconds such as 30s or 5m")] = Field(
        default=None, description="Lifetime here of what may be stored, whatever the origin names."
    )
    max_ttl: Annotated[WholeSeconds | None, Expects("a duration of whole seconds such as 1d")] = Field(
        default=None, description="Longest lifetime here."
    )
    browser_ttl: Annotated[
        WholeSecondsOrZero | None, Expects("a duration of whole seconds such as 30s, or 0")
    ] = Field(default=None, description="Lifetime that clients are told for what is stored here.")
    stale_while_revalidate: WholeSecondsOrZero = Field(
        default=_cache.stale_while_revalidate_s,
        description="How long a stale response is served while it is fetched anew, unless the origin says.",
    )
    stale_if_error: WholeSecondsOrZero = Field(
        default=_cache.stale_if_error_s,
        description="How long a stale response is served when the origin fails, unless the origin says.",
    )
    drop_cookies: Flag = Field(
        default=_cache.drop_cookies,
        description="Take Set-Cookie out of answers that may be stored without it; nobody gets the cookie.",
    )
    key: Key = Field(default=Key(), description="Which requests share a stored response.")
    languages: Many[_LANGUAGE] = Field(
        default=[],
        description="Languages the origin serves: Accept-Language counts, and is sent, as the best of these.",
    )

    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"enabled": value} if isinstance(value, bool) else value


_compression = CompressionSettings()
_CODINGS = Annotated[Literal["zstd", "br", "gzip"], Expects("zstd, br or gzip")]


class Compression(Section):
    """Compression of a route's answers. `false` is short for `{codings: []}`."""

    codings: list[_CODINGS] = Field(
        default=["zstd", "br", "gzip"],
        description="Codings to offer, the preferred one first; empty for none.",
    )
    min_size: SizeOrZero = Field(
        default=_compression.min_bytes, description="Smaller bodies are left as they are."
    )
    quality: Annotated[int, Field(ge=1, le=9), Expects("a whole number from 1 to 9")] = Field(
        default=_compression.quality, description="1 is fastest, 9 is smallest."
    )

    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"

    @classmethod
    def expand(cls, value: object) -> object:
        if isinstance(value, bool):
            return {} if value else {"codings": []}
        return value


class Access(Section):
    """Who may ask. The most specific network decides; of two equal ones, deny wins. Where no network does,
    the autonomous system decides, then the country."""

    allow: Many[Block] = Field(default=[], description="Networks that may.")
    deny: Many[Block] = Field(default=[], description="Networks that may not; they get 403.")
    allow_files: Many[FilePath] = Field(
        default=[],
        description="Files of networks that may, one a line; read again when they change.",
    )
    deny_files: Many[FilePath] = Field(default=[], description="Files of networks that may not.")
    allow_asns: Many[Asn] = Field(
        default=[], description="Autonomous systems that may (by the file 'geo.asn')."
    )
    deny_asns: Many[Asn] = Field(default=[], description="Autonomous systems that may not.")
    allow_countries: Many[Country] = Field(
        default=[], description="Countries that may (by the file 'geo.country')."
    )
    deny_countries: Many[Country] = Field(default=[], description="Countries that may not.")
    default: Annotated[Literal["allow", "deny"] | None, Expects("allow or deny")] = Field(
        default=None, description="Everyone else; when not given: deny beside an allow list, else allow."
    )

    @property
    def allows(self) -> bool:
        """Is there any list of who may?"""
        return bool(self.allow or self.allow_files or self.allow_asns or self.allow_countries)

    @property
    def denies(self) -> bool:
        """Is there any list of who may not?"""
        return bool(self.deny or self.deny_files or self.deny_asns or self.deny_countries)


_leaks = LeakSettings("log")


class Leaks(Section):
    """What becomes of answers of the origin that have what nobody should see. A mode alone is short for
    `{mode: ...}`."""

    mode: Annotated[Literal["off", "log", "mask", "replace"], Expects("off, log, mask or replace")] = Field(
        description="Leave answers as they are, log leaks, overwrite them too, or send an error instead.",
    )
    kinds: Many[LeakKind] = Field(
        default=list(_leaks.kinds), description="What is looked for; all of it when not given."
    )
    limit: Size = Field(default=_leaks.limit_bytes, description="How much of a body is looked at.")
    hold: Size = Field(
        default=_leaks.hold_bytes,
        description="With replace: how much of a body is looked at before its first byte is sent.",
    )
    status: Annotated[int, Field(ge=400, le=599), Expects("a status from 400 to 599")] = Field(
        default=_leaks.status, description="With replace: the status of the error."
    )

    short_hand: ClassVar = {"enum": ["off", "log", "mask", "replace", False]}
    short_words: ClassVar = "off, log, mask, replace"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"mode": "off" if value is False else value}


class RateLimit(Section):
    """A token bucket (`rate`) or a sliding window (`limit`), one for all workers."""

    name: Word = Field(description="Its name in the log and the metrics.")
    rate: Annotated[Rate | None, Expects("a rate such as 10/s or 600/m")] = Field(
        default=None, description="Requests that come back over time, for example 10/s or 600/m."
    )
    burst: Annotated[Count | None, Expects("a whole number of at least 1")] = Field(
        default=None, description="Requests that may come at once; one second's worth when not given."
    )
    limit: Annotated[PerWindow | None, Expects("a number per whole seconds such as 100/10m")] = Field(
        default=None, description="Or requests within any such time, for example 100/10m."
    )
    key: Many[KeyPart] = Field(
        default=["address"],
        description="What is counted together: address (/64 for IPv6), asn, country, host, path, method, "
        "header:NAME, cookie:NAME, query:NAME.",
    )
    methods: Many[Token] = Field(default=[], description="Methods whose requests count; all when not given.")
    cost: dict[Token, Count] = Field(
        default={}, description="What a request costs, by method; 1 where none is named."
    )
    statuses: Many[Statuses] = Field(
        default=[],
        description="Count only answers of these statuses, such as 401 or 4xx; too many, and it refuses.",
    )
    action: Annotated[Literal["block", "log", "delay"], Expects("block, log or delay")] = Field(
        default="block", description="Answer 429, or only log, or let requests wait for their turn."
    )
    longest_delay: Duration = Field(
        default=5.0, description="With delay: who would wait longer is answered 429."
    )

    @model_validator(mode="after")
    def _fits(self) -> "RateLimit":
        if (self.rate is None) == (self.limit is None):
            raise ValueError("needs a 'rate' or a 'limit', and not both")
        if self.limit is not None and self.burst is not None:
            raise ValueError("a 'limit' has no 'burst': all of it may come at once")
        if self.action == "delay" and (self.limit is not None or self.statuses):
            raise ValueError("only a 'rate' of requests can be kept by delay")
        most = self.most
        for method, cost in self.cost.items():
            if cost > most:
                raise ValueError(f"{method} costs {cost}, more than the {most} that there ever are")
        return self

    @property
    def most(self) -> int:
        """What is granted at once."""
        if self.limit is not None:
            return int(self.limit[0])
        return self.burst or max(1, math.ceil(self.rate or 0))


class Exclusion(Section):
    """What the WAF does not look at. The rule alone is short for `{rule: RULE}`."""

    rule: WafRule = Field(description="Id, range of ids or tag of rules, or the id of a detector.")
    variable: WafVariable | None = Field(
        default=None, description="Where it is not asked, such as ARGS:comment; nowhere when not given."
    )

    short_hand: ClassVar = {"type": ["string", "integer"]}
    short_words: ClassVar = "a rule"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"rule": value} if isinstance(value, str | int) else value


_waf, _judge = WafSettings(), JudgeSettings()
_MODES = ("off", "log", "block")


class Waf(Section):
    """The web application firewall. A mode alone is short for `{mode: MODE}`. What is left out, the site or
    the top of the file decides; `exclude` adds to theirs."""

    mode: Annotated[Literal["off", "log", "block"] | None, Expects("off, log or block")] = Field(
        default=None, description="Refuse attacks with 403, or only log them; log when not given anywhere."
    )
    threshold: Annotated[Count | None, Expects("a whole number of at least 1")] = Field(
        default=None, description=f"Score from which on it refuses; {_judge.threshold} when not given."
    )
    rules: Many[FilePath] | None = Field(
        default=None,
        description="Files or folders of rules in SecLang, such as /usr/share/modsecurity-crs; "
        "only the detectors of our own when not given.",
    )
    paranoia: Annotated[int | None, Field(ge=1, le=4), Expects("a whole number from 1 to 4")] = Field(
        default=None,
        description=f"How suspicious the Core Rule Set is, from 1 to 4; {_judge.paranoia} when not given.",
    )
    exclude: Many[Exclusion] = Field(default=[], description="What is not looked at.")
    body_limit: Annotated[SizeOrZero | None, Expects("a size such as 128KiB, or 0")] = Field(
        default=None,
        description="How much of a body is inspected before any of it is forwarded; 128KiB when not given, "
        "0 for none.",
    )
    body_wait: Annotated[Duration | None, Expects("a duration such as 30s")] = Field(
        default=None,
        description=f"How long it may take to come; {_waf.body_wait_s:g}s when not given.",
    )
    over_limit: Annotated[Literal["pass", "refuse"] | None, Expects("pass or refuse")] = Field(
        default=None,
        description="Of bodies that are longer or slower, pass the rest uninspected, or refuse them "
        "(in mode block); pass when not given.",
    )

    short_hand: ClassVar = {"enum": [*_MODES, False]}
    short_words: ClassVar = "off, log, block"

    @classmethod
    def expand(cls, value: object) -> object:
        if value is False:
            return {"mode": "off"}
        return {"mode": value} if isinstance(value, str) else value


class ClientCertificates(Section):
    """Certificates that clients show during the TLS handshake."""

    ca_file: FilePath = Field(description="PEM file of the authorities that vouch for them.")
    required: Flag = Field(
        default=True, description="Whether requests without one get 403, where a route says nothing else."
    )


class Purge(Section):
    """Who may purge by requests of the method PURGE."""

    allow: Many[Block] = Field(default=[], description="Networks that may; everyone else gets 403.")


class Rules(Section):
    """What a site sets for all of its routes, and a route for itself."""

    cache: Cache | None = Field(default=None, description="Caching; false for none.")
    compression: Compression | None = Field(default=None, description="Compression; false for none.")
    access: Access | None = Field(default=None, description="Who may ask; everyone when not given.")
    waf: Waf | None = Field(default=None, description="Refusing attacks: off, log or block.")
    rate_limits: list[RateLimit] | None = Field(
        default=None, description="Rate limits, each of which must grant."
    )
    leaks: Leaks | None = Field(default=None, description="What answers must not show; off when not given.")
    upgrade: Many[ProtocolName] | None = Field(
        default=None,
        description="Protocols that a client may switch its connection to; websocket when not given, "
        "[] for none.",
    )
    rewrite: Rewrite | None = Field(default=None, description="What the origin is asked for instead.")
    redirects: Many[Redirect] | None = Field(
        default=None, description="Paths that have moved; whole ones first, then the first that matches."
    )
    https_only: Annotated[bool | None, Expects("true or false")] = Field(
        default=None,
        description="Redirect http requests to https; when not given, for public host names that have a "
        "certificate which clients trust.",
    )
    canonical_host: HostName | None = Field(
        default=None, description="Redirect requests for any other host name to this one."
    )
    headers: Headers | None = Field(default=None, description="Fields to set, add or remove.")
    hsts: Hsts | None = Field(default=None, description="Strict-Transport-Security of answers over https.")
    methods: Annotated[list[Token], Field(min_length=1), OneOrMany()] | None = Field(
        default=None, description="Methods that are answered, others with 405; all when not given."
    )


class Route(Rules):
    """Requests whose path begins with `prefix`; the longest wins. What it leaves out, its site decides."""

    prefix: Annotated[str, Field(pattern=r"^/[!-~]*$"), Expects("a path such as /images/")] = Field(
        description="The beginning of the path."
    )
    name: Annotated[Word | None, Expects("a word")] = Field(
        default=None, description="Its name in the log and the metrics; site name and prefix when not given."
    )
    origin: Origin | None = Field(
        default=None, description="Where its content is; the site's origin when not given."
    )
    client_certificate: Annotated[Literal["required", "optional"] | None, Expects("required or optional")] = (
        Field(default=None, description="Whether a client must show one; as its site says when not given.")
    )


class Site(Rules):
    """Host names served alike."""

    name: Annotated[Word | None, Expects("a word")] = Field(
        default=None, description="Its name in the log and the metrics; its first host when not given."
    )
    hosts: Many[HostPattern] = Field(
        default=[],
        description="Host names without ports; *.example.org for one label, none or * for any host.",
    )
    origin: Origin | None = Field(default=None, description="Where every path goes that no route claims.")
    routes: list[Route] = Field(default=[], description="Paths that are treated in a way of their own.")
    client_certificate: ClientCertificates | None = Field(
        default=None, description="Certificates that clients of its hosts are asked for; none when not given."
    )
    purge: Purge | None = Field(
        default=None, description="Who may send PURGE requests; as at the top when not given."
    )


class Config(Section):
    """The configuration of one edgecluster."""

    listen: Annotated[list[ServingListener], Field(min_length=1), OneOrMany()] = Field(
        default_factory=lambda: [ListenerSettings("http", "127.0.0.1", 8080)],
        description="Addresses to accept on; http://127.0.0.1:8080 when not given.",
    )
    workers: Annotated[
        Any,
        BeforeValidator(_workers),
        Expects(f"auto or a whole number from 1 to {MAX_WORKERS}"),
        WithJsonSchema(
            {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}
        ),
    ] = Field(default="auto", description="Worker processes; auto is one for each usable CPU.")
    cache: Memory = Field(default=Memory(), description="The cache that all workers share.")
    tls: Tls = Field(default=Tls(), description="TLS of the https listeners, and their certificates.")
    tickets: Tickets = Field(default=Tickets(), description="Session tickets of the https listeners.")
    acme: Acme | None = Field(
        default=None, description="Certificates from an authority; from the local one when not given."
    )
    admin: Annotated[Listener | None, Expects("a loopback URL such as http://127.0.0.1:9180")] = Field(
        default=None, description="Loopback address for /metrics, /healthz and /readyz."
    )
    log: Log = Field(default=Log(), description="The access log.")
    trusted_proxies: Many[Block] = Field(
        default=[], description="Networks whose X-Forwarded-* and Forwarded fields are believed."
    )
    access: Access | None = Field(
        default=None, description="Who may connect at all; sites and routes have lists of their own."
    )
    client_address: Annotated[
        Literal["x-forwarded-for", "forwarded"], Expects("x-forwarded-for or forwarded")
    ] = Field(
        default="x-forwarded-for",
        description="The field in which trusted proxies name the client, for lists, limits and the log.",
    )
    purge: Purge = Field(default=Purge(), description="Who may send PURGE requests; nobody when not given.")
    waf: Waf = Field(default=Waf(), description="Refusing attacks: off, log or block; for every site.")
    geo: GeoSection = Field(default=GeoSection(), description="Where addresses are.")
    limits: LimitsSection = Field(
        default=LimitsSection(), description="Bounds on what one client may send or hold."
    )
    http2: Http2 = Field(default=Http2(), description="HTTP/2; on https listeners when not given.")
    http3: Flag = Field(
        default=_worker.http3, description="HTTP/3 on https listeners, by UDP on the same port."
    )
    origins: dict[Token, Origin] = Field(
        default={}, description="Origins by name, which any site or route may use."
    )
    sites: list[Site] = Field(default=[], description="What is served, by host name.")
    name: Token = Field(
        default=_worker.name, description="How the edge calls itself in Via, Cache-Status and CDN-Loop."
    )
    resolvers: Many[Resolver] = Field(
        default=[],
        description="DNS servers for the names of origins; those of /etc/resolv.conf when not given.",
    )
    drain_timeout: Duration = Field(
        default=_worker.drain_timeout_s, description="How long running requests may take when a worker stops."
    )
    heartbeat_timeout: Duration = Field(
        default=10.0, description="A worker that is silent for longer is replaced."
    )
    pin_cores: Flag = Field(default=True, description="Bind each worker to a core of its own.")
    user: Annotated[Word | None, Expects("the name of a user")] = Field(
        default=None, description="User the workers run as when started as root."
    )
    state_dir: Annotated[FilePath | None, Expects("the path of a directory")] = Field(
        default=None, description="Directory of certificates and the run socket."
    )
