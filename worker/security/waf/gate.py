"""The WAF as a gate: what is held against a request's head, and what is done about it.

Looks at the head as it will be forwarded: line, fields, cookies and the arguments of the query. Where a body
follows that is to be inspected, rules wait for it (`inspection`). Knows judgements and how to log or refuse;
no rule.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from worker.context import Context
from worker.judgement import CLEAN, Judgement
from worker.message import Response
from worker.pipeline import LATER
from worker.reasons import Block
from worker.security.waf.bodies import Kind, kind_of
from worker.security.waf.judge import Judge
from worker.settings import WafSettings

log = logging.getLogger("edgecluster.waf")

Refuse = Callable[[Context, int, Block], Response]

LOG_PAUSE_NS = 1_000_000_000  # one line per second and worker tells enough of a flood
_SHOWN = 80  # bytes of a matched value in the log
_MOST = 16  # matches in a line


class WafGate:
    """Refuses with 403 what is judged an attack; unless its route blocks it only says that it would."""

    def __init__(
        self,
        judge: Judge,
        settings: WafSettings,
        refuse: Refuse,
        in_thread: Callable[[Context, bool], Awaitable[Judgement]] | None = None,
    ) -> None:
        """`in_thread` judges heads that would hold the loop for more than a moment; None: we do."""
        self._of_head = judge.of_head if in_thread is None else judge.of_light_head
        self._in_thread = in_thread
        self._refuse = refuse
        self._blocks = settings.blocks
        self._reads_bodies = settings.body_bytes > 0
        self._unlogged = 0
        self._next_log_ns = 0

    def __call__(self, ctx: Context) -> Response | None:
        waits = ctx.request.body is not None and self.inspects(ctx)
        judgement = self._of_head(ctx) if not waits else self._of_head(ctx, is_all=False)
        if judgement is CLEAN:
            return None
        if judgement is None:
            ctx.pending = partial(self._later, ctx, waits)
            return LATER
        return self._decide(ctx, judgement, waits)

    async def _later(self, ctx: Context, waits: bool) -> Response | None:
        assert self._in_thread is not None
        return self._decide(ctx, await self._in_thread(ctx, not waits), waits)

    def _decide(self, ctx: Context, judgement: Judgement, waits: bool) -> Response | None:
        """Where the body is still to be judged, nothing is written down before that but a refusal."""
        if waits and not (judgement.refuses and self._blocks):
            return None
        return self.act(ctx, judgement)

    def inspects(self, ctx: Context) -> bool:
        """Is the request's body to be looked at?"""
        request = ctx.request
        return self._reads_bodies and request.body is not None and kind_of(request.fields) is not Kind.OPAQUE

    def act(self, ctx: Context, judgement: Judgement) -> Response | None:
        """Write the judgement down; the refusal, if it comes to that."""
        if judgement is CLEAN:
            return None
        ctx.waf = judgement
        self._log(ctx, judgement)
        return self._refuse(ctx, 403, Block.WAF) if judgement.refuses and self._blocks else None

    def _log(self, ctx: Context, judgement: Judgement) -> None:
        self._unlogged += 1
        if ctx.now_ns < self._next_log_ns:
            return
        log.warning(
            "request %s from %s %s: %s%s",
            ctx.request_id.decode(),
            ctx.client.address,
            self._outcome(judgement),
            "; ".join(described(judgement)[:_MOST]),
            f" ({self._unlogged - 1} more requests since the last line)" if self._unlogged > 1 else "",
        )
        self._unlogged = 0
        self._next_log_ns = ctx.now_ns + LOG_PAUSE_NS

    def _outcome(self, judgement: Judgement) -> str:
        if not judgement.refuses:
            return "matched rules"
        return "was refused" if self._blocks else "would have been refused ('waf: block' enforces it)"


def described(judgement: Judgement) -> list[str]:
    """Rule, variable, matched part, message and score of every match, for people."""
    return [
        f"rule {found.rule} at {found.variable} {found.part[:_SHOWN]!r}: {found.message}"
        + (f" (score {found.score})" if found.score else "")
        for found in judgement.found
    ]
