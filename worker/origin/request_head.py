"""The head of a request as the origin gets it: hop-by-hop fields gone, forwarding fields added.

Knows no socket. What a client says about who stands behind it is believed only when it is a configured
proxy; from anybody else those fields are replaced.
"""

from worker.context import Context
from worker.fields import CDN_LOOP, CONNECTION, COOKIE, FORWARDED, TE, Fields
from worker.identity import FIELDS as CLIENT_CERTIFICATE
from worker.message import Request, Stream
from worker.origin.hop_by_hop import HOP_BY_HOP, connection_options, spellings
from worker.origin.loop import refuse_loop
from worker.settings import OriginSettings

# Written by this hop or not at all. Expect is answered by the edge towards the client; the origin is simply
# sent the body.
OWN = (*HOP_BY_HOP, b"host", b"expect", b"x-request-id", b"http2-settings")
ABOUT_CLIENT = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded")
PATH_TAKEN = (b"via", b"cdn-loop")
_REMOVED = spellings(*OWN, *ABOUT_CLIENT, *PATH_TAKEN, *CLIENT_CERTIFICATE)

_ABOUT_CLIENT_LINES = (
    b"X-Forwarded-For: %b\r\nX-Real-IP: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
    b"Forwarded: %b\r\n"
)

# Longer names are no names of hosts (RFC 1035 2.3.4 and a port), and are not worth remembering.
MAX_KNOWN_HOST = 262
_KNOWN = 1024  # clients and hosts whose constant lines are remembered

_UNUSUAL = TE | CDN_LOOP | FORWARDED | COOKIE

_MANY_COOKIES = (b"2", b"3")  # versions that may split Cookie into many lines (RFC 9113 8.2.3)

# Methods whose meaning anticipates content: without any they carry Content-Length: 0 (RFC 9110 8.6).
WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


class RequestHead:
    """Writes request heads for one origin.

    `name` is how we call ourselves in Via, `own_id` in CDN-Loop (RFC 8586): two edges behind one another
    need different ids, or the second takes the first for itself and refuses the loop.
    """

    __slots__ = ("cdn_id", "fallback_host", "host", "known", "path_plain", "via_name")

    def __init__(self, settings: OriginSettings, name: str, own_id: str) -> None:
        self.host = None if settings.host_header is None else settings.host_header.encode("ascii")
        self.fallback_host = settings.url.partition("://")[2].encode("ascii")
        self.via_name = name.encode("ascii")
        self.cdn_id = own_id.encode("ascii")
        self.path_plain = {
            version: b"Via: %b %b\r\nCDN-Loop: %b\r\n" % (version, self.via_name, self.cdn_id)
            for version in (b"1.0", b"1.1", b"2", b"3")
        }
        # What is the same for all requests of a client to a host: from behind the path to the request id.
        self.known: dict[tuple[str, bytes, bytes, bytes, bytes | None], tuple[bytes, bytes]] = {}

    def build(
        self, ctx: Context, method: bytes, body: Stream | None, extra: Fields | None, drop: tuple[bytes, ...]
    ) -> bytes:
        """Request line and fields with the empty line.

        `extra` are lines to add, `drop` names of the client's fields to leave out. Raises EdgeError 508 when
        the request has been here before.
        """
        request = ctx.request
        fields = request.fields
        mask = fields.mask
        if (mask & _UNUSUAL and not self._is_plain(ctx, mask)) or len(request.host) > MAX_KNOWN_HOST:
            return self._build(ctx, method, body, extra, drop)
        if mask & CONNECTION:
            drop += connection_options(fields)
        by = (ctx.peer.address, request.scheme, request.host, request.version, ctx.origin_host)
        known = self.known.get(by)
        if known is None:
            if len(self.known) >= _KNOWN:  # clients choose these values: bound them
                self.known.clear()
            known = self.known[by] = self._constant(*by)
        target = ctx.origin_target
        if target is None:
            target = request.path if request.query is None else request.path + b"?" + request.query
        return b"".join((
            method, b" ", target,
            known[0],
            fields.encode_without(_REMOVED + drop if drop else _REMOVED),
            b"" if ctx.identity is None else ctx.identity.lines,
            known[1], ctx.request_id,
            b"\r\n" if body is None and method == b"GET" else b"\r\n" + _framing(method, body),
            b"\r\n" if extra is None else extra.encode() + b"\r\n",
        ))  # fmt: skip

    def _is_plain(self, ctx: Context, mask: int) -> bool:
        """Is the head the client's fields as they are, and lines the same for all its requests?"""
        if mask & (TE | CDN_LOOP) or (mask & FORWARDED and ctx.peer.trusted):
            return False
        return not mask & COOKIE or ctx.request.version not in _MANY_COOKIES

    def _constant(
        self, address: str, scheme: bytes, host: bytes, version: bytes, origin_host: bytes | None
    ) -> tuple[bytes, bytes]:
        """What stands before and behind the fields of a request nobody but its client spoke about."""
        return (
            b" HTTP/1.1\r\nHost: %b\r\n" % (origin_host or self.host or host or self.fallback_host),
            _first_hop(address, scheme, host) + self.path_plain[version] + b"X-Request-Id: ",
        )

    def _build(
        self, ctx: Context, method: bytes, body: Stream | None, extra: Fields | None, drop: tuple[bytes, ...]
    ) -> bytes:
        """`build` for any request."""
        request = ctx.request
        peer = ctx.peer
        fields = request.fields
        mask = fields.mask
        if peer.trusted and mask & FORWARDED:
            about_client = _next_hop(peer.address, ctx.client.address, request)
        else:
            about_client = _first_hop(peer.address, request.scheme, request.host)
        if mask & CDN_LOOP:
            path_taken = self._path_taken(fields, request.version)
        else:
            path_taken = self.path_plain[request.version]
        kept = fields.copy()
        kept.remove(*_REMOVED, *drop)
        if mask & CONNECTION:
            kept.remove(*connection_options(fields))
        if mask & COOKIE and request.version in _MANY_COOKIES:
            _join_cookies(kept)
        target = ctx.origin_target
        if target is None:
            target = request.path if request.query is None else request.path + b"?" + request.query
        return b"".join((
            method, b" ", target, b" HTTP/1.1\r\nHost: ",
            ctx.origin_host or self.host or request.host or self.fallback_host, b"\r\n",
            kept.encode(),
            about_client,
            path_taken,
            b"" if ctx.identity is None else ctx.identity.lines,
            b"X-Request-Id: ", ctx.request_id, b"\r\n",
            _framing(method, body),
            b"Connection: TE\r\nTE: trailers\r\n" if mask & TE and _wants_trailers(fields) else b"",
            b"" if extra is None else extra.encode(),
            b"\r\n",
        ))  # fmt: skip

    def _path_taken(self, fields: Fields, version: bytes) -> bytes:
        """Via and CDN-Loop with ourselves at the end."""
        via = b"%b %b" % (version, self.via_name)
        before = fields.joined(b"via")
        if before:
            via = b"%b, %b" % (before, via)
        loop = self.cdn_id
        before = fields.joined(b"cdn-loop")
        if before:
            refuse_loop(before, loop)
            loop = b"%b, %b" % (before, loop)
        return b"Via: %b\r\nCDN-Loop: %b\r\n" % (via, loop)


