"""Writing responses into the segment: under which key, with which deadlines, and what may not be kept.

Owns the two levels of Vary (a record under the primary key, the responses under variant keys), the tags,
and the marks for what is not storable. Knows nothing of waiting or of clients.

Tags are those of the response that carries them: a purge by tag leaves the variants without it, and the
record, which carries none, then leads to a miss. What does not lie under the bare URL also carries the URL's
own tag (`purge` tells why).
"""

from dataclasses import dataclass
from typing import TypedDict

from shmcache import core
from worker.cache.control import OWN_FIELD
from worker.cache.entry import (
    HIT_FOR_MISS,
    MUST_REVALIDATE,
    NO_CACHE,
    SECOND_NS,
    SETTLED,
    VARY,
    Stored,
    VaryRecord,
    decode_record,
    encode,
    encode_record,
    stored_block,
)
from worker.cache.freshness import Deadlines, date_of, initial_age
from worker.cache.key import new_serial, variant_key, vary_names
from worker.cache.negotiation import Negotiation
from worker.cache.rules import Rules
from worker.cache.storable import is_validatable, not_storable, refusal
from worker.cache.tags import tags_of, url_tag
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.reasons import NotStorable
from worker.settings import CacheSettings

_HIT_FOR_MISS_NS = 10 * SECOND_NS
_RENEW_NS = SECOND_NS  # how long after writing a mark it is not worth writing again
_RENEWED = 4096  # marks whose time of writing is remembered


@dataclass(slots=True)
class Arrival:
    """When a response was asked for and came."""

    asked_ns: int  # monotonic
    received_ns: int
    received_s: float  # wall clock, for HTTP dates
    generation: int  # of the cache's purges when it was asked for


@dataclass(slots=True)
class Plan:
    """How a storable response is to be kept."""

    arrival: Arrival
    age_s: int  # corrected initial age
    deadlines: Deadlines
    flags: int
    tags: tuple[bytes, ...]
    own_control: bytes | None  # our targeted field, which only we are to see

    @property
    def is_shareable(self) -> bool:
        """May requests that waited for the fetch use it?"""
        return not self.flags & NO_CACHE


@dataclass(slots=True)
class _Filed:
    """The key a response goes to, and the record that leads there (None: it lies under the primary key)."""

    key: bytes
    record: VaryRecord | None


