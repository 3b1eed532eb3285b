"""The WAF as a gate: what the rules say of a request's head, and what is done about it.

Looks at the head as it will be forwarded: line, fields, cookies and the arguments of the query. Bodies are
not read here. Knows the engine's verdicts and how to log or refuse; no rule.
"""

import logging
from collections.abc import Callable

from worker.context import Context
from worker.message import Response
from worker.reasons import Block
from worker.security.waf.engine import Engine
from worker.security.waf.state import CLEAN, Verdict
from worker.security.waf.transaction import HttpRequest

log = logging.getLogger("edgecluster.waf")

Refuse = Callable[[Context, int, Block], Response]

LOG_PAUSE_NS = 1_000_000_000  # one line per second and worker tells enough of a flood
_SHOWN = 80  # bytes of a matched value in the log

# The Core Rule Set 3 does not know HTTP/3, and refuses protocols it does not know.
_SETTINGS = """
SecAction "id:900000,phase:1,nolog,pass,t:none,\\
  setvar:tx.paranoia_level={paranoia},\\
  setvar:tx.inbound_anomaly_score_threshold={threshold},\\
  setvar:'tx.allowed_http_versions=HTTP/1.0 HTTP/1.1 HTTP/2 HTTP/2.0 HTTP/3'"
"""


def settings(*, paranoia: int, threshold: int) -> str:
    """SecLang that goes before the Core Rule Set: how suspicious it is, and from which score on it denies."""
    return _SETTINGS.format(paranoia=paranoia, threshold=threshold)


class WafGate:
    """Refuses with 403 what the rules deny; unless it `blocks` it only logs that it would."""

    def __init__(self, engine: Engine, refuse: Refuse, *, blocks: bool) -> None:
        self._judge = engine.judge
        self._refuse = refuse
        self._blocks = blocks
        self._unlogged = 0
        self._next_log_ns = 0

    def __call__(self, ctx: Context) -> Response | None:
        verdict = self._judge(head_of(ctx))
        if verdict is CLEAN:
            return None
        if verdict.matched:
            self._log(ctx, verdict)
        if verdict.intervention is None or not self._blocks:
            return None
        return self._refuse(ctx, 403, Block.WAF)

    def _log(self, ctx: Context, verdict: Verdict) -> None:
        self._unlogged += 1
        if ctx.now_ns < self._next_log_ns:
            return
        log.warning(
            "request %s from %s %s: %s%s",
            ctx.request_id.decode(),
            ctx.client.address,
            self._outcome(verdict),
            "; ".join(described(verdict)),
            f" ({self._unlogged - 1} more requests since the last line)" if self._unlogged > 1 else "",
        )
        self._unlogged = 0
        self._next_log_ns = ctx.now_ns + LOG_PAUSE_NS

    def _outcome(self, verdict: Verdict) -> str:
        if verdict.intervention is None:
            return "matched rules"
        return "was refused" if self._blocks else "would have been refused ('waf: block' enforces it)"


def head_of(ctx: Context) -> HttpRequest:
    """The head in the one spelling that is forwarded; HTTP/2 and 3 have their authority as Host."""
    request = ctx.request
    fields = tuple(request.fields.items())
    if b"Host" not in request.fields:
        fields = ((b"Host", request.host), *fields)
    target = request.path if request.query is None else request.path + b"?" + request.query
    address, port = ctx.client.address, ctx.client.port
    return HttpRequest(request.method, target, request.version, fields, b"", address, port, ctx.request_id)


def described(verdict: Verdict) -> list[str]:
    """Rule, variable, matched part, message and score of every match, for people."""
    return [
        f"rule {matched.id} at {matched.variable or 'the request'} {matched.part[:_SHOWN]!r}: "
        f"{matched.message}" + (f" (score {matched.score})" if matched.score else "")
        for matched in verdict.matched
    ]
