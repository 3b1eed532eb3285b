"""The fetch stage of a cached route: ask the origin once, store what may be stored, answer all who wait.

Wraps the origin's fetch. A fetch that others may wait for runs in a task of its own, so that it survives
the client that started it. Whether a response is shared is decided at its header section: what proves not
storable sends all who wait on their own way at once.
"""

import time
from asyncio import CancelledError, Task
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol, cast

from shmcache.core import (
    FAILED,
    FRESH,
    NOT_STORABLE,
    OWNER_DIED,
    PENDING,
    PUBLISHED,
    Cache,
    Following,
    Leases,
)
from worker.cache.byte_range import StreamRange
from worker.cache.collapse import Flight, Flights, give_back
from worker.cache.control import OWN_FIELD
from worker.cache.entry import (
    MUST_REVALIDATE,
    NO_CACHE,
    SECOND_NS,
    SETTLED,
    Stored,
    decode,
    stored_block,
)
from worker.cache.follow import FollowedBody, Rest
from worker.cache.key import cache_key
from worker.cache.lookup import Lookup, Place, answer, conditioned
from worker.cache.negotiation import Negotiation
from worker.cache.purge import KeyOf, invalidate
from worker.cache.rules import Rules
from worker.cache.storable import OF_REQUEST
from worker.cache.store import Arrival, Filling, Plan, Store
from worker.cache.tags import tag_lines
from worker.cache.tee import Tee
from worker.cache.validate import CONDITIONS, freshened, is_same, selects, validation_fields, varies_further
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import (
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    Fields,
)
from worker.message import Response, Stream
from worker.pipeline import Filter
from worker.reasons import Fault, NotStorable, Outcome, Side
from worker.settings import CacheSettings

_ROUNDS = 4  # elections a request takes part in before it goes alone
_SHARE_BYTES = 32 * 1024  # what is larger lies in pages anyway
_SHARE_AFTER_NS = 100_000_000
MAX_BODY_BYTES = 2**63  # more than any body has
_FAILURES = frozenset({500, 502, 503, 504})  # RFC 5861 4


# What a client says about its own copy: dropped from a request whose answer is for everybody.
_CLIENTS_OWN = (*CONDITIONS, b"range")
_ASKS_FOR_LESS = IF_NONE_MATCH | IF_MODIFIED_SINCE | IF_MATCH | IF_UNMODIFIED_SINCE | IF_RANGE | RANGE


class OriginFetch(Protocol):
    """The origin as this stage needs it: the request's fields without `drop`, with `extra` added."""

    def __call__(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
    ) -> Awaitable[Response]: ...


@dataclass(slots=True)
class _Obtained:
    """An answer, and what is to become of it."""

    response: Response
    plan: Plan | None  # None: it is not to be stored (any more)
    ending: int  # of the lease, when there is nothing (left) to store


