"""The WAF on bodies: a fetch stage that reads the beginning of a body and passes it on once it is judged.

Nothing reaches the stages behind before that, neither the cache nor an origin. What was read goes on
unchanged, followed by the rest as it comes. Knows streams and the clock; judging is the judge's business.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.judgement import Judgement
from worker.message import Response, Stream
from worker.pipeline import Fetch
from worker.reasons import Fault, Outcome, Side
from worker.security.waf.bodies import read_body
from worker.security.waf.gate import WafGate
from worker.security.waf.judge import Judge
from worker.settings import WafSettings

SMALL_BYTES = 2048  # judged by the loop itself, in about a millisecond: a thread would cost more


@dataclass(slots=True)
class Beginning:
    """What was read of a body."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    is_whole: bool = False


class Inspection:
    """Implements Fetch around another: judges bodies that `gate` says are to be inspected.

    A judge is asked by one thread only: `judge` by the loop, about small bodies; `thread_judge` by the single
    thread of `executor`, about others, so that nobody waits for them but their own clients.
    """

    def __init__(
        self,
        fetch: Fetch,
        gate: WafGate,
        judge: Judge,
        thread_judge: Judge,
        settings: WafSettings,
        executor: Callable[[], Executor],
    ) -> None:
        self._fetch = fetch
        self._gate = gate
        self._judge = judge
        self._thread_judge = thread_judge
        self._limit = settings.body_bytes
        self._wait_s = settings.body_wait_s
        self._refuses_rest = settings.blocks and settings.refuses_rest
        self._executor = executor

    def __call__(self, ctx: Context) -> Awaitable[Response]:
        body = ctx.request.body
        if body is None or not self._gate.inspects(ctx):
            return self._fetch(ctx)
        return self._inspect(ctx, body)

    async def _inspect(self, ctx: Context, body: Stream) -> Response:
        if self._refuses_rest and body.length is not None and body.length > self._limit:
            raise self._too_much()
        begun = await self._read(body)
        if self._refuses_rest and not begun.is_whole:
            raise self._too_much() if begun.size > self._limit else _too_slow(self._wait_s)
        refusal = self._gate.act(ctx, await self._judged(ctx, begun))
        if refusal is not None:
            body.close()
            ctx.forward, ctx.outcome = None, Outcome.NONE  # it got no further than to us
            return refusal
        ctx.request.body = Resumed(begun, body)
        return await self._fetch(ctx)

    async def _read(self, body: Stream) -> Beginning:
        """Until the limit is passed, the body ends, or time is over."""
        begun = Beginning()
        try:
            async with asyncio.timeout(self._wait_s):
                while begun.size <= self._limit:
                    piece = await body.read()
                    if not piece:
                        begun.is_whole = True
                        break
                    begun.pieces.append(piece)
                    begun.size += len(piece)
        except TimeoutError:
            pass
        return begun

    async def _judged(self, ctx: Context, begun: Beginning) -> Judgement:
        if begun.size <= SMALL_BYTES:
            return self._judgement(self._judge, ctx, begun)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor(), self._judgement, self._thread_judge, ctx, begun)

    def _judgement(self, judge: Judge, ctx: Context, begun: Beginning) -> Judgement:
        raw = b"".join(begun.pieces)
        return judge.of_whole(ctx, read_body(ctx.request.fields, raw, self._limit, is_cut=not begun.is_whole))

    def _too_much(self) -> EdgeError:
        detail = f"body of more than the {self._limit} bytes that are inspected"
        return EdgeError(413, Side.CLIENT, Fault.BODY_TOO_LARGE, detail)


async def judge_in_thread(
    judge: Judge, executor: Callable[[], Executor], ctx: Context, is_all: bool
) -> Judgement:
    """Of a head that would hold the loop for too long; `judge` is the thread's."""
    asked = partial(judge.of_head, ctx, is_all=is_all)
    return await asyncio.get_running_loop().run_in_executor(executor(), asked)


class Resumed:
    """A `message.Stream`: what was read of a body, then the rest of it."""

    __slots__ = ("_at", "_begun", "_body", "length", "trailers")

    def __init__(self, begun: Beginning, body: Stream) -> None:
        self.length = body.length
        self.trailers: Fields | None = None
        self._begun = begun
        self._body = body
        self._at = 0

    async def read(self) -> bytes:
        pieces = self._begun.pieces
        if self._at < len(pieces):
            piece, pieces[self._at] = pieces[self._at], b""
            self._at += 1
            return piece
        piece = b"" if self._begun.is_whole else await self._body.read()
        if not piece:
            self.trailers = self._body.trailers
        return piece

    def close(self) -> None:
        self._begun.pieces.clear()
        self._body.close()


def _too_slow(wait_s: float) -> EdgeError:
    detail = f"its body took longer than {wait_s:g} s to be inspected"
    return EdgeError(408, Side.CLIENT, Fault.REQUEST_TIMEOUT, detail)
