"""The cache gate: answers from the segment what may be answered from there, and says why it could not.

A fresh hit costs one or two look-ups, one fixed prefix, one slice. Everything else (conditions and ranges,
then directives and stale answers) is weighed only when a bit says that it is there.
"""

import logging
from collections.abc import Sequence

from shmcache.core import FRESH, STALE_WHILE_REVALIDATE, Cache, Following, Hit
from worker.cache.byte_range import ranged
from worker.cache.collapse import give_back
from worker.cache.control import RequestControl
from worker.cache.entry import (
    ENCODING_ONLY,
    HIT_FOR_MISS,
    MARKS,
    MUST_REVALIDATE,
    NO_CACHE,
    PREFIX,
    SECOND_NS,
    SETTLED,
    VARY,
    DamagedEntry,
    Stored,
    decode,
    decode_record,
)
from worker.cache.key import SERIAL_BYTES, KeyMaker, cache_key, encoding_variant_key, variant_key
from worker.cache.negotiation import Negotiation
from worker.cache.plain_hit import plain_hit
from worker.cache.rules import Rules
from worker.cache.validate import is_not_modified, not_modified_fields
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import (
    CACHE_CONTROL,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    RANGE,
    UPGRADE,
    FieldError,
    Fields,
)
from worker.message import Body, Request, Response, Stream
from worker.reasons import Fault, Forward, NotStorable, Outcome, Side
from worker.settings import CacheSettings
from worker.upgrade import let_through

log = logging.getLogger("edgecluster.cache")

CONDITIONAL = IF_NONE_MATCH | IF_MODIFIED_SINCE
_OF_THE_ANSWER = CONDITIONAL | RANGE  # whatever response is used, they choose what is told of it
_FOR_THE_ORIGIN = IF_MATCH | IF_UNMODIFIED_SINCE  # not applicable to a cache (RFC 9111 4.3.2)
_NO_PLAIN_HIT = MARKS | NO_CACHE
_WEIGHED = _FOR_THE_ORIGIN | CACHE_CONTROL | PRAGMA | UPGRADE


class Place:
    """Where a request's response lies or would lie, and what was found there."""

    __slots__ = ("alone", "hit", "key", "stored", "varied")

    def __init__(
        self, key: bytes, hit: Hit | None, stored: Stored | None, *, alone: bool, varied: bool
    ) -> None:
        self.key = key  # the primary key, or the variant key once the variants' record is known
        self.hit = hit  # a response, never a mark
        self.stored = stored  # what `hit` tells; None without one
        self.alone = alone  # its requests gain nothing by waiting for each other
        self.varied = varied


