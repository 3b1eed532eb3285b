"""The top of the configuration file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cluster.config.sections.access import Access, GeoSection
from cluster.config.sections.acme import Acme
from cluster.config.sections.cache import Memory, Purge
from cluster.config.sections.http2 import Http2
from cluster.config.sections.limits import LimitsSection
from cluster.config.sections.log import Log
from cluster.config.sections.origins import Origin
from cluster.config.sections.sites import Site
from cluster.config.sections.tls import Tickets, Tls
from cluster.config.sections.waf import Waf
from cluster.config.values import (
    Block,
    Duration,
    Expects,
    FilePath,
    Flag,
    Listener,
    Many,
    OneOrMany,
    Resolver,
    Section,
    ServingListener,
    Token,
    Word,
)
from worker.settings import ListenerSettings, WorkerSettings

MAX_WORKERS = 30  # the segment has 64 places; a reload has two generations side by side
_worker = WorkerSettings((), ())


def _workers(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_WORKERS):
        return value
    raise ValueError("")


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
    client_address: Literal["x-forwarded-for", "forwarded"] = Field(
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