class Store:
    """The writing side of one route's cache."""

    def __init__(self, cache: core.Cache, settings: CacheSettings, negotiation: Negotiation) -> None:
        self._cache = cache
        self._settings = settings
        self._rules = Rules(settings)
        self._negotiation = negotiation
        self._marked: dict[bytes, int] = {}  # when this worker wrote a mark

    def refusal(self, ctx: Context, status: int, fields: Fields) -> NotStorable | None:
        """What forbids outright to keep an answer to this GET; None: `plan` decides."""
        asked = ctx.request.fields
        rules = self._rules
        reason = refusal(asked, rules.request_control(asked), status, fields, rules.response_control(fields))
        return None if reason is NotStorable.SET_COOKIE and self._settings.drop_cookies else reason

    def plan(
        self, ctx: Context, status: int, fields: Fields, length: int | None, arrival: Arrival
    ) -> Plan | NotStorable:
        """How to keep an answer to this GET, or why not.

        Where the route drops cookies, takes Set-Cookie out of `fields` if that alone forbids storing.
        """
        rules, asked = self._rules, ctx.request.fields
        control = rules.response_control(fields)
        date_s = date_of(fields, arrival.received_s)
        lifetime_s = rules.lifetime(status, fields, control, date_s, arrival.received_s)
        asked_for = rules.request_control(asked)
        max_bytes = self._settings.max_object_bytes
        reason = not_storable(
            asked, asked_for, status, fields, control,
            lifetime_s=lifetime_s, length=length, max_bytes=max_bytes,
        )  # fmt: skip
        if reason is NotStorable.SET_COOKIE and self._settings.drop_cookies:
            bare = fields.copy()
            bare.remove(b"set-cookie")
            reason = not_storable(
                asked, asked_for, status, bare, control,
                lifetime_s=lifetime_s, length=length, max_bytes=max_bytes,
            )  # fmt: skip
            if reason is None:
                fields.remove(b"set-cookie")
        if reason is not None:
            return reason
        tags = tags_of(fields)
        if tags is None:
            return NotStorable.TOO_MANY_TAGS
        delay_s = (arrival.received_ns - arrival.asked_ns) / SECOND_NS
        age_s = initial_age(fields, delay_s=delay_s, date_s=date_s, received_s=arrival.received_s)
        deadlines = Deadlines.of(lifetime_s or 0, age_s, control, validatable=is_validatable(fields))
        flags = 0
        if control.no_cache or not (lifetime_s or deadlines.swr_s):
            flags |= NO_CACHE
        if control.forbids_stale:
            flags |= MUST_REVALIDATE
        return Plan(arrival, age_s, deadlines, flags, tags, fields.joined(OWN_FIELD))

    def put(
        self, ctx: Context, plan: Plan, response: Response, body: bytes, now_ns: int
    ) -> NotStorable | None:
        """Store a whole response; why not, when there is no room or it was purged while it was fetched."""
        filed = self._file(ctx, response.fields, plan.arrival, now_ns)
        if filed is None:
            return NotStorable.PURGED
        if not self._cache.put(
            filed.key, _meta(plan, response), body, now_ns=now_ns, born=plan.arrival.generation,
            **_until(plan), flags=_flags(plan, response), tags=_tags(filed.key, plan),
        ):  # fmt: skip
            return self._obstacle(filed, plan)
        self._note_record(ctx.key, filed, plan, now_ns)
        return None

    def begin(self, ctx: Context, plan: Plan, response: Response, now_ns: int) -> "Filling | NotStorable":
        """Start storing a response whose body comes piece by piece; why not, as for `put`."""
        filed = self._file(ctx, response.fields, plan.arrival, now_ns)
        if filed is None:
            return NotStorable.PURGED
        fill = self._cache.begin(
            filed.key, _meta(plan, response), response.length, now_ns=now_ns, born=plan.arrival.generation,
            **_until(plan), flags=_flags(plan, response), tags=_tags(filed.key, plan),
            max_bytes=self._settings.max_object_bytes,
        )  # fmt: skip
        return self._obstacle(filed, plan) if fill is None else Filling(self, ctx.key, filed, plan, fill)

    def _obstacle(self, filed: _Filed, plan: Plan) -> NotStorable:
        """Why the segment did not take what is to lie there."""
        purged = self._cache.purged_since(filed.key, plan.arrival.generation, _tags(filed.key, plan))
        return NotStorable.PURGED if purged else NotStorable.NO_ROOM

    def freshen(self, key: bytes, primary: bytes, plan: Plan, response: Response, now_ns: int) -> bool:
        """New fields and deadlines for a stored body (RFC 9111 4.3.4); False when it is gone.

        Its tags stay those it was stored with, unless the plan has any.
        """
        if not self._cache.freshen(
            key, _meta(plan, response), now_ns=now_ns, born=plan.arrival.generation,
            **_until(plan), flags=_flags(plan, response), tags=_tags(key, plan) if plan.tags else None,
        ):  # fmt: skip
            return False
        top = self._cache.get(primary, now_ns)
        if top is not None and top.flags & VARY:
            self._note_record(primary, _Filed(key, decode_record(top.meta)), plan, now_ns)
        return True

    def forget(self, key: bytes) -> None:
        """Remove what the origin no longer lets us keep."""
        self._cache.delete(key)

    def mark_hit_for_miss(self, key: bytes, now_ns: int) -> None:
        """Let requests for `key` go to the origin side by side for a while, in every worker.

        A storable answer to any of them replaces the mark.
        """
        until_ns = now_ns + _HIT_FOR_MISS_NS
        self._cache.put(
            key, b"", b"",
            now_ns=now_ns, fresh_until_ns=until_ns, keep_until_ns=until_ns, flags=HIT_FOR_MISS,
        )  # fmt: skip

    def renew_hit_for_miss(self, key: bytes, now_ns: int) -> None:
        """`mark_hit_for_miss` for a key that had its mark when the request came.

        Not written again within a second: what is left of its time hardly differs, and every write takes
        the lock of the key's stripe.
        """
        marked = self._marked
        if now_ns - marked.get(key, -_RENEW_NS) < _RENEW_NS:
            return
        if len(marked) >= _RENEWED:
            marked.clear()
        marked[key] = now_ns
        self.mark_hit_for_miss(key, now_ns)

    def _file(self, ctx: Context, fields: Fields, arrival: Arrival, now_ns: int) -> _Filed | None:
        """Where the response goes; None when it may have been purged since it was asked for.

        A record from after a purge may be younger than the request: nothing older belongs under it.

        The names of an existing record stay: a response is filed by all that any response of its target
        varied by, which is more than RFC 9111 4.1 asks but never mixes two variants.
        """
        names = set(vary_names(fields))
        top = self._cache.get(ctx.key, now_ns)
        record = decode_record(top.meta) if top is not None and top.flags & VARY else None
        if record is None and not names:
            return _Filed(ctx.key, None)
        if record is None or not names.issubset(record.names):
            names.update(() if record is None else record.names)
            record = VaryRecord(new_serial(), arrival.generation, tuple(sorted(names)))
        elif arrival.generation < record.generation:
            return None
        key = variant_key(ctx.key, record.serial, record.names, ctx.request.fields, self._negotiation)
        return _Filed(key, record)

    def _note_record(self, primary: bytes, filed: _Filed, plan: Plan, now_ns: int) -> None:
        """Write the record, after its variant so that it never leads to nothing, or lengthen its life."""
        if filed.record is None:
            return
        keep_until_ns = _until(plan)["keep_until_ns"]
        meta = encode_record(filed.record)
        top = self._cache.get(primary, now_ns)
        if top is not None and top.flags & VARY and top.meta == meta and top.fresh_until_ns >= keep_until_ns:
            return
        self._cache.put(
            primary, meta, b"", now_ns=now_ns, fresh_until_ns=keep_until_ns, keep_until_ns=keep_until_ns,
            flags=filed.record.flags, born=plan.arrival.generation,
            tags=(url_tag(primary),) if b"\0" in primary else (),
        )  # fmt: skip