class Lookup:
    """The gate of one route. `codings` are those it serves, best first; `key` makes its primary keys."""

    def __init__(
        self, cache: Cache, settings: CacheSettings, codings: Sequence[str], key: KeyMaker = cache_key
    ) -> None:
        self._get = cache.get
        self._delete = cache.delete
        self._enabled = settings.enabled
        self._rules = Rules(settings)
        self._key = key
        self._negotiation = Negotiation(codings, settings.languages)
        self._codings = self._negotiation.codings

    def __call__(self, ctx: Context) -> Response | None:
        """A stored response if one may be used, else None with ctx told why.

        Sets ctx.key, outcome, forward, age_s, ttl_s, refresh, and ctx.revalidate to the Place found.
        Raises EdgeError 504 for only-if-cached (RFC 9111 5.2.1.7).
        """
        request = ctx.request
        method = request.method
        if method != b"GET" and method != b"HEAD":
            return _bypass(ctx, Forward.METHOD)
        if not self._enabled:
            return _bypass(ctx, Forward.BYPASS)
        if request.body is not None:  # a body may change the answer, and is no part of the key
            return _bypass(ctx, Forward.REQUEST)
        key = ctx.key = self._key(request, ctx.client)
        now_ns = ctx.now_ns
        fields = request.fields
        hit = self._get(key, now_ns)
        if hit is not None and hit.flags & ENCODING_ONLY:
            reduced = self._codings.reduce(fields)
            hit = self._get(encoding_variant_key(key, hit.meta[:SERIAL_BYTES], reduced), now_ns)
        mask = fields.mask
        if hit is None or hit.verdict != FRESH or mask & _WEIGHED:
            return self._weigh(ctx, self.find(request, key, now_ns))
        if hit.flags & _NO_PLAIN_HIT:
            return self._weigh(ctx, self.find(request, key, now_ns))
        try:
            response = plain_hit(ctx, hit, method == b"GET")
            return conditioned(ctx, response) if mask & _OF_THE_ANSWER else response
        except (DamagedEntry, FieldError):
            return self._weigh(ctx, self.find(request, key, now_ns))

    def find(self, request: Request, key: bytes, now_ns: int) -> Place:
        """Where the response to `request` lies; `key` is its primary key. Drops what is damaged there."""
        hit = self._get(key, now_ns)
        varied = hit is not None and hit.flags & VARY != 0
        try:
            if hit is not None and varied:
                record = decode_record(hit.meta)
                key = variant_key(key, record.serial, record.names, request.fields, self._negotiation)
                hit = self._get(key, now_ns)
            if hit is None:
                return Place(key, None, None, alone=False, varied=varied)
            flags = hit.flags
            stored = None if flags & MARKS else decode(hit.meta)
        except DamagedEntry as error:
            log.error("%s is dropped from the cache: %s", key.decode("latin-1"), error)
            self._delete(key)
            return Place(key, None, None, alone=False, varied=False)
        alone = flags & (NO_CACHE | HIT_FOR_MISS) != 0
        return Place(key, hit if stored is not None else None, stored, alone=alone, varied=varied)

    def _weigh(self, ctx: Context, place: Place) -> Response | None:
        """Everything but a plain fresh hit."""
        fields = ctx.request.fields
        control = self._rules.request_control(fields)
        if fields.mask & _FOR_THE_ORIGIN or (ctx.request.upgrade and let_through(ctx)):
            return _bypass(ctx, Forward.REQUEST)
        hit, stored = place.hit, place.stored
        reason = Forward.VARY_MISS if place.varied else Forward.URI_MISS
        if hit is not None and stored is not None:
            refusal = _refusal(control, hit, ctx.now_ns)
            if refusal is None:
                return self._serve(ctx, place, hit, stored)
            reason = refusal
        if control.only_if_cached:
            raise EdgeError(504, Side.CLIENT, Fault.UNAVAILABLE, "only-if-cached, and nothing is stored")
        if control.no_store:
            ctx.not_storable = NotStorable.REQUEST_NO_STORE
            return _bypass(ctx, Forward.REQUEST)
        ctx.outcome = Outcome.MISS if hit is None else Outcome.EXPIRED
        ctx.forward = reason
        ctx.revalidate = place
        return None

    def _serve(self, ctx: Context, place: Place, hit: Hit, stored: Stored) -> Response:
        now_ns = ctx.now_ns
        outcome = Outcome.HIT
        if hit.verdict != FRESH:
            outcome = Outcome.STALE
            ctx.refresh = True
            ctx.revalidate = place
        return answer(ctx, hit, stored, outcome, now_ns)

    def shared(self, ctx: Context, place: Place, now_ns: int) -> Response | None:
        """What another request's fetch left at `place`, if this request may have it.

        A response that arrived after this request did is as new as its own fetch would have brought it
        (RFC 9111 4), whatever its lifetime; an older one must pass as any stored response.
        """
        hit, stored = place.hit, place.stored
        if hit is None or stored is None or place.alone:
            return None
        if stored.received_ns < ctx.started_ns:
            if _refusal(self._rules.request_control(ctx.request.fields), hit, now_ns) is not None:
                return None
            if hit.verdict != FRESH:
                ctx.refresh = True
                ctx.revalidate = place
                return answer(ctx, hit, stored, Outcome.STALE, now_ns)
        return answer(ctx, hit, stored, Outcome.UPDATING, now_ns)

    def followed(self, ctx: Context, following: Following, body: Stream, now_ns: int) -> Response | None:
        """The response that another request's fetch is still writing, if this request may have it.

        As `shared`; what began to arrive before this request did must be fresh, too.
        """
        stored = decode(following.meta)
        if stored.received_ns < ctx.started_ns and (
            following.verdict != FRESH
            or _refusal(self._rules.request_control(ctx.request.fields), following, now_ns) is not None
        ):
            return None
        return _answer(ctx, following, stored, Outcome.UPDATING, now_ns, body)


