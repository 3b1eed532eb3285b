"""The origin stage of groups: a request goes to one of the servers, and to another where that one fails.

Decides what may be tried again elsewhere; knows nothing of how a server is asked, nor where its health is
kept.
"""

import logging
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic_ns

from worker.context import Context, Inform
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response
from worker.origin.balance import Numbers, balancer, candidates, tiers_of, untried
from worker.origin.fetch import IDEMPOTENT, PASSING, OriginFetch
from worker.origin.health import GroupHealth
from worker.reasons import Fault, Side
from worker.settings import GroupSettings

log = logging.getLogger("edgecluster.origin")

# The server had the request, and what came is no answer. A timeout is not among them: who is slow because it
# has too much to do would be given the same work once more.
_NO_ANSWER = frozenset((Fault.TERMINATED, Fault.INCOMPLETE, Fault.PROTOCOL))

# Limits of ours: reaching them says nothing of the server's health.
_OUR_LIMITS = frozenset((Fault.CONNECTION_LIMIT, Fault.RESPONSE_BODY_SIZE))


class GroupFetch:
    """`pipeline.Fetch` for the servers of one group, which are numbered as in `settings.servers`.

    `servers` make no further attempts of their own (`retries` 0); who gave them their connections sweeps
    those. `health` is what all workers know of them. `key_of` makes the key of a request that has none, for
    balance by hash.
    """

    def __init__(
        self,
        settings: GroupSettings,
        servers: Sequence[OriginFetch],
        health: GroupHealth,
        key_of: Callable[[Request], bytes],
        random: Random | None = None,
    ) -> None:
        self._name = settings.name
        self._servers = tuple(servers)
        self._health = health
        self._key_of = key_of if settings.balance == "hash" else None
        self._attempts = settings.retry.attempts
        self._retried = _in_ranges(settings.retry.statuses)
        self._failed = _in_ranges(settings.ejection.statuses)
        self._tiers = tiers_of(settings)
        self._weights = [float(server.weight) for server in settings.servers]
        self._starts_slowly = settings.slow_start_s > 0
        in_flight = [server.in_flight for server in servers]
        self._balancer = balancer(settings, lambda number: in_flight[number](), random or Random())

    async def __call__(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
    ) -> Response:
        """The answer of one of the servers; arguments and answer as for `OriginFetch`.

        When nothing of a request was sent, any is tried again, on another server if there is one. When the
        server had it, only an idempotent one without a body is, only on another server, and only if no answer
        came, or one whose status the settings name. All that within the settings' attempts and the group's
        budget. What breaks off after its head was passed on stays broken, and does not count against the
        server.

        Raises EdgeError: the last attempt's, or 503 at once while the circuit breaker is open.
        """
        now_ns = monotonic_ns()
        if not self._health.may_ask(now_ns):
            detail = f"too many requests to {self._name} failed: its circuit breaker is open"
            raise EdgeError(503, Side.ORIGIN, Fault.UNAVAILABLE, detail)
        number = self._choose(ctx, candidates(self._tiers, self._is_available(now_ns), ()), now_ns)
        told = None if ctx.inform is None else _Told(ctx.inform)
        ctx.inform = told
        tried: list[int] = []
        while True:
            tried.append(number)
            following: int | None
            try:
                response = await self._servers[number](ctx, extra, drop, method, with_body)
            except EdgeError as error:
                following = self._after_error(ctx, tried, error, _may_repeat(ctx, method, with_body, told))
                if following is None:
                    raise
            else:
                may_repeat = _may_repeat(ctx, method, with_body, told)
                following = self._after_answer(ctx, tried, response.status, may_repeat)
                if following is None:
                    return response
                _give_back(response)
            number = following
            ctx.retries += 1

    def _after_error(self, ctx: Context, tried: list[int], error: EdgeError, may_repeat: bool) -> int | None:
        """Whom to ask after the last of `tried` gave no answer; None: nobody."""
        now_ns = monotonic_ns()
        failed = error.side is Side.ORIGIN and error.fault not in _OUR_LIMITS
        if failed:
            self._note_failure(tried[-1], error.detail, now_ns)
        servers = self._instead(tried, error, may_repeat, now_ns) if len(tried) <= self._attempts else ()
        if servers and self._health.may_retry(now_ns):
            return self._choose(ctx, servers, now_ns)
        if failed:
            self._note_request(True, now_ns)
        return None

    def _after_answer(self, ctx: Context, tried: list[int], status: int, may_repeat: bool) -> int | None:
        """Whom to ask after the last of `tried` answered with `status`; None: that is the answer."""
        now_ns = monotonic_ns()
        failed = status in self._failed
        if failed:
            self._note_failure(tried[-1], f"status {status}", now_ns)
        else:
            self._health.note_success(tried[-1], now_ns)
        if status in self._retried and may_repeat and len(tried) <= self._attempts:
            servers = self._elsewhere(tried, now_ns)
            if servers and self._health.may_retry(now_ns):
                return self._choose(ctx, servers, now_ns)
        self._note_request(failed, now_ns)
        return None

    # whom to ask

    def _choose(self, ctx: Context, servers: Numbers, now_ns: int) -> int:
        if len(servers) == 1:
            return servers[0]
        weights = [self._weights[server] for server in servers]
        if self._starts_slowly:
            for place, server in enumerate(servers):
                weights[place] *= self._health.share(server, now_ns)
        key = b"" if self._key_of is None else ctx.key or self._key_of(ctx.request)
        return self._balancer.choose(servers, weights, key)

    def _elsewhere(self, tried: Numbers, now_ns: int) -> Numbers:
        return untried(self._tiers, self._is_available(now_ns), tried)

    def _is_available(self, now_ns: int) -> Callable[[int], bool]:
        is_available = self._health.is_available
        return lambda number: is_available(number, now_ns)

    def _instead(self, tried: Numbers, error: EdgeError, may_repeat: bool, now_ns: int) -> Numbers:
        """Among whom to choose another try after that error; () when there may be none."""
        if error.retryable and error.side is Side.ORIGIN:  # nothing was sent
            elsewhere = self._elsewhere(tried, now_ns)
            if elsewhere or error.fault not in PASSING:
                return elsewhere
            return candidates(self._tiers, self._is_available(now_ns), tried)
        return self._elsewhere(tried, now_ns) if may_repeat and error.fault in _NO_ANSWER else ()

    # what became of it

    def _note_failure(self, number: int, why: str, now_ns: int) -> None:
        if self._health.note_failure(number, now_ns):
            log.warning("group %s: %s is ejected for a while: %s", self._name, self._servers[number].url, why)

    def _note_request(self, failed: bool, now_ns: int) -> None:
        """When the request is over, whatever was tried."""
        if self._health.note_request(failed, now_ns):
            if failed:
                log.warning("group %s: too many requests failed, its circuit breaker opens", self._name)
            else:
                log.warning("group %s: its circuit breaker closes", self._name)


class _Told:
    """Passes interim answers on, and remembers that there was one: its server's answer has begun."""

    def __init__(self, inform: Inform) -> None:
        self._inform = inform
        self.any = False

    def __call__(self, ctx: Context, status: int, fields: Fields) -> None:
        self.any = True
        self._inform(ctx, status, fields)


def _may_repeat(ctx: Context, method: bytes | None, with_body: bool, told: _Told | None) -> bool:
    """May another server be asked although one had the request (RFC 9110 9.2.2)?"""
    if (with_body and ctx.request.body is not None) or (method or ctx.request.method) not in IDEMPOTENT:
        return False
    return told is None or not told.any


def _give_back(response: Response) -> None:
    """Nobody will read this answer: a connection that still carries it is closed."""
    body = response.body
    if body is not None and not isinstance(body, bytes):
        assert hasattr(body, "close")
        body.close()


def _in_ranges(ranges: Sequence[tuple[int, int]]) -> frozenset[int]:
    return frozenset(status for first, last in ranges for status in range(first, last + 1))
