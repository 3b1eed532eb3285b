"""One finished request as one line of text: JSON, or the combined format of Apache and nginx.

Lines are put together from pieces that are escaped once and remembered, because the same clients ask for
the same things. Knows words and escaping, not files.
"""

import re
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from worker.context import Context
from worker.reasons import Outcome

MEMO_ENTRIES = 8192
MEMO_PIECE_BYTES = (
    512  # longer pieces are not remembered: a memo stays below about 8 MiB whatever clients send
)

_Values = tuple[bytes | None, ...]

_encode = msgspec.json.encode


class Line(Protocol):
    """Formats the requests of one worker. `now_ns` is when the request was finished."""

    def __call__(self, ctx: Context, now_ns: int) -> bytes:
        """The line, with its newline."""
        ...

    def shortened(self, ctx: Context, now_ns: int) -> bytes:
        """The same line with every value a client chose cut to SHORT_BYTES: less than 4096 bytes in all."""
        ...


SHORT_BYTES = 64  # six such values, of whose bytes each takes six at most


def line_format(name: str) -> Line:
    """The format of that name, "json" or "combined". Raises ValueError for any other."""
    if name == "json":
        return JsonLine()
    if name == "combined":
        return CombinedLine()
    raise ValueError(f"unknown access log format {name!r}: it must be json or combined")


class _Clock:
    """A second as text, made once a second."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._second = -1
        self._text = b""

    def __call__(self, second: int) -> bytes:
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime(self._form).encode()
        return self._text


class _Memo(dict[_Values, bytes]):
    """Pieces by the values they are made of; starts anew when full, so that no client can fill memory."""

    def keep(self, values: _Values, piece: bytes) -> bytes:
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
    version, status (0: the client left before the answer), bytes_out (head and body), duration_us,
    bytes_in (request body), cache, forward, not_storable, block, fault, side, detail, origin,
    origin_status, origin_us (request sent until the first byte came), connect_us, retries, route,
    user_agent, referer. The words are those of `worker.reasons`.

    Measured for a hit: remembered pieces 0.7 us, a msgspec Struct per line 1.4 us, every field escaped and
    formatted on its own 1.1 us.
    """

    def __init__(self) -> None:
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S")
        self._asked = _Memo()
        self._agents = _Memo()
        self._hits: dict[str, bytes] = {}

    def __call__(self, ctx: Context, now_ns: int) -> bytes:
        asked = _asked(ctx)
        what = self._asked.get(asked)
        if what is None:
            what = self._asked.keep(asked, _what(asked))
        agent = _agent(ctx)
        who = self._agents.get(agent)
        if who is None:
            who = self._agents.keep(agent, _who(agent))
        return self._join(ctx, now_ns, what, who)

    def shortened(self, ctx: Context, now_ns: int) -> bytes:
        return self._join(ctx, now_ns, _what(_short(_asked(ctx))), _who(_short(_agent(ctx))))

    def _join(self, ctx: Context, now_ns: int, what: bytes, who: bytes) -> bytes:
        second = int(ctx.now_s)
        return (
            b'{"time":"%b.%03dZ","request_id":"%b","client":"%b"%b,"status":%d,"bytes_out":%d'
            b',"duration_us":%d%b%b}\n'
        ) % (
            self._clock(second),
            (ctx.now_s - second) * 1000,
            ctx.request_id,
            ctx.client.address.encode(),
            what,
            ctx.status,
            ctx.bytes_out,
            (now_ns - ctx.started_ns) // 1000,
            self._why(ctx),
            who,
        )

    def _why(self, ctx: Context) -> bytes:
        """What the edge made of the request. A plain hit knows nothing but its route."""
        if ctx.outcome is not Outcome.HIT or ctx.error is not None or ctx.bytes_in or ctx.route is None:
            return _story(ctx)
        route = ctx.route.name
        piece = self._hits.get(route)
        if piece is None:  # as many as there are configured routes
            piece = self._hits[route] = _story(ctx)
        return piece


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


def _what(asked: _Values) -> bytes:
    return b"".join(map(_member, ("method", "host", "path", "query", "version"), asked))


def _who(agent: _Values) -> bytes:
    return b"".join(map(_member, ("user_agent", "referer"), agent))


def _story(ctx: Context) -> bytes:
    error, route = ctx.error, ctx.route
    return b"".join((
        _member("bytes_in", ctx.bytes_in),
        _member("cache", ctx.outcome),
        _member("forward", ctx.forward),
        _member("not_storable", ctx.not_storable),
        _member("block", ctx.block),
        _member("fault", error.fault if error else None),
        _member("side", error.side if error else None),
        _member("detail", error.detail[:200] if error else None),
        _member("origin", ctx.origin),
        _member("origin_status", ctx.forwarded_status),
        _member("origin_us", ctx.first_byte_ns // 1000),
        _member("connect_us", ctx.connect_ns // 1000),
        _member("retries", ctx.retries),
        _member("route", route.name if route else None),
    ))  # fmt: skip


# As nginx: what could end the quotes, start an escape or is not printable ASCII.
_UNSAFE = re.compile(rb'["\\\x00-\x1f\x7f-\xff]')


def _hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % ord(match[0])


def _quoted(value: bytes | None) -> bytes:
    return _UNSAFE.sub(_hex, value) if value else b"-"


class CombinedLine:
    """`client - - [time] "request line" status bytes "referer" "user agent"`; a dash for nothing."""

    def __init__(self) -> None:
        self._clock = _Clock("%d/%b/%Y:%H:%M:%S +0000")
        self._pieces = _Memo()

    def __call__(self, ctx: Context, now_ns: int) -> bytes:
        return self._join(ctx, *map(self._piece, (_request_line(ctx), *_agent(ctx))))

    def shortened(self, ctx: Context, now_ns: int) -> bytes:
        return self._join(ctx, *map(_quoted, _short((_request_line(ctx), *_agent(ctx)))))

    def _piece(self, value: bytes | None) -> bytes:
        piece = self._pieces.get((value,))
        return piece if piece is not None else self._pieces.keep((value,), _quoted(value))

    def _join(self, ctx: Context, line: bytes, agent: bytes, referer: bytes) -> bytes:
        return b'%b - - [%b] "%b" %03d %d "%b" "%b"\n' % (
            ctx.client.address.encode(),
            self._clock(int(ctx.now_s)),
            line,
            ctx.status,
            ctx.bytes_out,
            referer,
            agent,
        )


def _request_line(ctx: Context) -> bytes:
    request = ctx.request
    version = request.version if b"." in request.version else request.version + b".0"
    return b"%b %b HTTP/%b" % (request.method, request.target, version)