def answer(ctx: Context, hit: Hit, stored: Stored, outcome: Outcome, now_ns: int) -> Response:
    """The stored response for this request: 304 where its condition says so, without a body for HEAD."""
    return _answer(ctx, hit, stored, outcome, now_ns, hit.body if ctx.request.method == b"GET" else None)


def _answer(
    ctx: Context, hit: Hit | Following, stored: Stored, outcome: Outcome, now_ns: int, body: Body
) -> Response:
    ctx.outcome = outcome
    ctx.age_s = (now_ns - stored.birth_ns) // SECOND_NS
    ctx.ttl_s = (hit.fresh_until_ns - now_ns) // SECOND_NS
    response = Response(stored.status, Fields.trusted(stored.block), body, hit.size)
    response.settled = hit.flags & SETTLED != 0
    return conditioned(ctx, response)


def conditioned(ctx: Context, response: Response) -> Response:
    """`response`, or what the client asked for instead: 304 if it has it already, 206 for a part of it.

    In the order of RFC 9110 13.2.2, and for a 200 only (13.2.1). Gives the body back when it is not needed.
    """
    request_fields = ctx.request.fields
    mask = request_fields.mask
    if not mask & _OF_THE_ANSWER or response.status != 200:
        return response
    fields = response.fields
    if not mask & CONDITIONAL or not is_not_modified(request_fields, fields, ctx.now_s):
        return ranged(request_fields, response, ctx.now_s) if mask & RANGE else response
    give_back(response.body)
    # No Content-Length (RFC 9110 15.4.5): some clients would wait for as many bytes.
    not_modified = Response(304, not_modified_fields(fields), None, None)
    not_modified.settled = True
    return not_modified


def _refusal(control: RequestControl, hit: Hit | Following, now_ns: int) -> Forward | None:
    """Why a stored response may not be used for a request without asking the origin; None if it may.

    Request directives: RFC 9111 5.2.1; stale responses: 4.2.4 and RFC 5861.
    """
    if hit.flags & NO_CACHE:
        return Forward.STALE
    asked_for = Forward.REQUEST if hit.verdict == FRESH else Forward.STALE  # RFC 9211 2.2
    if control.no_cache:
        return asked_for
    age_s = (now_ns - PREFIX.unpack_from(hit.meta)[0]) // SECOND_NS
    if control.max_age is not None and age_s > control.max_age:
        return asked_for
    ttl_ns = hit.fresh_until_ns - now_ns
    if control.min_fresh is not None and ttl_ns < control.min_fresh * SECOND_NS:
        return asked_for
    if hit.verdict == FRESH:
        return None
    if control.max_stale is not None:
        accepted = -ttl_ns <= control.max_stale * SECOND_NS and not hit.flags & MUST_REVALIDATE
        return None if accepted else Forward.STALE
    if hit.verdict == STALE_WHILE_REVALIDATE and control.max_age is None:
        return None
    return Forward.STALE


def _bypass(ctx: Context, reason: Forward) -> Response | None:
    """No answer from here: the request goes to the origin and its answer to this client only."""
    ctx.outcome = Outcome.BYPASS
    ctx.forward = reason
    return None
