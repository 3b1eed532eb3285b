"""Send filter: what the edge adds to every answer: Age, Via, Cache-Status, X-Cache, X-Request-Id, Alt-Svc.

On a hit that is one `append_lines` of one formatted byte string; every other outcome may cost a little more.
"""

import re

from worker.context import Context
from worker.message import Response
from worker.reasons import Outcome

_HIT = Outcome.HIT  # looking a member up in its enum takes as long as half of the formatting
_HIT_ID = b"\r\nX-Cache: HIT\r\nX-Request-Id: "
_END = b"\r\n"
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*\Z")


class EdgeFields:
    """Adds the edge's own fields. `name` is how the edge calls itself in Via and Cache-Status.

    Expects stored responses without Age: ours is the only one then (RFC 9111 5.1). An answer that comes
    straight from the origin keeps the Age an upstream cache gave it.
    """

    def __init__(self, name: str) -> None:
        self._cache = structured_name(name)
        # RFC 9110 7.6.3: we read origins as HTTP/1.1, whatever we speak to the client. What was read by
        # HTTP/2 is not told apart, as a stored response does not know.
        self._via = f"Via: 1.1 {name}\r\n"
        self._hit = f"\r\n{self._via}Cache-Status: {self._cache}; hit; ttl=".encode()

    def __call__(self, ctx: Context, response: Response) -> None:
        if ctx.outcome is _HIT:
            response.fields.append_pieces(
                b"Age: ", ctx.age_s, self._hit, ctx.ttl_s, _HIT_ID, ctx.request_id, _END, ctx.client.alt_svc
            )
        else:
            response.fields.append_lines(self._lines(ctx) + ctx.client.alt_svc)

    def _lines(self, ctx: Context) -> bytes:
        """The same five lines for everything that is not a plain hit."""
        age = f"Age: {ctx.age_s}\r\n" if ctx.age_s >= 0 else ""
        request_id = ctx.request_id.decode("ascii")
        if ctx.outcome is Outcome.NONE and not ctx.key:  # the cache was not reached: nothing to tell
            return f"{self._via}X-Request-Id: {request_id}\r\n".encode()
        return (
            f"{age}{self._via}Cache-Status: {self._cache}{_cache_status(ctx)}\r\n"
            f"X-Cache: {ctx.outcome.upper()}\r\nX-Request-Id: {request_id}\r\n"
        ).encode()


def structured_name(name: str) -> str:
    """The edge's name as RFC 8941 wants it in Cache-Status and Proxy-Status: a token, else a string."""
    if _TOKEN.match(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cache_status(ctx: Context) -> str:
    """Parameters of our Cache-Status member (RFC 9211 2), each led by "; "."""
    parts = []
    if ctx.outcome is Outcome.STALE and (ctx.forward is None or ctx.refresh):
        parts.append(f"; hit; ttl={ctx.ttl_s}")  # served before anybody is asked: stale-while-revalidate
    elif ctx.forward is not None:
        parts.append(f"; fwd={ctx.forward}")
        if ctx.forwarded_status:
            parts.append(f"; fwd-status={ctx.forwarded_status}")
        if ctx.stored:
            parts.append("; stored")
        if ctx.stored or ctx.age_s >= 0:
            parts.append(f"; ttl={ctx.ttl_s}")
        if ctx.collapsed is not None:
            parts.append("; collapsed" if ctx.collapsed else "; collapsed=?0")
    detail = ctx.error.fault if ctx.error is not None else ctx.not_storable
    if detail is not None:
        parts.append(f"; detail={detail}")
    return "".join(parts)
