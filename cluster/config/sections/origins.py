"""The shape of what is said of origins: one server, a group of servers, or the name of one under `origins`.

The same mapping serves for all three, so that options can be given to one server or to all of a group; which
keys go together is judged in `origin_rules`.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from cluster.config.values import (
    Count,
    CountOrZero,
    Duration,
    DurationOrZero,
    Expects,
    FileName,
    Flag,
    HostName,
    Many,
    OneOrMany,
    OriginAddress,
    PemFile,
    Section,
    ServerAddress,
    Share,
    ShareOrZero,
    Size,
    SizeOrZero,
    Statuses,
    Token,
    UrlPath,
    WholeSeconds,
)
from worker.settings import (
    BreakerSettings,
    DirectorySettings,
    EjectionSettings,
    GroupSettings,
    OriginSettings,
    ProbeSettings,
    RetrySettings,
)

_origin = OriginSettings("http", "-", 80)
_group = GroupSettings("-", ())
_probe = ProbeSettings()
_ejection = EjectionSettings()
_breaker = BreakerSettings()
_retry = RetrySettings()
_OF_GROUPS = frozenset(("probe", "eject", "breaker", "retry"))
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class ServerOptions(Section):
    """One server and how it is asked. What is said of a group is what its servers leave out."""

    url: OriginAddress | None = Field(
        default=None,
        description="Scheme, host and port of a server, or a directory as file:///var/www/site or ./public.",
    )
    host_header: HostName | None = Field(
        default=None, description="Host to send; the client's own when not given."
    )
    server_name: HostName | None = Field(
        default=None, description="Name for SNI and the certificate check; the URL's host when not given."
    )
    verify: Flag = Field(default=_origin.verify, description="Check the origin's certificate.")
    ca_file: PemFile | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's."
    )
    client_certificate: PemFile | None = Field(
        default=None, description="PEM file of the certificate to show to the origin (mutual TLS)."
    )
    client_key: PemFile | None = Field(
        default=None, description="PEM file of its private key; client_certificate itself when not given."
    )
    connect_timeout: Duration = Field(default=_origin.connect_timeout_s, description="To open a connection.")
    first_byte_timeout: Duration = Field(
        default=_origin.first_byte_timeout_s, description="From the request sent to the answer's first byte."
    )
    idle_timeout: Duration = Field(
        default=_origin.idle_timeout_s, description="Between two pieces of the answer."
    )
    total_timeout: DurationOrZero = Field(
        default=_origin.total_timeout_s, description="From the request to the end of its answer; 0 for none."
    )
    tunnel_idle_timeout: Duration = Field(
        default=_origin.tunnel_idle_timeout_s,
        description="While no byte comes from either side of an upgraded connection (WebSocket).",
    )
    keepalive: DurationOrZero = Field(
        default=_origin.keepalive_s, description="How long an idle connection is kept."
    )
    keepalive_connections: CountOrZero = Field(
        default=_origin.keepalive_connections, description="Idle connections kept per worker."
    )
    connections: Count = Field(default=_origin.connections, description="Connections at once per worker.")
    protocol: Literal["http/1.1", "h2", "auto"] = Field(
        default="http/1.1",
        description="Version of HTTP it is asked by: h2 over https by ALPN, over http by prior knowledge; "
        "auto lets the origin choose in the TLS handshake.",
    )
    streams: Count = Field(
        default=_origin.streams,
        description="Requests at once on one HTTP/2 connection; fewer where the origin says so.",
    )
    queue: CountOrZero = Field(
        default=_origin.queue, description="Requests per worker that may wait for one of them; 503 above."
    )
    queue_timeout: Duration = Field(
        default=_origin.queue_timeout_s, description="How long they wait; 503 after."
    )
    header: Size = Field(default=_origin.header_bytes, description="Largest header section of an answer.")
    max_response: SizeOrZero = Field(
        default=_origin.response_bytes, description="Largest body of an answer; 0 for any."
    )


class Server(ServerOptions):
    """One of the servers of a group. A URL alone is short for `{url: URL}`."""

    url: ServerAddress = Field(description="Scheme, host and port of the server.")
    weight: CountOrZero = Field(
        default=_origin.weight,
        description="Its share of the requests beside the others' weights; 0 for none.",
    )
    backup: Flag = Field(
        default=_origin.backup, description="Asked only when no server is available that is no backup."
    )

    short_key: ClassVar = "url"
    short_types: ClassVar = (str,)
    short_hand: ClassVar = {"type": "string", "examples": ["http://127.0.0.1:8000"]}
    short_words: ClassVar = "a URL such as http://127.0.0.1:8000"


class Probe(Section):
    """Active health checks: requests to each server. A path alone is short for `{path: PATH}`."""

    path: Annotated[UrlPath, Expects("a path such as /healthz")] = Field(
        default=_probe.path, description="What is asked for."
    )
    host: HostName | None = Field(
        default=_probe.host, description="Host to send; the server's host_header or name when not given."
    )
    interval: Duration = Field(default=_probe.interval_s, description="From one check to the next.")
    timeout: Duration = Field(default=_probe.timeout_s, description="A check that takes longer has failed.")
    status: Many[Statuses] = Field(default=["2xx", "3xx"], description="Statuses of answers that pass.")
    passes: Count = Field(
        default=_probe.passes, description="Checks passed in a row until an unhealthy server is healthy."
    )
    failures: Count = Field(
        default=_probe.failures, description="Checks failed in a row until a healthy server is unhealthy."
    )

    short_key: ClassVar = "path"
    short_types: ClassVar = (str,)
    short_hand: ClassVar = {"type": "string", "examples": ["/healthz"]}
    short_words: ClassVar = "a path such as /healthz"


class Ejection(Section):
    """A server that fails requests is left out for a while. `false` is short for `{failures: 0}`."""

    failures: CountOrZero = Field(
        default=_ejection.failures, description="Failed requests in a row, over all workers; 0 for never."
    )
    status: Many[Statuses] = Field(
        default=["500", "502", "503", "504"],
        description="Answers that count as failures, beside not answering.",
    )
    time: Duration = Field(
        default=_ejection.time_s, description="The first time; doubled with each ejection that follows."
    )
    max_time: Duration = Field(default=_ejection.max_time_s, description="Longest time.")
    max_share: Share = Field(
        default=_ejection.max_share,
        description="Most of the servers that may be left out at once; one always may.",
    )

    short_hand: ClassVar = {"const": False}
    short_words: ClassVar = "false"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"failures": 0} if value is False else value


class Breaker(Section):
    """When too many requests fail, the rest fail at once. A share alone is short for `{share: SHARE}`."""

    share: Share = Field(description="Share of failed requests within the window that opens it.")
    window: WholeSeconds = Field(default=_breaker.window_s, description="How far back requests count.")
    requests: Count = Field(
        default=_breaker.requests, description="Fewer requests than these in a window decide nothing."
    )
    open: Duration = Field(
        default=_breaker.open_s, description="How long it stays open before a request tries the servers."
    )

    short_key: ClassVar = "share"
    short_types: ClassVar = (int, float)
    short_hand: ClassVar = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    short_words: ClassVar = "a share such as 0.5"


class Retry(Section):
    """When another server is asked after one that failed."""

    attempts: CountOrZero = Field(
        default=_retry.attempts, description="Further attempts per request; 0 for none."
    )
    status: Many[Statuses] = Field(
        default=[], description="Answers in place of which another server is asked, where that is safe."
    )
    budget: ShareOrZero = Field(
        default=_retry.budget,
        description="Retries as a share of the requests of the last ten seconds, all workers together.",
    )
    least: CountOrZero = Field(
        default=_retry.least, description="Retries in those ten seconds that no share forbids."
    )


class Origin(ServerOptions):
    """Where the content is: URL for `{url: URL}`, list for `{servers: LIST}`, word for `{use: WORD}`."""

    servers: Annotated[list[Server], OneOrMany()] = Field(
        default=[], description="Servers that serve the same: a group."
    )
    use: Token | None = Field(default=None, description="The name of an origin under 'origins'.")
    balance: Literal["round-robin", "least-connections", "two-choices", "hash"] = Field(
        default="round-robin", description="Which server of a group gets a request."
    )
    slow_start: DurationOrZero = Field(
        default=_group.slow_start_s,
        description="A server that comes back gets its whole share only after this time.",
    )
    probe: Probe | None = Field(default=None, description="Active health checks; none when not given.")
    eject: Ejection = Field(default=Ejection(), description="Leaving out servers that fail requests.")
    breaker: Breaker | None = Field(default=None, description="Circuit breaker; none when not given.")
    retry: Retry = Field(default=Retry(), description="When another server is asked.")
    retries: CountOrZero = Field(
        default=_origin.retries, description="Further attempts, where another one is safe."
    )
    index: Annotated[Many[FileName] | None, Expects("the name of a file such as index.html")] = Field(
        default=None,
        description="Files that stand for a directory, the first there is; else index.html.",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Origin":
        is_directory = isinstance(self.url, DirectorySettings)
        if self.index is not None and not is_directory:
            raise ValueError("'index' is for a directory, and the URL is that of a server")
        others = sorted(self.model_fields_set - {"url", "index"})
        if is_directory and others:
            raise ValueError(f"'{others[0]}' is for a server, and the URL is that of a directory")
        return self

    short_words: ClassVar = "a URL such as http://127.0.0.1:8000, a list of URLs, a name under 'origins'"

    @classmethod
    def expand(cls, value: object) -> object:
        if isinstance(value, list):
            return {"servers": value}
        if isinstance(value, str):
            return {"use" if _NAME.fullmatch(value) else "url": value}
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        full = super().__get_pydantic_json_schema__(schema, handler)
        _, many = handler.resolve_ref_schema(full)["properties"]["servers"]["anyOf"]
        word = {"type": "string", "examples": ["http://127.0.0.1:8000", "file:///var/www/site", "backend"]}
        return {"anyOf": [word, many, full]}

    @property
    def is_group(self) -> bool:
        """Is more said of it than how to ask one server?"""
        return bool(self.servers) or not _OF_GROUPS.isdisjoint(self.model_fields_set)


def option(server: ServerOptions, group: ServerOptions, key: str) -> Any:
    """What holds for a server: its own word, else its group's."""
    return getattr(server if key in server.model_fields_set else group, key)
