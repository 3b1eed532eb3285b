"""The origin stage: a request goes to one of the servers that serve the same, and to another where that one fails.

Decides what may be tried again, and where; knows nothing of how a server is asked, nor where its health is kept. A
single origin is a group of one, whose health nobody keeps.
"""

import logging
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic_ns

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response
from worker.origin.balance import Numbers, balancer, candidates, tiers_of, untried
from worker.origin.connection import Inform
from worker.origin.fetch import IDEMPOTENT, OriginFetch
from worker.origin.health import GroupHealth
from worker.reasons import Fault, Side
from worker.settings import GroupSettings

log = logging.getLogger("edgecluster.origin")

# Worth another try at once on the same server; a bad certificate or a reached limit will not be better.
_PASSING = frozenset((Fault.CONNECT_REFUSED, Fault.CONNECT_TIMEOUT, Fault.DNS, Fault.TLS, Fault.UNAVAILABLE))

# The server had the request, and what came is no answer. A timeout is not among them: who is slow because it has
# too much to do would be given the same work once more.
_NO_ANSWER = frozenset((Fault.INCOMPLETE, Fault.PROTOCOL))

# Limits of ours: reaching them says nothing of the server's health.
_OUR_LIMITS = frozenset((Fault.CONNECTION_LIMIT,))


class GroupFetch:
    """`pipeline.Fetch` for the servers of one group, which are numbered as in `settings.servers`.

    `servers` may be shared with other groups: whoever made them sweeps and closes them. `health` is what all
    workers know of them; None for a single server of which nobody keeps it. `key_of` makes the key of a request
    that has none, for balance by hash.
    """

    def __init__(
        self,
        settings: GroupSettings,
        servers: Sequence[OriginFetch],
        health: GroupHealth | None,
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
        self._weights = [server.weight for server in settings.servers]
        self._balancer = balancer(settings, lambda number: self._servers[number].in_flight(), random or Random())

    async def __call__(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
        inform: Inform | None = None,
    ) -> Response:
        """The answer of one of the servers; arguments and answer as for `OriginFetch`.

        When nothing of a request was sent, any is tried again, on another server if there is one. When the
        server had it, only an idempotent one without a body is, only on another server, and only if no answer came,
        or one whose status the settings name. All that within the settings' attempts and the group's budget.
        What breaks off after its head was passed on stays broken, and does not count against the server.

        Raises EdgeError: the last attempt's, or 503 at once while the circuit breaker is open.
        """
        health = self._health
        if health is None:
            number = 0
        else:
            now_ns = monotonic_ns()
            if not health.may_ask(now_ns):
                detail = f"too many requests to {self._name} failed: its circuit breaker is open"
                raise EdgeError(503, Side.ORIGIN, Fault.UNAVAILABLE, detail)
            number = self._choose(ctx, candidates(self._tiers, self._is_available(now_ns), ()), now_ns)
        if inform is not None:
            inform = _Told(inform)
        tried: list[int] = []
        while True:
            try:
                response = await self._servers[number](ctx, extra, drop, method, with_body, inform)
            except EdgeError as error:
                tried.append(number)
                may_repeat = _may_repeat(ctx.request, method, with_body, inform)
                next_number = self._after_error(ctx, tried, error, may_repeat)
                if next_number is None:
                    raise
            else:
                if health is None:
                    return response
                tried.append(number)
                may_repeat = _may_repeat(ctx.request, method, with_body, inform)
                next_number = self._after_answer(ctx, tried, response.status, may_repeat)
                if next_number is None:
                    return response
                _give_back(response)
            number = next_number
            ctx.retries += 1

    def _after_error(self, ctx: Context, tried: list[int], error: EdgeError, may_repeat: bool) -> int | None:
        """Whom to ask after the last of `tried` gave no answer; None: nobody."""
        now_ns = monotonic_ns()
        failed = error.side is Side.ORIGIN and error.fault not in _OUR_LIMITS
        if failed:
            self._note_failure(tried[-1], error.detail, now_ns)
        servers: Numbers = ()
        if len(tried) <= self._attempts:
            if error.retryable and error.side is Side.ORIGIN:
                servers = self._elsewhere(tried, now_ns)
                if not servers and error.fault in _PASSING:
                    servers = candidates(self._tiers, self._is_available(now_ns), tried)
            elif error.fault in _NO_ANSWER and may_repeat:
                servers = self._elsewhere(tried, now_ns)
        if servers and self._may_retry(now_ns):
            return self._choose(ctx, servers, now_ns)
        if failed:
            self._note_request(True, now_ns)
        return None

    def _after_answer(self, ctx: Context, tried: list[int], status: int, may_repeat: bool) -> int | None:
        """Whom to ask in place of the last of `tried`, who answered with `status`; None: that is the answer."""
        now_ns = monotonic_ns()
        failed = status in self._failed
        if failed:
            self._note_failure(tried[-1], f"status {status}", now_ns)
        elif self._health is not None:
            self._health.note_success(tried[-1], now_ns)
        if status in self._retried and may_repeat and len(tried) <= self._attempts:
            servers = self._elsewhere(tried, now_ns)
            if servers and self._may_retry(now_ns):
                return self._choose(ctx, servers, now_ns)
        self._note_request(failed, now_ns)
        return None

    # whom to ask

    def _choose(self, ctx: Context, servers: Numbers, now_ns: int) -> int:
        health = self._health
        if len(servers) == 1 or health is None:
            return servers[0]
        weights = [self._weights[server] * health.share(server, now_ns) for server in servers]
        key = b"" if self._key_of is None else ctx.key or self._key_of(ctx.request)
        return self._balancer.choose(servers, weights, key)

    def _elsewhere(self, tried: Numbers, now_ns: int) -> Numbers:
        return untried(self._tiers, self._is_available(now_ns), tried)

    def _is_available(self, now_ns: int) -> Callable[[int], bool]:
        health = self._health
        return lambda number: health is None or health.is_available(number, now_ns)

    def _may_retry(self, now_ns: int) -> bool:
        return self._health is None or self._health.may_retry(now_ns)

    # what became of it

    def _note_failure(self, number: int, why: str, now_ns: int) -> None:
        if self._health is not None and self._health.note_failure(number, now_ns):
            log.warning("group %s: %s is ejected for a while: %s", self._name, self._servers[number].url, why)

    def _note_request(self, failed: bool, now_ns: int) -> None:
        if self._health is not None and self._health.note_request(failed, now_ns):
            if failed:
                log.warning("group %s: too many requests failed, its circuit breaker opens", self._name)
            else:
                log.warning("group %s: its circuit breaker closes", self._name)


class _Told:
    """Passes interim answers on, and remembers that there was one: its server's answer has begun."""

    def __init__(self, inform: Inform) -> None:
        self._inform = inform
        self.any = False

    def __call__(self, status: int, fields: Fields) -> None:
        self.any = True
        self._inform(status, fields)


def _may_repeat(request: Request, method: bytes | None, with_body: bool, inform: Inform | None) -> bool:
    """May another server be asked although one had the request (RFC 9110 9.2.2)?"""
    if (with_body and request.body is not None) or (method or request.method) not in IDEMPOTENT:
        return False
    return not (isinstance(inform, _Told) and inform.any)


def _give_back(response: Response) -> None:
    """Nobody will read this answer: a connection that still carries it is closed."""
    body = response.body
    if body is not None and not isinstance(body, bytes):
        assert hasattr(body, "close")
        body.close()


def _in_ranges(ranges: Sequence[tuple[int, int]]) -> frozenset[int]:
    return frozenset(status for first, last in ranges for status in range(first, last + 1))
