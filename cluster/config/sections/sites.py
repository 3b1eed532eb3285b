"""Sites and their routes: host names, paths, and what holds for each."""

from typing import Annotated, Literal

from pydantic import Field

from cluster.config.sections.access import Access
from cluster.config.sections.cache import Cache, Purge
from cluster.config.sections.compression import Compression
from cluster.config.sections.leaks import Leaks
from cluster.config.sections.origins import Origin
from cluster.config.sections.rate_limits import RateLimit
from cluster.config.sections.rewriting import Headers, Hsts, Redirect, Rewrite
from cluster.config.sections.tls import ClientCertificates
from cluster.config.sections.waf import Waf
from cluster.config.values import (
    Flag,
    HostName,
    HostPattern,
    Many,
    OneOrMany,
    ProtocolName,
    Section,
    Token,
    UrlPath,
    Word,
)


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
    https_only: Flag | None = Field(
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

    prefix: UrlPath = Field(description="The beginning of the path.")
    name: Word | None = Field(
        default=None, description="Its name in the log and the metrics; site name and prefix when not given."
    )
    origin: Origin | None = Field(
        default=None, description="Where its content is; the site's origin when not given."
    )
    client_certificate: Literal["required", "optional"] | None = Field(
        default=None, description="Whether a client must show one; as its site says when not given."
    )


class Site(Rules):
    """Host names served alike."""

    name: Word | None = Field(
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
