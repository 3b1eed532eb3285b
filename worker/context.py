"""Context: what one request has learned so far. Declared slots, one writer per slot named beside it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from worker.errors import EdgeError
from worker.fields import Fields
from worker.identity import Identity
from worker.judgement import Judgement
from worker.message import Request, Response
from worker.reasons import Block, Forward, Leak, NotStorable, Outcome

if TYPE_CHECKING:
    from worker.settings import RouteSettings

_NONE = Outcome.NONE  # looking a member up in its enum costs as much as all other slots here together

Pending = Callable[[], Awaitable[Response | None]]
Inform = Callable[["Context", int, Fields], None]


class Client:
    """Who asks: the other end of a connection, or whom a trusted proxy there speaks for.

    Shared by the requests it makes, and holds what the stages have learned of it.
    """

    __slots__ = (
        "access", "address", "alt_svc", "asked", "asn", "bans_seen", "bucket_key", "country", "has_entered",
        "identity", "is_counted", "listener", "port", "tls_cipher", "tls_version", "trusted",
    )  # fmt: skip

    def __init__(
        self,
        address: str,
        port: int,
        bucket_key: bytes,
        listener: str,
        tls_version: str = "",
        tls_cipher: str = "",
    ) -> None:
        self.address = address  # "192.0.2.1" or "2001:db8::1"
        self.port = port
        self.bucket_key = bucket_key  # packed IPv4 address, or the first 8 bytes of an IPv6 one (its /64)
        self.listener = listener  # "http://127.0.0.1:8080", as configured
        self.tls_version = tls_version  # "TLSv1.3", "" on a plain connection
        self.tls_cipher = tls_cipher
        self.alt_svc = b""  # the line that tells it of HTTP/3 (RFC 7838 3), where there is that to tell
        self.trusted = False  # a configured proxy: its X-Forwarded-* are believed
        self.asked = ""  # the authority whose certificate it was asked for in the handshake, "" for none
        self.identity: Identity | None = None  # the certificate it showed then
        self.has_entered = False  # the door has let its connection in
        self.is_counted = False  # ... and counted it among those of its address
        self.access: object = None  # the access gate's memo of its verdict for this address
        self.bans_seen = -1  # the bans gate's memo: the version of the bans that does not name this address
        self.asn = -1  # geo's memo of its autonomous system, 0 if nobody knows
        self.country: bytes | None = None  # geo's memo of where this address is, b"" if nobody knows


class Context:
    """One request on its way through the layers."""

    __slots__ = (
        "age_s", "block", "bytes_in", "bytes_out", "client", "collapsed", "connect_ns", "delay_ns",
        "ended_ns", "error", "first_byte_ns", "forward", "forwarded_status", "identity", "inform",
        "is_counted", "key", "leaks", "not_storable", "now_ns", "now_s", "origin", "origin_host",
        "origin_target", "outcome", "peer", "pending",
        "refresh", "request", "request_id", "retries", "revalidate", "route", "started_ns", "status",
        "stored", "ttl_s", "waf",
    )  # fmt: skip

    def __init__(
        self, request: Request, client: Client, request_id: bytes, now_ns: int, now_s: float
    ) -> None:
        self.request = request
        self.peer = client  # the other end of the connection
        self.client = client  # who asks: the peer, or whom it speaks for (the client address gate)
        self.request_id = request_id  # 32 lower-case hex digits
        # protocol
        self.started_ns = now_ns  # monotonic, when the head was complete
        self.now_ns = now_ns  # monotonic, what every stage takes for "now"
        self.now_s = now_s  # wall clock of the same instant, for HTTP dates only
        self.bytes_in = 0  # request body
        self.bytes_out = 0  # head and body sent
        self.status = 0  # the status sent
        # router
        self.route: RouteSettings | None = None
        # security
        self.block: Block | None = None
        self.waf: Judgement | None = None  # what is held against it, if anything
        self.pending: Pending | None = None  # what a gate that answers LATER waits for
        self.delay_ns = 0  # what a rate limit lets it wait
        self.is_counted = False  # among those its client has under way
        self.identity: Identity | None = None  # of the client, where the route asks for it
        # cache
        self.key = b""  # the cache key; b"" when the cache is not asked
        self.outcome = _NONE
        self.forward: Forward | None = None  # why the origin was (to be) asked
        self.collapsed: bool | None = None  # it waited for another's fetch: whether that answered it
        self.not_storable: NotStorable | None = None
        self.stored = False
        self.age_s = -1  # current age (RFC 9111 4.2.3), -1 when the answer did not come from the cache
        self.ttl_s = 0  # freshness lifetime left, negative when stale
        self.refresh = False  # a stale answer was given: revalidate in the background after sending
        self.revalidate: object = None  # the lookup gate's stored response to validate, for fill
        # rewriting
        self.origin_target: bytes | None = None  # path and query for the origin; None: the client's own
        self.origin_host: bytes | None = None  # Host for the origin; None: as the origin's settings say
        # origin
        self.origin = ""  # "http://127.0.0.1:8081" once chosen
        self.forwarded_status = 0  # status of the origin's answer
        self.connect_ns = 0  # 0 on a reused connection
        self.first_byte_ns = 0  # request sent until first byte of the answer
        self.retries = 0
        # leaks
        self.leaks: tuple[Leak, ...] = ()  # what the origin's answer was found to have
        # pipeline
        self.ended_ns = 0  # monotonic, when the observers were told
        self.inform: Inform | None = None  # sends this client interim answers, while it has no other
        self.error: EdgeError | None = None
