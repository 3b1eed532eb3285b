"""The origin stage: one request to one origin, retried only where that is safe.

What is tried at another server of a group is the group's business.
"""

from asyncio import CancelledError
from time import monotonic_ns

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.origin.connection import Connection
from worker.origin.h2.exchange import Exchange
from worker.origin.h2.pool import H2Pool
from worker.origin.pool import Pool
from worker.origin.repeat import Repeatable
from worker.origin.request_head import RequestHead
from worker.origin.resolve import Resolver
from worker.reasons import Fault, Side
from worker.settings import OriginSettings
from worker.upgrade import let_through

# May be repeated although the origin could have acted on the first attempt (RFC 9110 9.2.2).
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

# Worth another try at once on the same origin; a bad certificate or a reached limit will not be better.
PASSING = frozenset(
    (Fault.CONNECT_REFUSED, Fault.CONNECT_TIMEOUT, Fault.TERMINATED, Fault.TLS, Fault.UNAVAILABLE)
)


class OriginFetch:
    """`pipeline.Fetch` for one origin.

    `name` is what we call ourselves in Via, `own_id` in CDN-Loop: a token that no other edge on the way uses.
    `pool`: connections that are shared with others who ask the same server; whoever made it sweeps and closes
    it. Call `sweep` about once a second, or nothing ever times out.
    """

    def __init__(
        self,
        settings: OriginSettings,
        name: str = "edgecluster",
        own_id: str | None = None,
        pool: Pool | H2Pool | None = None,
    ) -> None:
        self.settings = settings
        self.url = settings.url
        self.pool = pool or open_pool(settings, Resolver())
        self.keeps_bodies = settings.protocol != "http/1.1"
        self.total_ns = int(settings.total_timeout_s * 1e9)
        self.request_head = RequestHead(settings, name, own_id or name)

    async def __call__(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
    ) -> Response:
        """The origin's answer to `ctx.request`.

        Fields named in `drop` (lower case) are left out, those in `extra` added, `method` replaces the
        client's, `with_body=False` leaves its body unread; `ctx.inform` is told of interim answers (103). A
        body of at most 64 KiB comes as bytes, any other as a Stream which its reader must read to the end or
        close. A request for an upgrade that its route lets through goes out on a connection of its own; its
        answer may be a 101, whose body is a TunnelEnd. Sets origin, connect_ns, first_byte_ns,
        forwarded_status and retries of `ctx`.

        Raises EdgeError. Repeats the request by itself when nothing of it was sent (at most `retries`
        times), and once when a reused connection had died under an idempotent request without a body
        (RFC 9112 9.3.1), or when the origin says that it has not begun with it (RFC 9113 8.7).
        """
        request = ctx.request
        method = method or request.method
        if method == b"CONNECT":
            raise EdgeError(501, Side.CLIENT, Fault.BAD_REQUEST, "CONNECT is for forward proxies")
        body = request.body if with_body else None
        pool = self.pool
        upgrade = let_through(ctx) if request.upgrade else b""
        if upgrade:
            extra = _upgrading(upgrade, extra)
            pool = pool.for_upgrade()
        elif body is not None and self.keeps_bodies and not isinstance(body, Repeatable):
            body = request.body = Repeatable(body)  # for another attempt, whoever makes it
        head = self.request_head.build(ctx, method, body, extra, drop)
        ctx.origin = self.url
        deadline_ns = monotonic_ns() + self.total_ns if self.total_ns else 0
        again = False
        connection = None if upgrade else pool.take(ctx.now_ns)
        while True:
            if connection is None:
                connection = await self._connect(ctx, pool, deadline_ns)
            answer = connection.ask(
                head, body, to_head=method == b"HEAD", informed=ctx, upgrade=upgrade, deadline_ns=deadline_ns
            )
            try:
                response = await answer
            except EdgeError as error:
                repeatable = connection.is_stale and body is None and method in IDEMPOTENT
                if again or not (repeatable or error.retryable):
                    raise
                # Where one idle connection was dead, others likely are: the second attempt takes a new one.
                connection = None
                again = True
                ctx.retries += 1
            except CancelledError:
                connection.give_up(answer)
                raise
            else:
                ctx.first_byte_ns = connection.first_byte_ns
                ctx.forwarded_status = response.status
                return response

    async def _connect(self, ctx: Context, pool: Pool | H2Pool, deadline_ns: int) -> Connection | Exchange:
        """A new connection, tried again as often as the settings allow."""
        left = self.settings.retries
        while True:
            started_ns = monotonic_ns()
            try:
                connection = await pool.connect(deadline_ns)
            except EdgeError as error:
                if left <= 0 or error.fault not in PASSING:
                    raise
                left -= 1
                ctx.retries += 1
            else:
                if not connection.reused:
                    ctx.connect_ns = monotonic_ns() - started_ns
                return connection

    def in_flight(self) -> int:
        """Requests that this worker has under way at the server, whoever asked."""
        return self.pool.in_flight()

    def sweep(self, now_ns: int) -> None:
        """Expire idle connections and enforce timeouts; `now_ns` monotonic. Call it about once a second."""
        self.pool.sweep(now_ns)

    def close(self) -> None:
        """Drain: idle connections are closed, the others after their exchange. New fetches still work."""
        self.pool.close()

    async def wait_closed(self) -> None:
        """Wait until every connection is gone."""
        await self.pool.wait_closed()


def open_pool(settings: OriginSettings, resolver: Resolver) -> Pool | H2Pool:
    """The connections of one worker to that server, none yet."""
    return Pool(settings, resolver) if settings.protocol == "http/1.1" else H2Pool(settings, resolver)


def _upgrading(protocols: bytes, extra: Fields | None) -> Fields:
    """The lines that offer the origin these protocols (RFC 9110 7.8), and `extra`."""
    lines = b"" if extra is None else extra.encode()
    return Fields.trusted(b"Connection: Upgrade\r\nUpgrade: %b\r\n%b" % (protocols, lines))
