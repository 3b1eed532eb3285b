"""The words edgecluster uses for outcomes and reasons.

One enum per question, each member documented. The words are an API: Cache-Status details,
the access log, metric labels, the dashboard and `explain` all print these values.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What the cache did for a request; the access log's `cache` field and the X-Cache value."""

    HIT = "hit"  # answered from a fresh stored response
    MISS = "miss"  # nothing stored: fetched
    STALE = "stale"  # answered from a stale stored response (stale-while-revalidate, stale-if-error)
    EXPIRED = "expired"  # stored but stale: fetched anew, the stored response was replaced
    REVALIDATED = "revalidated"  # stored but stale: the origin answered 304, served from the cache
    UPDATING = "updating"  # waited for another request's fetch and got its response
    BYPASS = "bypass"  # the cache was not asked (method, rule, request directive)
    NONE = "none"  # answered before the cache was reached (block, limit, redirect, error page)


class Forward(StrEnum):
    """Why a request went to the origin: the `fwd` parameter of Cache-Status (RFC 9211 2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


class NotStorable(StrEnum):
    """Why a response was not stored: the `detail` parameter of Cache-Status (RFC 9211 2.8)."""

    METHOD = "method"  # only GET is stored (RFC 9111 3)
    STATUS = "status"  # the status code is not final or not understood
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"  # RFC 9111 3.5
    SET_COOKIE = "set-cookie"
    VARY_STAR = "vary-star"
    NO_LIFETIME = "no-lifetime"  # the origin named no lifetime and no validator, and the edge invents none
    PARTIAL_CONTENT = "partial-content"
    INCOMPLETE = "incomplete"  # the body ended before its announced length
    TOO_LARGE = "too-large"
    NO_ROOM = "no-room"  # the segment could not make room in time
    ROUTE = "route"  # the route's settings say so
    TOO_MANY_TAGS = "too-many-tags"  # more than 1024, or 16 KiB: a purge by one left out would miss it
    PURGED = "purged"  # while it was fetched


class PurgeKind(StrEnum):
    """What a purge names."""

    URL = "url"
    PREFIX = "prefix"
    HOST = "host"
    TAG = "tag"
    ALL = "all"


class Block(StrEnum):
    """Which security stage refused a request, and why."""

    ACCESS = "access-list"
    BAN = "ban"
    RATE = "rate-limit"
    WAF = "waf"
    CLIENT_CERTIFICATE = "client-certificate"  # the route wants one, and the client showed none
    METHOD = "method"  # not one of those the route takes
    CONCURRENCY = "concurrency"  # the client has as many requests under way as it may


class TurnedAway(StrEnum):
    """Why a connection was closed before any request of it was read."""

    BAN = "ban"
    ACCESS = "access-list"  # the one of the whole edge
    RATE = "rate"  # its address opens connections faster than it may
    CONNECTIONS = "connections"  # its address has as many open as it may
    PROXY = "proxy-protocol"  # no trusted proxy, or no right head
    CROWDED = "crowded"  # closed, idle or slow, to make room when there were too many


class Held(StrEnum):
    """What came of a request against which the WAF holds something; the access log's `waf` field."""

    MATCHED = "matched"  # too little to refuse it
    WOULD_REFUSE = "would-refuse"  # it only logs
    REFUSED = "refused"


class Leak(StrEnum):
    """What an origin let slip in the text of an answer."""

    STACK_TRACE = "stack_trace"
    SQL_ERROR = "sql_error"
    DIRECTORY_LISTING = "directory_listing"
    SOURCE_CODE = "source_code"
    PRIVATE_KEY = "private_key"
    ACCESS_KEY = "access_key"
    CARD_NUMBER = "card_number"


class Side(StrEnum):
    """Who failed: shown on the error page, in the log and as a metric label."""

    CLIENT = "client"
    EDGE = "edge"
    ORIGIN = "origin"


class Fault(StrEnum):
    """What failed, in words of RFC 9209 2.3 where it has one."""

    # client
    BAD_REQUEST = "bad-request"
    HEADER_TOO_LARGE = "header-too-large"
    URI_TOO_LONG = "uri-too-long"
    BODY_TOO_LARGE = "body-too-large"
    REQUEST_TIMEOUT = "request-timeout"
    UNKNOWN_HOST = "unknown-host"
    EXPECTATION = "expectation-failed"
    LOOP = "proxy_loop_detected"
    CLIENT_GONE = "client-gone"
    # edge
    INTERNAL = "proxy_internal_error"
    OVERLOAD = "overload"
    DRAINING = "draining"
    # origin
    DNS = "dns_error"
    DNS_TIMEOUT = "dns_timeout"
    CONNECT_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connection_timeout"
    TERMINATED = "connection_terminated"  # before any part of an answer
    TLS = "tls_protocol_error"
    TLS_CERTIFICATE = "tls_certificate_error"
    RESPONSE_TIMEOUT = "http_response_timeout"
    READ_TIMEOUT = "connection_read_timeout"
    WRITE_TIMEOUT = "connection_write_timeout"
    INCOMPLETE = "http_response_incomplete"
    PROTOCOL = "http_protocol_error"
    RESPONSE_HEADER_SIZE = "http_response_header_section_size"
    RESPONSE_BODY_SIZE = "http_response_body_size"
    CONNECTION_LIMIT = "connection_limit_reached"
    UNAVAILABLE = "destination_unavailable"
    # client, what came later: counters go by a member's place
    TOO_EARLY = "too-early"  # sent before the handshake was complete, and not safe to be replayed (RFC 8470)
    MISDIRECTED = "misdirected-request"  # over a connection that was not made for the site
    # origin, what came later
    LEAK = "leak"  # its answer has what nobody should see, and the route replaces such answers