class Filling:
    """A response on its way into the segment, visible only when whole."""

    def __init__(self, store: Store, primary: bytes, filed: _Filed, plan: Plan, fill: core.Fill) -> None:
        self._store = store
        self._primary = primary
        self._filed = filed
        self._plan = plan
        self._fill = fill
        self.write = fill.write
        self.abort = fill.abort
        self.share = fill.share

    @property
    def is_open(self) -> bool:
        """Can it still be written to?"""
        return self._fill.is_open

    @property
    def key(self) -> bytes:
        """Where it will lie."""
        return self._filed.key

    def publish(self, now_ns: int) -> NotStorable | None:
        """Make it visible; why not, when it was purged meanwhile or there is no room."""
        if not self._fill.publish():
            return self.obstacle
        self._store._note_record(self._primary, self._filed, self._plan, now_ns)
        return None

    @property
    def obstacle(self) -> NotStorable:
        """Why the segment does not take it any more."""
        return self._store._obstacle(self._filed, self._plan)


def _meta(plan: Plan, response: Response) -> bytes:
    fields = response.fields
    received_ns = plan.arrival.received_ns
    return encode(
        Stored(
            response.status,
            stored_block(fields),
            received_ns - plan.age_s * SECOND_NS,
            received_ns,
            fields.get(b"etag"),
            fields.get(b"last-modified"),
            plan.deadlines.sie_s * SECOND_NS,
            plan.own_control,
        )
    )


def _tags(key: bytes, plan: Plan) -> tuple[bytes, ...]:
    return (*plan.tags, url_tag(key)) if b"\0" in key else plan.tags


def _flags(plan: Plan, response: Response) -> int:
    return plan.flags | (SETTLED if response.settled else 0)


class _Until(TypedDict):
    fresh_until_ns: int
    keep_until_ns: int
    swr_ns: int
    sie_ns: int


def _until(plan: Plan) -> _Until:
    """The segment's deadlines (monotonic) and windows, ns."""
    deadlines, received_ns = plan.deadlines, plan.arrival.received_ns
    return {
        "fresh_until_ns": received_ns + deadlines.fresh_s * SECOND_NS,
        "keep_until_ns": received_ns + deadlines.keep_s * SECOND_NS,
        "swr_ns": deadlines.swr_s * SECOND_NS,
        "sie_ns": deadlines.sie_s * SECOND_NS,
    }
