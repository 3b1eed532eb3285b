"""One finished request as one line of text: JSON, or the combined format of Apache and nginx.

Lines are put together from pieces that are escaped once and remembered, because the same clients ask for
the same things. Knows words and escaping, not files.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

import msgspec

from worker.context import Context
from worker.observe.plain_line import plain_line
from worker.reasons import Block, Held

MEMO_ENTRIES = 8192
MEMO_PIECE_BYTES = (
    512  # longer pieces are not remembered: a memo stays below about 8 MiB whatever clients send
)

_Values = tuple[bytes | None, ...]

_encode = msgspec.json.encode


class Line(Protocol):
    """Formats the finished requests of one worker."""

    def __call__(self, ctx: Context) -> bytes:
        """The line, with its newline."""
        ...

    def shortened(self, ctx: Context) -> bytes:
        """The same line with every value a client chose cut to SHORT_BYTES: less than 4096 bytes in all."""
        ...


RULES = 16  # of the WAF that a line names

SHORT_BYTES = 64  # six such values, of whose bytes each takes six at most


def line_format(name: str) -> Line:
    """The format of that name, "json" or "combined". Raises ValueError for any other."""
    if name == "json":
        return JsonLine()
    if name == "combined":
        return CombinedLine()
    raise ValueError(f"unknown access log format {name!r}: it must be json or combined")


class _Memo(dict[tuple[bytes | int | None, ...], bytes]):
    """Pieces by the values they are made of; starts anew when full, so that no client can fill memory."""

    def keep(self, values: tuple[bytes | int | None, ...], piece: bytes) -> bytes:
        if len(piece) <= MEMO_PIECE_BYTES:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[values] = piece
        return piece


def _short(values: _Values) -> _Values:
    return tuple(value and value[:SHORT_BYTES] for value in values)


class JsonLine:
    """JSON Lines: one object per request, empty values left out.

    time (RFC 3339, when the request's head was complete), request_id, client, method, host, path, query,
    version, status (0: the client left before the answer), cache, forward, not_storable, block, leaks, fault,
    side, detail, origin, origin_status, origin_us (request sent until the first byte came), connect_us,
    retries, route, bytes_in (request body), waf (what it made of it), waf_score, waf_rules (the first 16),
    client_subject, client_fingerprint (SHA-256; both of the client's
    certificate), bytes_out (head and body), duration_us, user_agent, referer. The words are those
    of `worker.reasons`.
    """

    def __init__(self) -> None:
        self._from_s = self._until_s = 0.0  # the millisecond that `_begin` tells
        self._begin = b""

    def __call__(self, ctx: Context) -> bytes:
        if not self._from_s <= ctx.now_s < self._until_s:
            ms = int(ctx.now_s * 1000)
            self._from_s, self._until_s, self._begin = ms / 1000, (ms + 1) / 1000, _begin(ms)
        if ctx.error is None and ctx.identity is None and ctx.waf is None and not ctx.leaks:
            line = plain_line(self._begin, ctx)
            if line is not None:
                return line
        return self.any_line(ctx)

    def any_line(self, ctx: Context) -> bytes:
        """The line of any request, its values escaped where they have to be."""
        return _JSON % (
            _begin(int(ctx.now_s * 1000)), ctx.request_id, ctx.client.address.encode(),
            _what(_asked(ctx), ctx) + _shown(ctx, 200),
            ctx.bytes_out, (ctx.ended_ns - ctx.started_ns) // 1000, _who(_agent(ctx)),
        )  # fmt: skip

    def shortened(self, ctx: Context) -> bytes:
        return _JSON % (
            _begin(int(ctx.now_s * 1000)), ctx.request_id, ctx.client.address.encode(),
            _what(_short(_asked(ctx)), ctx) + _shown(ctx, SHORT_BYTES),
            ctx.bytes_out, (ctx.ended_ns - ctx.started_ns) // 1000,
            _who(_short(_agent(ctx))),
        )  # fmt: skip


_JSON = b'%b%b","client":"%b"%b,"bytes_out":%d,"duration_us":%d%b}\n'


def _begin(ms: int) -> bytes:
    """The start of a line up to the request id, for a moment in milliseconds since 1970."""
    return b'{"time":"%b.%03dZ","request_id":"' % (_date_time(ms // 1000), ms % 1000)


@lru_cache(4)
def _date_time(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _asked(ctx: Context) -> _Values:
    request = ctx.request
    return (request.method, request.host, request.path, request.query, request.version)


def _agent(ctx: Context) -> _Values:
    fields = ctx.request.fields
    return (fields.get(b"user-agent"), fields.get(b"referer"))


def _member(name: str, value: bytes | str | int | None) -> bytes:
    """One JSON member with the comma before it; nothing for an empty value."""
    if not value:
        return b""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return b',"%b":%b' % (name.encode(), _encode(value))


def _shown(ctx: Context, most: int) -> bytes:
    """The client's certificate, where the route asks for one; `most` characters of its subject."""
    identity = ctx.identity
    if identity is None:
        return b""
    return _member("client_subject", identity.subject[:most]) + _member(
        "client_fingerprint", identity.fingerprint
    )


def _what(asked: _Values, ctx: Context) -> bytes:
    """What was asked, and what the edge made of it."""
    error, route = ctx.error, ctx.route
    return b"".join((
        *map(_member, ("method", "host", "path", "query", "version"), asked),
        b',"status":%d' % ctx.status,
        _member("cache", ctx.outcome),
        _member("forward", ctx.forward),
        _member("not_storable", ctx.not_storable),
        _member("block", ctx.block),
        _member("leaks", ",".join(ctx.leaks)),
        _member("fault", error.fault if error else None),
        _member("side", error.side if error else None),
        _member("detail", error.detail[:200] if error else None),
        _member("origin", ctx.origin),
        _member("origin_status", ctx.forwarded_status),
        _member("origin_us", ctx.first_byte_ns // 1000),
        _member("connect_us", ctx.connect_ns // 1000),
        _member("retries", ctx.retries),
        _member("route", route.name if route else None),
        _member("bytes_in", ctx.bytes_in),
        _held(ctx),
    ))  # fmt: skip


def _held(ctx: Context) -> bytes:
    """What the WAF holds against the request."""
    judgement = ctx.waf
    if judgement is None:
        return b""
    said = Held.WOULD_REFUSE if judgement.refuses else Held.MATCHED
    if ctx.block is Block.WAF:
        said = Held.REFUSED
    rules = ",".join(judgement.rules[:RULES])
    return _member("waf", said) + _member("waf_score", judgement.score) + _member("waf_rules", rules)


def _who(agent: _Values) -> bytes:
    return b"".join(map(_member, ("user_agent", "referer"), agent))


# As nginx: what could end the quotes, start an escape or is not printable ASCII.
_UNSAFE = re.compile(rb'["\\\x00-\x1f\x7f-\xff]')


def _hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % ord(match[0])


def _quoted(value: bytes | None) -> bytes:
    return _UNSAFE.sub(_hex, value) if value else b"-"


class CombinedLine:
    """`client - - [time] "request line" status bytes "referer" "user agent"`; a dash for nothing."""

    def __init__(self) -> None:
        self._second = -1
        self._time = b""
        self._lines = _Memo()
        self._agents = _Memo()

    def __call__(self, ctx: Context) -> bytes:
        second = int(ctx.now_s)
        if second != self._second:
            self._second, self._time = second, _combined_time(second)
        request = ctx.request
        line = (request.target, request.method, request.version)
        asked = self._lines.get(line)
        if asked is None:
            asked = self._lines.keep(line, _quoted(_request_line(ctx)))
        agent = _agent(ctx)
        who = self._agents.get(agent)
        if who is None:
            who = self._agents.keep(agent, _combined_who(agent))
        return _COMBINED % (ctx.client.address.encode(), self._time, asked, ctx.status, ctx.bytes_out, who)

    def shortened(self, ctx: Context) -> bytes:
        asked = _quoted(_request_line(ctx)[: 4 * SHORT_BYTES])
        who = _combined_who(_short(_agent(ctx)))
        time = _combined_time(int(ctx.now_s))
        return _COMBINED % (ctx.client.address.encode(), time, asked, ctx.status, ctx.bytes_out, who)


_COMBINED = b'%b - - [%b] "%b" %03d %d %b\n'


def _combined_time(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000").encode()


def _combined_who(agent: _Values) -> bytes:
    user_agent, referer = agent
    return b'"%b" "%b"' % (_quoted(referer), _quoted(user_agent))


def _request_line(ctx: Context) -> bytes:
    request = ctx.request
    version = request.version if b"." in request.version else request.version + b".0"
    return b"%b %b HTTP/%b" % (request.method, request.target, version)
