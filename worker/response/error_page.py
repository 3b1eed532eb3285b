"""The edge's own answers: errors and refusals, as HTML, JSON or plain text, whichever the client asked for.
Clients of gRPC get a status of theirs.

Each says what happened, who failed (client, edge or origin) and carries the request id, by which the
operator finds the log line that says why. Nothing of the inside is shown: no address, no exception.
"""

import json
import re
from http import HTTPStatus

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.reasons import Block, Fault, Side
from worker.response.fields import structured_name
from worker.response.grpc import grpc_answer, is_grpc

# What a visitor reads. The log has the details.
_WHAT = {
    Fault.BAD_REQUEST: "The request was not valid HTTP, so it was not passed on.",
    Fault.HEADER_TOO_LARGE: "The request's header section is larger than this site accepts.",
    Fault.URI_TOO_LONG: "The address asked for is longer than this site accepts.",
    Fault.BODY_TOO_LARGE: "The request's body is larger than this site accepts.",
    Fault.REQUEST_TIMEOUT: "The request did not arrive in full in time.",
    Fault.UNKNOWN_HOST: "No site of that name is served here.",
    Fault.TOO_EARLY: "The request came before the connection was set up, and may not come so early.",
    Fault.EXPECTATION: "The request expects something this site does not offer.",
    Fault.LOOP: "The request has come back to the server that sent it on: it goes in a circle.",
    Fault.CLIENT_GONE: "The connection was closed before the answer was complete.",
    Fault.INTERNAL: "Something broke in the edge server while it handled the request.",
    Fault.OVERLOAD: "The edge server has too much to do at the moment.",
    Fault.DRAINING: "The edge server is being restarted.",
    Fault.DNS: "The name of the site's own server could not be resolved.",
    Fault.DNS_TIMEOUT: "The name of the site's own server could not be resolved in time.",
    Fault.CONNECT_REFUSED: "The site's own server refused the connection.",
    Fault.CONNECT_TIMEOUT: "The site's own server could not be reached in time.",
    Fault.TERMINATED: "The site's own server closed the connection without an answer.",
    Fault.TLS: "No secure connection to the site's own server could be made.",
    Fault.TLS_CERTIFICATE: "The certificate of the site's own server could not be verified.",
    Fault.RESPONSE_TIMEOUT: "The site's own server did not answer in time.",
    Fault.READ_TIMEOUT: "The site's own server stopped in the middle of its answer.",
    Fault.WRITE_TIMEOUT: "The site's own server stopped in the middle of the request's body.",
    Fault.INCOMPLETE: "The site's own server broke off its answer.",
    Fault.PROTOCOL: "The site's own server gave an answer that is not valid HTTP.",
    Fault.RESPONSE_HEADER_SIZE: "The site's own server gave an answer with too large a header section.",
    Fault.RESPONSE_BODY_SIZE: "The site's own server gave a larger answer than is passed on.",
    Fault.CONNECTION_LIMIT: "Too many requests are waiting for the site's own server.",
    Fault.UNAVAILABLE: "The site's own server is out of service.",
    Fault.LEAK: "The site's own server gave an answer with something in it that nobody should see.",
    Fault.MISDIRECTED: "The request came over a connection that was made for another site.",
}
_REFUSED = {
    Block.ACCESS: "This site does not serve your network address.",
    Block.BAN: "This site does not serve your network address for now.",
    Block.RATE: "Too many requests came from your network in a short time.",
    Block.WAF: "The request looks like an attack and was not passed on.",
    Block.METHOD: "This site does not answer requests of that method here.",
    Block.CONCURRENCY: "Too many requests from your network are under way at once.",
    Block.CLIENT_CERTIFICATE: "This site asks for a client certificate, and none was shown.",
}
_TODO = {
    Side.CLIENT: "Check the request and try again.",
    Side.EDGE: "Please try again in a moment.",
    Side.ORIGIN: "Please try again in a few minutes.",
}
_TODO_REFUSED = {
    Block.ACCESS: "If you think this is a mistake, tell the site's owner the request id.",
    Block.BAN: "If you think this is a mistake, tell the site's owner the request id.",
    Block.RATE: "Please slow down and try again later.",
    Block.WAF: "If you think this is a mistake, tell the site's owner the request id.",
    Block.METHOD: "Use one of the methods that the Allow field names.",
    Block.CONCURRENCY: "Please wait for your other requests to end, and try again.",
    Block.CLIENT_CERTIFICATE: "Install the certificate you were given for this site, and try again.",
}

HTML, JSON, PROBLEM, PLAIN = "text/html", "application/json", "application/problem+json", "text/plain"
_OFFERED = (HTML, PROBLEM, JSON, PLAIN)
_Q = re.compile(r";\s*q=([0-9.]+)")

# One request id takes this place in a page made in advance. It cannot occur in the text around it.
_ID = "\x00"

_MEMO_ENTRIES = 256