class Fill:
    """Implements Fetch for one route.

    `codings` are those the route serves, best first. `store_filters` run once on every answer of the origin.
    `key_of` gives the primary key of any request, as its route makes it. `clock` is monotonic ns, `wall`
    seconds since 1970.
    """

    def __init__(
        self,
        fetch: OriginFetch,
        cache: Cache,
        leases: Leases,
        settings: CacheSettings,
        codings: Sequence[str],
        spawn: Callable[[Coroutine[Any, Any, None]], Task[None]],
        *,
        store_filters: Sequence[Filter] = (),
        key_of: KeyOf = cache_key,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._cache = cache
        self._enabled = settings.enabled
        self._collapse = settings.collapse
        self._max_bytes = settings.max_object_bytes
        self._negotiation = Negotiation(codings, settings.languages)
        self._lookup = Lookup(cache, settings, codings)
        self._store = Store(cache, settings, self._negotiation)
        self._rules = Rules(settings)
        self._flights = Flights(leases, int(settings.lease_s * SECOND_NS), clock)
        self._spawn = spawn
        self._store_filters = tuple(store_filters)
        self._key_of = key_of
        self._clock = clock
        self._wall = wall

    def __call__(self, ctx: Context) -> Awaitable[Response]:
        """Answer a request the lookup gate let through."""
        place = ctx.revalidate
        if not isinstance(place, Place):
            return self._pass(ctx)
        if ctx.request.method != b"GET":
            return self._head(ctx, place)
        if place.alone or not self._collapse:
            return self._alone(ctx, place) if place.hit is None else self._alone_again(ctx, place)
        return self._together(ctx, place)

    async def refresh(self, ctx: Context) -> None:
        """Revalidate in the background what was just served stale; nothing if somebody else does already."""
        place = ctx.revalidate
        if not isinstance(place, Place):
            return
        flight, leads = self._flights.join(place.key)
        if not leads:
            return
        flight.leave()  # nobody waits for this answer
        # A context of its own: the client's is being logged.
        own = Context(ctx.request, ctx.client, ctx.request_id, self._clock(), self._wall())
        own.key, own.route, own.identity = ctx.key, ctx.route, ctx.identity
        current = self._lookup.find(ctx.request, ctx.key, own.now_ns)
        if current.key != place.key or (current.hit is not None and current.hit.verdict == FRESH):
            self._flights.land(flight, PUBLISHED)
            return
        await self._fly(own, current, flight)

    def on_doorbell(self) -> None:
        """A lease this worker waits for has ended; called when its eventfd rings."""
        self._flights.recheck(self._clock())

    def sweep(self, now_ns: int) -> None:
        """Find what no doorbell told: dead owners, deadlines. To be called a few times a second."""
        self._flights.recheck(now_ns)

    # Ways to the origin

    async def _pass(self, ctx: Context) -> Response:
        """A request the cache has no part in, except that success of an unsafe method invalidates."""
        response = await self._fetch(ctx)
        if self._enabled:
            invalidate(
                self._cache, ctx.request, response.status, response.fields, self._clock(), self._key_of
            )
        self._filter(ctx, response)
        return response

    async def _head(self, ctx: Context, place: Place) -> Response:
        """HEAD that the cache could not answer: forwarded as it is; it freshens what is stored (4.3.5)."""
        ctx.not_storable = NotStorable.METHOD
        stale = self._stale_if_error(ctx, place)
        generation, asked_ns = self._cache.generation(), self._clock()
        try:
            response = await self._fetch(ctx)
        except EdgeError as error:
            if stale is None or error.side is not Side.ORIGIN:
                raise
            return self._answer_stale(ctx, place, stale)
        if stale is not None and response.status in _FAILURES:
            give_back(response.body)
            return self._answer_stale(ctx, place, stale)
        if place.hit is not None and response.status == 200:
            self._freshen_by_head(ctx, place, response, self._receive(response, generation, asked_ns))
        self._filter(ctx, response)
        return response

    def _freshen_by_head(self, ctx: Context, place: Place, head: Response, arrival: Arrival) -> None:
        """Update the stored response by the answer to HEAD, or forget it when that speaks of another."""
        hit, stored = place.hit, place.stored
        assert hit is not None and stored is not None
        block = Fields.trusted(stored.block)
        same = is_same(block, hit.size, head.fields, head.length)
        if stored.status != 200 or not same or varies_further(block, head.fields):
            self._store.forget(place.key)
            return
        fields = freshened(block, head.fields)
        _keep_own_control(fields, head.fields.joined(OWN_FIELD) or stored.own_control)
        plan = self._store.plan(ctx, stored.status, fields, hit.size, arrival)
        if isinstance(plan, NotStorable):
            if plan not in OF_REQUEST:
                self._store.forget(place.key)
            return
        response = Response(stored.status, Fields.trusted(stored_block(fields)), None, hit.size)
        response.settled = hit.flags & SETTLED != 0
        self._store.freshen(place.key, ctx.key, plan, response, self._clock())

    async def _alone(self, ctx: Context, place: Place) -> Response:
        """Fetch for this request only, where nothing is stored; store if that turns out to be allowed.

        This is the way of everything that is never stored, so it asks nothing that cannot matter here.
        """
        extra, drop = self._negotiation.asked(ctx.request.fields)
        generation, asked_ns = self._cache.generation(), self._clock()
        response = await self._fetch(ctx, extra, drop)
        reason = self._store.refusal(ctx, response.status, response.fields)
        if reason is None or b"date" not in response.fields:
            arrival = self._receive(response, generation, asked_ns)
            if reason is None:
                obtained = self._weigh(ctx, place, response, arrival)
                filling = self._keep(ctx, obtained)
                return response if filling is None else self._stream(ctx, obtained, filling, None)
        for store_filter in self._store_filters:
            store_filter(ctx, response)
        ctx.not_storable = reason
        self._remember(place, response.status, reason)
        return response

    async def _alone_again(self, ctx: Context, place: Place) -> Response:
        """Fetch for this request only what is stored but has to be validated for everyone."""
        obtained = await self._obtain(ctx, place, whole=True)
        filling = self._keep(ctx, obtained)
        if filling is not None:
            return conditioned(ctx, self._stream(ctx, obtained, filling, None))
        return conditioned(ctx, obtained.response)

    async def _together(self, ctx: Context, place: Place) -> Response:
        """Fetch for everyone who wants the same, or wait for who does."""
        waited = False
        for _ in range(_ROUNDS):
            flight, leads = self._flights.join(place.key)
            waited = waited or not leads
            ctx.collapsed = True if waited else None
            ending = PUBLISHED if leads else await flight.wait_shared()
            if ending == PENDING:
                response = self._follow(ctx, place, flight)
                if response is not None:
                    return response
                ending = await flight.wait_landed()
            if ending == NOT_STORABLE:
                break
            if ending == FAILED:
                return self._answer_failure(ctx, place, flight)
            # For a leader too: somebody may have published between its look-up and its claim.
            place = self._lookup.find(ctx.request, ctx.key, self._clock())
            response = self._lookup.shared(ctx, place, self._clock())
            if leads:
                if response is None and not place.alone and place.key == flight.key:
                    ctx.collapsed = False if waited else None
                    self._spawn(self._fly(ctx, place, flight))
                    return await flight.wait_head()
                self._flights.land(flight, PUBLISHED)
            if response is not None:
                ctx.collapsed = True
                return response
            if place.alone:
                break
        ctx.collapsed = False if waited else None
        return await (self._alone(ctx, place) if place.hit is None else self._alone_again(ctx, place))

    def _follow(self, ctx: Context, place: Place, flight: Flight) -> Response | None:
        """The response that a fetch under way is storing, read while it arrives; None if that cannot be."""
        now_ns = self._clock()
        following = self._following(flight) if flight.key == place.key else None
        if following is None:
            return None
        etag = decode(following.meta).etag
        # Only a strong tag tells that what an origin sends later goes with what it sent before.
        rest = None if etag is None or etag.startswith(b"W/") else self._rest_of(ctx, etag)
        body = FollowedBody(following, flight, rest=rest)
        response = self._lookup.followed(ctx, following, body, now_ns)
        if response is None:
            body.close()
        return response

    def _rest_of(self, ctx: Context, etag: bytes) -> Rest:
        """What fetches the rest of a body of that tag, for this request only."""

        async def rest(at: int) -> Stream | None:
            extra, drop = self._negotiation.asked(ctx.request.fields)
            lines = [] if extra is None else extra.items()
            lines += [(b"Range", b"bytes=%d-" % at), (b"If-Range", etag)]
            response = await self._fetch(ctx, Fields.of(lines), (*_CLIENTS_OWN, *drop), b"GET")
            body, fields = response.body, response.fields
            same = fields.get(b"etag") == etag and hasattr(body, "read")
            if same and response.status == 200:
                return StreamRange(cast(Stream, body), at, MAX_BODY_BYTES)
            begins = b"bytes %d-" % at
            if same and response.status == 206 and (fields.get(b"content-range") or b"").startswith(begins):
                return cast(Stream, body)
            give_back(body)
            return None

        return rest

    def _following(self, flight: Flight) -> Following | None:
        if flight.ticket is None:
            return None
        return self._cache.follow(flight.key, flight.ticket, self._clock())

    async def _fly(self, ctx: Context, place: Place, flight: Flight) -> None:
        """Lead a flight to its end, whatever becomes of the client."""
        try:
            obtained = await self._obtain(ctx, place, whole=True)
            filling = self._keep(ctx, obtained)
            if filling is None:
                self._flights.land(flight, self._ending(ctx, obtained))
                self._answer_leader(ctx, flight, obtained.response)
            else:
                if obtained.plan is not None and not obtained.plan.is_shareable:
                    self._flights.land(flight, NOT_STORABLE)
                tee = self._start_tee(ctx, obtained.response, flight)
                await self._pump(ctx, obtained, filling, tee, flight)
        except EdgeError as error:
            self._flights.land(flight, FAILED, error)
            flight.fail(error)
        except CancelledError:
            # The worker stops, the origin did nothing wrong: let another worker take over.
            self._abandon(flight, _broken_off(CancelledError()), OWNER_DIED)
            raise
        except Exception as error:
            self._abandon(flight, error)
            if flight.client_left:
                raise  # nobody else would hear of it

    def _abandon(self, flight: Flight, error: Exception, ending: int = FAILED) -> None:
        self._flights.land(flight, ending, _broken_off(error))
        flight.fail(error)

    # One exchange with the origin

    async def _obtain(self, ctx: Context, place: Place, *, whole: bool) -> _Obtained:
        """Ask the origin, validating what is stored; decide at the header section what is to be kept.

        `whole`: ask without the client's own conditions and ranges, so that what comes suits everybody.
        """
        stored = place.stored
        stale = self._stale_if_error(ctx, place)
        try:
            response, arrival = await self._ask(ctx, stored, whole=whole)
            if response.status == 304 and stored is not None:
                if selects(response.fields, stored.etag, stored.last_modified) and not varies_further(
                    Fields.trusted(stored.block), response.fields
                ):
                    return self._freshen(ctx, place, stored, response, arrival)
                response, arrival = await self._ask(ctx, None, whole=whole)
        except EdgeError as error:
            if stale is None or error.side is not Side.ORIGIN:
                raise
            return _Obtained(self._answer_stale(ctx, place, stale), None, FAILED)
        if stale is not None and response.status in _FAILURES:
            give_back(response.body)
            return _Obtained(self._answer_stale(ctx, place, stale), None, FAILED)
        return self._weigh(ctx, place, response, arrival)

    def _weigh(self, ctx: Context, place: Place, response: Response, arrival: Arrival) -> _Obtained:
        """Decide what is to be kept of the origin's answer."""
        plan = self._store.plan(ctx, response.status, response.fields, response.length, arrival)
        self._filter(ctx, response)
        if isinstance(plan, NotStorable):
            ctx.not_storable = plan
            self._remember(place, response.status, plan)
            return _Obtained(response, None, NOT_STORABLE)
        ctx.ttl_s = plan.deadlines.fresh_s
        return _Obtained(response, plan, PUBLISHED)

    async def _ask(self, ctx: Context, stored: Stored | None, *, whole: bool) -> tuple[Response, Arrival]:
        request = ctx.request
        fields = request.fields
        mask = fields.mask
        drop: tuple[bytes, ...] = _CLIENTS_OWN if whole and mask & _ASKS_FOR_LESS else ()
        adapted, dropped = self._negotiation.asked(fields)
        drop += dropped
        extra = adapted.items() if adapted is not None else []
        if stored is not None:
            extra += validation_fields(stored.etag, stored.last_modified)
        generation, asked_ns = self._cache.generation(), self._clock()
        response = await self._fetch(
            ctx, Fields.of(extra) if extra else None, drop, None if request.method == b"GET" else b"GET"
        )
        return response, self._receive(response, generation, asked_ns)

    def _receive(self, response: Response, generation: int, asked_ns: int) -> Arrival:
        """Note when an answer came; give it a Date if it has none (RFC 9110 6.6.1)."""
        arrival = Arrival(asked_ns, self._clock(), self._wall(), generation)
        if b"date" not in response.fields:
            response.fields.append(b"Date", formatdate(arrival.received_s, usegmt=True).encode("ascii"))
        return arrival

    def _freshen(
        self, ctx: Context, place: Place, stored: Stored, not_modified: Response, arrival: Arrival
    ) -> _Obtained:
        """The stored response with the fields of the origin's 304, for the client and the cache (4.3.4)."""
        hit = place.hit
        assert hit is not None
        give_back(not_modified.body)
        own_control = not_modified.fields.joined(OWN_FIELD) or stored.own_control
        tags = tag_lines(not_modified.fields)
        self._filter(ctx, not_modified)
        fields = freshened(Fields.trusted(stored.block), not_modified.fields)
        _keep_own_control(fields, own_control)
        for name, value in tags:
            fields.append(name, value)
        ctx.outcome = Outcome.REVALIDATED
        ctx.age_s = 0
        plan = self._store.plan(ctx, stored.status, fields, hit.size, arrival)
        response = Response(stored.status, Fields.trusted(stored_block(fields)), hit.body, hit.size)
        response.settled = hit.flags & SETTLED != 0
        if isinstance(plan, NotStorable):
            ctx.not_storable = plan
            if plan not in OF_REQUEST:
                self._store.forget(place.key)
            return _Obtained(response, None, NOT_STORABLE)
        ctx.age_s, ctx.ttl_s = plan.age_s, plan.deadlines.fresh_s
        ctx.stored = self._store.freshen(place.key, ctx.key, plan, response, self._clock())
        return _Obtained(response, None, PUBLISHED if plan.is_shareable else NOT_STORABLE)

    def _filter(self, ctx: Context, response: Response) -> None:
        for store_filter in self._store_filters:
            store_filter(ctx, response)

    # What becomes of an answer

    def _keep(self, ctx: Context, obtained: _Obtained) -> Filling | None:
        """Store a whole body at once; the way into the segment of one that is still to come."""
        plan, response = obtained.plan, obtained.response
        if plan is None:
            return None
        body = response.body
        filling: Filling | None = None
        if body is None or isinstance(body, bytes):
            ctx.not_storable = self._store.put(ctx, plan, response, body or b"", self._clock())
        else:
            begun = self._store.begin(ctx, plan, response, self._clock())
            if isinstance(begun, NotStorable):
                ctx.not_storable = begun
            else:
                filling = begun
        ctx.stored = ctx.not_storable is None
        return filling

    def _ending(self, ctx: Context, obtained: _Obtained) -> int:
        """What to tell those who wait, when nothing is left to store."""
        if obtained.plan is None:
            return obtained.ending
        return PUBLISHED if ctx.stored and obtained.plan.is_shareable else NOT_STORABLE

    def _remember(self, place: Place, status: int, reason: NotStorable) -> None:
        """A key whose responses cannot be shared: nobody need wait for them.

        What is stored stays after a failure of the origin, and where only this request was the obstacle.
        """
        if place.hit is None and place.alone:
            self._store.renew_hit_for_miss(place.key, self._clock())
        elif place.hit is None or (reason not in OF_REQUEST and status < 500):
            self._store.mark_hit_for_miss(place.key, self._clock())

    def _stream(self, ctx: Context, obtained: _Obtained, filling: Filling, flight: Flight | None) -> Response:
        tee = Tee(obtained.response.length)
        response = _with_body(obtained.response, tee)
        self._spawn(self._pump(ctx, obtained, filling, tee, flight))
        return response

    def _start_tee(self, ctx: Context, response: Response, flight: Flight) -> Tee | None:
        """The leading client's end of a streamed body; None when it is gone or needs no body."""
        if flight.client_left:
            return None
        tee = Tee(response.length)
        mine = conditioned(ctx, _with_body(response, tee))
        flight.answer(mine)
        return None if mine.body is None else tee

    async def _pump(
        self, ctx: Context, obtained: _Obtained, filling: Filling, tee: Tee | None, flight: Flight | None
    ) -> None:
        """Carry a body from the origin into the segment and to the client, while one of them wants it."""
        source = cast(Stream, obtained.response.body)
        storing, size = True, 0
        share = _Sharing(obtained, filling, flight, self._clock)
        try:
            while piece := await source.read():
                at, size = size, size + len(piece)
                if flight is not None:
                    self._flights.renew(flight)
                if storing and not (filling.write(piece) and share(size)):
                    storing = False
                    too_large = size > self._max_bytes
                    self._refuse(ctx, flight, NotStorable.TOO_LARGE if too_large else filling.obstacle)
                if tee is not None and not (storing and self._reads_along(tee, flight, at)):
                    tee = tee if await tee.offer(piece, at) else None
                if tee is None and not storing:
                    return
            if storing:
                whole = obtained.response.length in (None, size)
                ctx.not_storable = filling.publish(self._clock()) if whole else NotStorable.INCOMPLETE
                ctx.stored = ctx.not_storable is None
            if flight is not None:
                self._flights.land(flight, PUBLISHED)
            if tee is not None:
                tee.end(source.trailers)
        except BaseException as error:
            failure = _broken_off(error)
            if flight is not None:
                self._flights.land(
                    flight, OWNER_DIED if isinstance(error, CancelledError) else FAILED, failure
                )
            if tee is not None:
                tee.fail(failure)
            if not isinstance(error, EdgeError):
                raise
        finally:
            filling.abort()
            source.close()

    def _reads_along(self, tee: Tee, flight: Flight | None, at: int) -> bool:
        """Does the leading client read from the segment, from `at` on, because others do?"""
        if flight is not None and flight.is_shared and not tee.is_following:
            following = self._following(flight)
            if following is not None:
                tee.follow(FollowedBody(following, flight, at))
        return tee.is_following

    def _refuse(self, ctx: Context, flight: Flight | None, reason: NotStorable) -> None:
        """The body proves too large for the cache, or there is no room: everyone goes alone."""
        ctx.not_storable = reason
        ctx.stored = False
        if flight is not None:
            self._store.mark_hit_for_miss(flight.key, self._clock())
            self._flights.land(flight, NOT_STORABLE)

    # What clients get

    def _answer_leader(self, ctx: Context, flight: Flight, response: Response) -> None:
        if flight.client_left:
            give_back(response.body)
        else:
            flight.answer(conditioned(ctx, response))

    def _answer_failure(self, ctx: Context, place: Place, flight: Flight) -> Response:
        """The fetch this request waited for failed: fail the same way, without asking the origin again."""
        stale = self._stale_if_error(ctx, place)
        if stale is not None:
            return self._answer_stale(ctx, place, stale)
        error = flight.error
        if error is None:
            raise EdgeError(502, Side.ORIGIN, Fault.UNAVAILABLE, "the fetch failed in another worker")
        raise EdgeError(error.status, error.side, error.fault, f"collapsed: {error.detail}")

    def _stale_if_error(self, ctx: Context, place: Place) -> Stored | None:
        """What may be served if the origin fails now (RFC 5861 4; the request may say): no-cache never."""
        hit, stored = place.hit, place.stored
        if hit is None or stored is None or hit.flags & NO_CACHE:
            return None
        window_ns = stored.stale_if_error_ns
        asked = self._rules.request_control(ctx.request.fields).stale_if_error
        if asked is not None and not hit.flags & MUST_REVALIDATE:
            window_ns = asked * SECOND_NS
        return stored if self._clock() < hit.fresh_until_ns + window_ns else None

    def _answer_stale(self, ctx: Context, place: Place, stored: Stored) -> Response:
        assert place.hit is not None
        return answer(ctx, place.hit, stored, Outcome.STALE, self._clock())


class _Sharing:
    """Decides when those who wait may read along, and tells them when there is more to read.

    At once where the body is known to be large, else when it proves large or slow: what is small is
    stored in less room, and read faster, when it is stored as a whole.
    """

    def __init__(
        self, obtained: _Obtained, filling: Filling, flight: Flight | None, clock: Callable[[], int]
    ) -> None:
        plan = obtained.plan
        may = flight is not None and plan is not None and plan.is_shareable and filling.key == flight.key
        self._flight = flight if may else None
        self._filling = filling
        self._large = (obtained.response.length or 0) >= _SHARE_BYTES
        self._clock = clock
        self._began_ns = clock()

    def __call__(self, size: int) -> bool:
        """After a write: `size` bytes are stored. False when that has ended the storing."""
        flight = self._flight
        if flight is None or flight.ticket is None:
            return True
        if flight.is_shared:
            flight.progress()
            return True
        if self._large or size >= _SHARE_BYTES or self._clock() - self._began_ns >= _SHARE_AFTER_NS:
            if not self._filling.share(flight.ticket):
                self._flight = None
                return self._filling.is_open
            flight.share()
        return True


def _keep_own_control(fields: Fields, value: bytes | None) -> None:
    """Give a stored response back the targeted field that it is stored without."""
    fields.remove(OWN_FIELD)
    if value is not None:
        fields.append(OWN_FIELD, value)


def _with_body(response: Response, body: Stream) -> Response:
    """The same answer, its body read through `body`."""
    other = Response(response.status, response.fields.copy(), body, response.length)
    other.settled = response.settled
    return other


def _broken_off(error: BaseException) -> EdgeError:
    """What clients are told of an error that ended their fetch."""
    if isinstance(error, EdgeError):
        return error
    if isinstance(error, CancelledError):
        return EdgeError(503, Side.EDGE, Fault.DRAINING, "the worker stopped")
    return EdgeError(500, Side.EDGE, Fault.INTERNAL, repr(error))