def _first_hop(address: str, scheme: bytes, host: bytes) -> bytes:
    """Forwarding fields for a client nobody spoke for before us."""
    plain = address.encode("ascii")
    return _ABOUT_CLIENT_LINES % (plain, plain, scheme, host, _forwarded(address, scheme, host))


def _next_hop(address: str, client: str, request: Request) -> bytes:
    """What the trusted proxy at `address` said about its client, with the proxy itself added."""
    fields = request.fields
    plain = address.encode("ascii")
    path = fields.joined(b"x-forwarded-for")
    elements = fields.joined(b"forwarded")
    element = _forwarded(address, request.scheme, request.host)
    return _ABOUT_CLIENT_LINES % (
        b"%b, %b" % (path, plain) if path else plain,
        client.encode("ascii"),
        fields.get(b"x-forwarded-proto") or request.scheme,
        fields.get(b"x-forwarded-host") or request.host,
        b"%b, %b" % (elements, element) if elements else element,
    )


def _forwarded(address: str, scheme: bytes, host: bytes) -> bytes:
    """One forwarded-element (RFC 7239 4). IPv6 addresses need brackets and quotes, hosts may hold a colon."""
    node = f'"[{address}]"' if ":" in address else address
    return b'for=%b;host="%b";proto=%b' % (node.encode("ascii"), host, scheme)


def _framing(method: bytes, body: Stream | None) -> bytes:
    if body is None:
        return b"Content-Length: 0\r\n" if method in WITH_CONTENT else b""
    if body.length is None:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % body.length


def _wants_trailers(fields: Fields) -> bool:
    value = fields.joined(b"te") or b""
    return any(coding.strip().lower() == b"trailers" for coding in value.split(b","))


def _join_cookies(fields: Fields) -> None:
    """HTTP/2 and 3 may split Cookie into many lines; HTTP/1.1 allows one (RFC 9113 8.2.3)."""
    cookies = fields.get_all(b"cookie")
    if len(cookies) > 1:
        fields.set(b"cookie", b"; ".join(cookies))