class ErrorPage:
    """Makes the edge's own answers. `name` is how the edge calls itself in Proxy-Status.

    Pages are put together once per status, reason and media type and only the request id is filled in, so
    that refusing an attacker costs less than serving him.
    """

    def __init__(self, name: str) -> None:
        self._name = structured_name(name)
        self._accepts: dict[bytes | None, str] = {}
        self._memo: dict[tuple[int, Side, str, str], tuple[bytes, bytes, bytes]] = {}

    def __call__(self, ctx: Context, error: EdgeError) -> Response:
        """The answer for a request that failed; with Proxy-Status (RFC 9209) when others may want to know."""
        extra = ""
        if error.side is Side.ORIGIN or error.fault in (Fault.INTERNAL, Fault.LOOP):
            extra = f"Proxy-Status: {self._name}; error={error.fault}\r\n"
        if error.status == 503:
            extra += "Retry-After: 5\r\n"
        return self._answer(ctx, error.status, error.side, error.fault, extra)

    def refuse(self, ctx: Context, status: int, block: Block) -> Response:
        """The answer of a security gate, 403 or 429; notes the reason in `ctx.block`.

        The gate adds its own fields (Retry-After, RateLimit) to the response.
        """
        ctx.block = block
        return self._answer(ctx, status, Side.CLIENT, block, "")

    def _answer(self, ctx: Context, status: int, side: Side, reason: Fault | Block, extra: str) -> Response:
        fields = ctx.request.fields
        if is_grpc(fields):
            words = f"{_what(reason)} (request id {ctx.request_id.decode('ascii')})"
            return grpc_answer(side, reason, words, extra)
        media = self._media(fields.joined(b"accept"))
        key = (status, side, reason, media)
        made = self._memo.get(key)
        if made is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            before, after = _render(media, status, side, reason).encode().split(_ID.encode())
            made = self._memo[key] = (_fields(media, extra), before, after)
        lines, before, after = made
        body = before + ctx.request_id + after
        response = Response(status, Fields.trusted(lines), body, len(body))
        response.settled = True  # compressing the page would cost more than all the rest of a refusal
        return response

    def _media(self, accept: bytes | None) -> str:
        """`_preferred`, remembered: there are few different Accept fields."""
        media = self._accepts.get(accept)
        if media is None:
            if len(self._accepts) >= _MEMO_ENTRIES:
                self._accepts.clear()
            media = self._accepts[accept] = _preferred(accept)
        return media


def _fields(media: str, extra: str) -> bytes:
    charset = "; charset=utf-8" if media in (HTML, PLAIN) else ""
    policy = ""
    if media == HTML:
        policy = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    return (
        f"Content-Type: {media}{charset}\r\nCache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\n{policy}{extra}"
    ).encode()


def _preferred(accept: bytes | None) -> str:
    """The media type of ours that the client names with the highest q-value (RFC 9110 12.5.1).

    Only names count: `*/*` comes from programs in a terminal, which read plain text best.
    """
    best, best_q = PLAIN, 0.0
    for element in (accept or b"").decode("latin-1").lower().split(","):
        media = element.partition(";")[0].strip()
        if media not in _OFFERED:
            continue
        weight = _Q.search(element)
        try:
            q = float(weight[1]) if weight else 1.0
        except ValueError:
            continue
        if q > best_q:
            best, best_q = media, q
    return best


def _what(reason: Fault | Block) -> str:
    return _REFUSED[reason] if isinstance(reason, Block) else _WHAT[reason]


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _render(media: str, status: int, side: Side, reason: Fault | Block) -> str:
    """One page with the mark `_ID` where the request id belongs, exactly once."""
    what = _what(reason)
    todo = _TODO_REFUSED[reason] if isinstance(reason, Block) else _TODO[side]
    title = _title(status)
    if media == HTML:
        return _html(status, title, what, todo, side)
    if media == PLAIN:
        return f"{status} {title}\n\n{what}\n{todo}\n\nfailed: {side}\nrequest id: {_ID}\n"
    problem = {  # RFC 9457
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": what,
        "failed": str(side),
        "reason": str(reason),
        "request_id": "@",
    }
    return json.dumps(problem).replace('"@"', f'"{_ID}"') + "\n"


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5c6675;--line:#d9dee6;--page:#f6f7f9;--card:#fff;
--good:#1a7f4b;--bad:#c4352b}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#98a2b3;--line:#2e3643;--page:#12161c;
--card:#1a2029;--good:#4cc38a;--bad:#ff6b5e}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--page);
color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:36rem;background:var(--card);border:1px solid var(--line);border-radius:14px;
padding:2.2rem}
h1{margin:0;font-size:1.5rem;line-height:1.25}
h1 span{color:var(--soft);font-weight:400;margin-right:.5rem}
ol{display:flex;list-style:none;margin:1.8rem 0;padding:0}
li{flex:1;text-align:center;position:relative;color:var(--soft);font-size:.9rem}
li+li::before{content:"";position:absolute;top:.9rem;left:-50%;width:100%;border-top:2px solid var(--line)}
b{position:relative;z-index:1;display:grid;place-items:center;width:1.9rem;height:1.9rem;margin:0 auto .5rem;
border-radius:50%;background:var(--line);color:var(--card);font-size:1rem}
.good b{background:var(--good)}
.bad b{background:var(--bad)}
.bad{color:var(--ink);font-weight:600}
p{margin:.4rem 0}
small{display:block;margin-top:1.6rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft)}
code{font:.85rem ui-monospace,monospace;overflow-wrap:anywhere}
""".replace("\n", "")

_PLACES = ((Side.CLIENT, "You"), (Side.EDGE, "Edge"), (Side.ORIGIN, "Site"))
_MARK = {
    "good": ("&#10003;", "working"),
    "bad": ("&#10005;", "failed"),
    "unknown": ("&#183;", "not reached"),
}


def _html(status: int, title: str, what: str, todo: str, side: Side) -> str:
    """You - Edge - Site, and where it failed: what lies before that works, what lies behind was not asked."""
    places, state = [], "good"
    for place, label in _PLACES:
        if place is side:
            state = "bad"
        sign, word = _MARK[state]
        places.append(f'<li class="{state}"><b role="img" aria-label="{word}">{sign}</b>{label}</li>')
        if state == "bad":
            state = "unknown"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{status} {title}</title><style>{_STYLE}</style></head>'
        f"<body><main><h1><span>{status}</span>{title}</h1><ol>{''.join(places)}</ol>"
        f"<p>{what}</p><p>{todo}</p><small>Request id <code>{_ID}</code></small></main></body></html>\n"
    )
