"""The whole face of a segment against a plain model: two members, one fake clock, generated operations.

The segment is large enough to keep everything, and no two names share a purge mark in it, so that cache and
model agree but for what the model itself leaves open. MODEL_EXAMPLES and MODEL_STEPS make the run longer, as
scripts/soak-model does.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shmcache import Segment
from shmcache.core import (
    BROKEN,
    CLAIMED,
    FAILED,
    NOT_STORABLE,
    OWNER_DIED,
    PENDING,
    PUBLISHED,
    RUNNING,
    TOO_SLOW,
    UNKNOWN,
    USER_STATISTICS,
    WAIT,
    WHOLE,
)
from tests.support.cache_model import Bucket, CacheModel, Lease, Purge, Stored, Window
from tests.support.segments import sealed, whole
from tests.support.shared_memory import another_handle, directories, distinct_segment

HOST = b"https://h/"
LONG = HOST + b"a/" + b"d" * 500
ALL_KEYS = [b"", HOST, HOST + b"a/1", HOST + b"a/2?x=/y/", HOST + b"b", b"k" * 300, LONG]
ALL_PREFIXES = [b"", HOST, HOST + b"a/", HOST + b"a", HOST + b"a/2", HOST + b"b", b"k", b"zz", LONG[:490]]
ALL_TAGS = [b"red", b"green", b"blue"]
NOBODYS = b"nobody's"
RULE_BYTES = 480

KEYS = st.sampled_from([HOST + b"a/1"] * 8 + [b"k" * 300] * 4 + ALL_KEYS)  # a few are hot
SIZES = st.sampled_from([0, 1, 500, 5_000, 32_200, 33_000, 70_000, 200_000])
TAGS = st.lists(st.sampled_from(ALL_TAGS), max_size=3, unique=True).map(tuple)
TICK_NS = 10_000_000  # what stale windows are counted in
SPANS = st.integers(0, 50).map(lambda ticks: ticks * TICK_NS)
KEEPS = st.integers(0, 500).map(lambda ticks: ticks * TICK_NS)
WHO = st.integers(0, 1)
AGES = st.sampled_from([0, 0, 1, 2, 5])  # purges ago that the fetch began
SOFT = st.booleans()
ENDINGS = st.sampled_from([PUBLISHED, NOT_STORABLE, FAILED])
PICK = st.integers(0, 1_000)
KEPT = 4  # of each kind of thing that is held open

RATES = {b"fast": (7, 3), b"slow": (3 * TICK_NS, 5), b"odd": (12_345_679, 2)}
LIMITS = {b"fast": (1, 3), b"slow": (2, 10), b"odd": (3, 1)}


@dataclass(eq=False)
class Filling:
    """A fill, and what became of it."""

    who: int
    fill: Any
    key: bytes
    stored: Stored
    born: int
    announced: bool
    written: int = 0
    lease: Lease | None = None  # under which it is shared
    state: int = RUNNING

    @property
    def body(self) -> bytes:
        return self.stored.body[: self.written]


@dataclass(eq=False)
class Held:
    """Bytes of the segment that a member keeps."""

    who: int
    lent: Any
    body: bytes = b""
    of: Filling | None = None  # followed


class SegmentAgainstModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.opened = ExitStack()
        names = ALL_KEYS + ALL_PREFIXES
        segment, fd = self.opened.enter_context(
            distinct_segment(16 << 20, keys=names, tags=[*ALL_TAGS, NOBODYS], stripes=2)
        )
        self.handles: list[Segment] = [segment, self.opened.enter_context(another_handle(fd, 1))]
        self.now_ns = 5_000_000_000
        self.version = 0
        self.model = CacheModel()
        self.fillings: list[Filling] = []
        self.shared: list[Filling] = []
        self.held: list[Held] = []
        self.leases: dict[bytes, Lease] = {}
        self.ended: list[Lease] = []
        self.buckets = {key: Bucket(*rate) for key, rate in RATES.items()}
        self.windows = {key: Window(*limit) for key, limit in LIMITS.items()}
        self.added = 0
        self.totals = segment.statistics.totals()

    def teardown(self) -> None:
        if not hasattr(self, "opened"):
            return
        self.fillings.clear()
        self.shared.clear()
        for held in self.held:
            held.lent.release()
        assert self.handles[0].audit() == []
        self.opened.close()

    # --- what the rules share ---------------------------------------------------------------------------

    def make(self, size: int, fresh: int, keep: int, swr: int, sie: int, tags: tuple[bytes, ...]) -> Stored:
        self.version += 1
        return Stored(
            self.version, sealed(self.version, size), b"m%d" % self.version, tags,
            self.now_ns + fresh, self.now_ns + keep, swr, sie, self.version % 256,
        )  # fmt: skip

    def dates(self, stored: Stored) -> dict[str, int]:
        return {
            "now_ns": self.now_ns,
            "fresh_until_ns": stored.fresh_until_ns,
            "keep_until_ns": stored.keep_until_ns,
            "swr_ns": stored.swr_ns,
            "sie_ns": stored.sie_ns,
            "flags": stored.flags,
        }

    def born(self, age: int) -> int:
        return max(1, self.handles[0].cache.generation() - age)

    def note_stored(self, was_stored: bool, key: bytes, stored: Stored, born: int) -> None:
        """The model's side of publishing what was fetched since `born`."""
        if self.model.refuses(key, stored.tags, born):
            assert not was_stored, "a purge during the fetch wins"
        elif not was_stored:
            assert self.model.may_refuse(born)
        if was_stored:
            self.model.stored[key] = stored
            stored.softened = self.model.softened(key, stored.tags, born)

    def is_expired(self, stored: Stored) -> bool:
        return self.now_ns >= stored.keep_until_ns

    # --- storing and reading ----------------------------------------------------------------------------

    @rule(who=WHO, key=KEYS, size=SIZES, fresh=SPANS, keep=KEEPS, swr=SPANS, sie=SPANS, tags=TAGS, age=AGES)
    def put(
        self, who: int, key: bytes, size: int, fresh: int, keep: int, swr: int, sie: int,
        tags: tuple[bytes, ...], age: int,
    ) -> None:  # fmt: skip
        stored, born = self.make(size, fresh, keep, swr, sie, tags), self.born(age)
        cache = self.handles[who].cache
        done = cache.put(key, stored.meta, stored.body, tags=tags, born=born, **self.dates(stored))
        self.note_stored(done, key, stored, born)
        self.look_up(1 - who, key)

    @rule(who=WHO, key=KEYS)
    def get(self, who: int, key: bytes) -> None:
        self.look_up(who, key)

    def look_up(self, who: int, key: bytes) -> None:
        hit = self.handles[who].cache.get(key, self.now_ns)
        stored = self.model.stored.get(key)
        if stored is None or self.is_expired(stored):
            assert hit is None
            return
        assert hit is not None
        assert (hit.meta, hit.size, whole(hit.body)) == (stored.meta, len(stored.body), stored.body)
        assert hit.flags == stored.flags
        assert stored.may_be_fresh_until(hit.fresh_until_ns)
        assert hit.verdict == stored.verdict(self.now_ns, hit.fresh_until_ns)
        if hit.fresh_until_ns < stored.fresh_until_ns:
            stored.softened.settle(hit.fresh_until_ns)
        if not isinstance(hit.body, bytes) and len(self.held) < KEPT:
            self.held.append(Held(who, hit.body, stored.body))

    @precondition(lambda self: self.held)
    @rule(which=PICK)
    def give_back(self, which: int) -> None:
        held = self.held.pop(which % len(self.held))
        if held.of is None:
            assert b"".join(held.lent.views()) == held.body
        else:
            self.look_at(held)
        held.lent.release()

    @rule(who=WHO, key=KEYS, fresh=SPANS, keep=KEEPS, longer=st.booleans(), age=AGES)
    def freshen(self, who: int, key: bytes, fresh: int, keep: int, longer: bool, age: int) -> None:
        fresher, born = self.make(0, fresh, keep, 3 * TICK_NS, 7 * TICK_NS, ()), self.born(age)
        stored = self.model.stored.get(key)
        meta = fresher.meta * (400 if longer else 1)
        done = self.handles[who].cache.freshen(key, meta, born=born, **self.dates(fresher))
        if stored is None:
            assert not done
        elif done:
            assert not self.model.refuses(key, stored.tags, born)
            self.model.stored[key] = replace(
                fresher, name=stored.name, body=stored.body, tags=stored.tags, meta=meta,
                softened=self.model.softened(key, stored.tags, born),
            )  # fmt: skip
        elif not self.is_expired(stored) and not self.model.refuses(key, stored.tags, born):
            too_long = 30_000 < len(stored.body) < 33_000 and longer
            assert too_long or self.model.may_refuse(born)
        self.look_up(1 - who, key)

    # --- filling and following --------------------------------------------------------------------------

    @precondition(lambda self: len(self.fillings) < KEPT)
    @rule(
        who=WHO, key=KEYS, size=SIZES, announced=st.booleans(), fresh=SPANS, keep=KEEPS, tags=TAGS, age=AGES,
        shared=st.booleans(),
    )  # fmt: skip
    def begin(
        self, who: int, key: bytes, size: int, announced: bool, fresh: int, keep: int,
        tags: tuple[bytes, ...], age: int, shared: bool,
    ) -> None:  # fmt: skip
        stored, born = self.make(size, fresh, keep, 5 * TICK_NS, 5 * TICK_NS, tags), self.born(age)
        length = len(stored.body) if announced else None
        fill = self.handles[who].cache.begin(
            key, stored.meta, length, tags=tags, born=born, **self.dates(stored)
        )
        assert fill is not None
        filling = Filling(who, fill, key, stored, born, announced)
        self.fillings.append(filling)
        if shared:
            self.lease_to(who, key, 50 * TICK_NS)
            self.share_under(filling, self.leases[key])

    @precondition(lambda self: self.fillings)
    @rule(which=PICK)
    def write(self, which: int) -> None:
        filling = self.fillings[which % len(self.fillings)]
        size = len(filling.stored.body)
        piece = filling.stored.body[filling.written : filling.written + size // 3 + 1]
        if filling.fill.write(memoryview(piece)):
            filling.written += len(piece)
            assert filling.fill.filled == filling.written
        else:
            assert self.model.refuses(
                filling.key, filling.stored.tags, filling.born
            ) or self.model.may_refuse(filling.born)
            self.end(filling, BROKEN)

    @precondition(lambda self: self.fillings and self.leases)
    @rule(which=PICK, lease=PICK)
    def share(self, which: int, lease: int) -> None:
        self.share_under(
            self.fillings[which % len(self.fillings)], [*self.leases.values()][lease % len(self.leases)]
        )

    def share_under(self, filling: Filling, lease: Lease) -> None:
        purged = self.model.refuses(filling.key, filling.stored.tags, filling.born)
        if filling.fill.share(lease.ticket):
            assert lease.owner == filling.who and lease.ending == PENDING
            filling.lease, lease.note = lease, filling
            if filling not in self.shared:
                self.shared = [*self.shared[-KEPT:], filling]
        elif not filling.fill.write(b""):
            assert purged or self.model.may_refuse(filling.born)
            self.end(filling, BROKEN)
        else:
            assert lease.owner != filling.who or lease.ending != PENDING

    def end(self, filling: Filling, state: int) -> None:
        filling.state, filling.fill = state, None
        self.fillings.remove(filling)

    @precondition(lambda self: self.fillings)
    @rule(which=PICK)
    def publish(self, which: int) -> None:
        filling = self.fillings[which % len(self.fillings)]
        done = filling.fill.publish()
        if filling.announced and filling.written < len(filling.stored.body):
            assert not done
            self.end(filling, BROKEN)
            return
        filling.stored.body = filling.body
        self.note_stored(done, filling.key, filling.stored, filling.born)
        self.end(filling, WHOLE)
        self.look_up(1 - filling.who, filling.key)

    @precondition(lambda self: self.fillings)
    @rule(which=PICK, dropped=st.booleans())
    def abort(self, which: int, dropped: bool) -> None:
        filling = self.fillings[which % len(self.fillings)]
        if not dropped:
            filling.fill.abort()
            filling.fill.abort()
            assert not filling.fill.publish()
        self.end(filling, BROKEN)

    @precondition(lambda self: self.shared and len(self.held) < KEPT)
    @rule(who=WHO, which=PICK, key=KEYS, right=st.sampled_from([True, True, True, False]))
    def follow(self, who: int, which: int, key: bytes, right: bool) -> None:
        filling = self.shared[which % len(self.shared)]
        lease = filling.lease
        assert lease is not None
        key = filling.key if right else key
        following = self.handles[who].cache.follow(key, lease.ticket, self.now_ns)
        if key != filling.key or not lease.tells or lease.note is not filling:
            assert following is None or key == getattr(lease.note, "key", None)
            return
        stored = self.model.stored.get(key) if filling.state == WHOLE else filling.stored
        is_there = stored is not None and stored.name == filling.stored.name and filling.state != BROKEN
        purged = filling.state == RUNNING and self.model.refuses(key, filling.stored.tags, filling.born)
        if not is_there or purged:
            assert following is None
            return
        assert stored is not None
        if following is None:
            forgotten = self.model.may_refuse(filling.born) or lease.may_be_forgotten
            assert forgotten or (filling.state == WHOLE and self.is_expired(stored))
            return
        assert (following.meta, following.flags) == (stored.meta, stored.flags)
        assert following.size == (len(filling.stored.body) if filling.announced else None)
        softened = replace(
            stored, softened=self.model.softened(key, stored.tags, filling.born)
        ) if filling.state == RUNNING else stored  # fmt: skip
        assert softened.may_be_fresh_until(following.fresh_until_ns)
        assert following.verdict == stored.verdict(self.now_ns, following.fresh_until_ns)
        self.held.append(Held(who, following, of=filling))
        self.look_at(self.held[-1])

    def look_at(self, held: Held) -> None:
        filling = held.of
        assert filling is not None
        assert held.lent.look() == (filling.state, filling.written)
        assert b"".join(held.lent.views()) == filling.body

    # --- purging ----------------------------------------------------------------------------------------

    def note_purge(self, kind: str, mark: object, soft_ns: int, hits: Any) -> None:
        generation = self.handles[0].cache.generation()
        self.model.purge(Purge(generation, kind, mark, soft_ns, hits))

    @rule(who=WHO, key=KEYS, soft=SOFT)
    def delete(self, who: int, key: bytes, soft: bool) -> None:
        soft_ns = self.now_ns if soft else 0
        stored = self.model.stored.get(key)
        found = self.handles[who].cache.delete(key, soft_ns)
        assert found or stored is None or self.is_expired(stored)
        self.note_purge("key", ("key", key), soft_ns, lambda other, tags: other == key)

    @rule(who=WHO, tag=st.sampled_from([*ALL_TAGS, NOBODYS]), soft=SOFT)
    def purge_tag(self, who: int, tag: bytes, soft: bool) -> None:
        soft_ns = self.now_ns if soft else 0
        assert self.handles[who].cache.purge_tag(tag, soft_ns) == self.handles[1 - who].cache.generation()
        self.note_purge("tag", ("tag", tag), soft_ns, lambda key, tags: tag in tags)

    @rule(who=WHO, soft=SOFT)
    def purge_all(self, who: int, soft: bool) -> None:
        soft_ns = self.now_ns if soft else 0
        assert self.handles[who].cache.purge_all(soft_ns) == self.handles[1 - who].cache.generation()
        self.note_purge("everything", "everything", soft_ns, lambda key, tags: True)

    @rule(who=WHO, prefix=st.sampled_from(ALL_PREFIXES), soft=SOFT)
    def purge_prefix(self, who: int, prefix: bytes, soft: bool) -> None:
        soft_ns = self.now_ns if soft else 0
        assert (
            self.handles[who].cache.purge_prefix(prefix, soft_ns) == self.handles[1 - who].cache.generation()
        )
        kind, mark = "rule", ("prefix", prefix)
        if not prefix:
            kind, mark = "everything", "everything"
        elif prefix in directories(prefix):
            kind = "directory"
        elif len(prefix) > RULE_BYTES:
            kind = "sweep"
        self.note_purge(kind, mark, soft_ns, lambda key, tags: key.startswith(prefix))

    @rule(who=WHO, entries=st.sampled_from([0, 1, 100, 1_000, 10_000]))
    def crawl(self, who: int, entries: int) -> None:
        before = self.handles[who].statistics.core()["crawled"]
        assert 0 <= self.handles[who].cache.crawl(self.now_ns, entries) <= entries
        assert self.handles[who].statistics.core()["crawled"] == before + entries

    # --- leases -----------------------------------------------------------------------------------------

    @rule(who=WHO, key=KEYS, span=SPANS)
    def claim(self, who: int, key: bytes, span: int) -> None:
        self.lease_to(who, key, span)

    def lease_to(self, who: int, key: bytes, span: int) -> None:
        answer, ticket = self.handles[who].leases.claim(key, self.now_ns, span)
        lease = self.leases.get(key)
        if lease is not None and lease.is_running(self.now_ns):
            assert (answer, ticket) == (WAIT, lease.ticket)
            return
        assert answer == CLAIMED
        for other in [*self.leases.values(), *self.ended]:
            other.claims_since += 1
        if lease is not None:
            lease.ending = TOO_SLOW
            self.ended = [*self.ended[-KEPT:], lease]
        self.leases[key] = Lease(who, ticket, self.now_ns + span)

    @precondition(lambda self: self.leases or self.ended)
    @rule(who=WHO, which=PICK)
    def ask(self, who: int, which: int) -> None:
        leases = [*self.leases.values(), *self.ended]
        lease = leases[which % len(leases)]
        told = self.handles[who].leases.ending(lease.ticket, self.now_ns)
        assert told == lease.endings(self.now_ns) or (told == UNKNOWN and lease.may_be_forgotten)
        note = self.handles[who].leases.note(lease.ticket)
        if lease.note is None or not lease.tells:
            assert note is None
        else:
            assert note is not None or lease.may_be_forgotten

    @precondition(lambda self: self.leases)
    @rule(who=WHO, which=PICK, span=SPANS)
    def renew(self, who: int, which: int, span: int) -> None:
        lease = [*self.leases.values()][which % len(self.leases)]
        done = self.handles[who].leases.renew(lease.ticket, self.now_ns, span)
        assert done == (lease.owner == who and lease.is_running(self.now_ns))
        if done:
            lease.deadline_ns = max(lease.deadline_ns, self.now_ns + span)

    @precondition(lambda self: self.leases)
    @rule(who=WHO, which=PICK, note=st.integers(1, (1 << 64) - 1))
    def announce(self, who: int, which: int, note: int) -> None:
        """A note that leads nowhere: its numbers are beyond all entries."""
        key = [*self.leases][which % len(self.leases)]
        lease = self.leases[key]
        assert self.handles[who].leases.announce(lease.ticket, note | 0xFFFF0000) == (lease.owner == who)
        if lease.owner == who:
            lease.note = note
            assert self.handles[1 - who].leases.note(lease.ticket) == note | 0xFFFF0000
            assert self.handles[1 - who].cache.follow(key, lease.ticket, self.now_ns) is None

    @precondition(lambda self: self.leases)
    @rule(who=WHO, which=PICK, ending=ENDINGS)
    def release(self, who: int, which: int, ending: int) -> None:
        key = [*self.leases][which % len(self.leases)]
        lease = self.leases[key]
        self.handles[who].leases.release(lease.ticket, ending)
        if lease.owner == who:
            self.finish(key, ending)

    def finish(self, key: bytes, ending: int) -> None:
        lease = self.leases.pop(key)
        lease.ending = ending
        self.ended = [*self.ended[-KEPT:], lease]

    # --- rates and statistics ---------------------------------------------------------------------------

    @rule(who=WHO, key=st.sampled_from([*RATES]), cost=st.integers(1, 5))
    def take_token(self, who: int, key: bytes, cost: int) -> None:
        bucket = self.buckets[key]
        cost = min(cost, bucket.burst)
        wait_ns = self.handles[who].buckets.take(key, self.now_ns, bucket.interval_ns, bucket.burst, cost)
        assert wait_ns == bucket.wait_ns(self.now_ns, cost)
        if not wait_ns:
            bucket.take(self.now_ns, cost)

    @rule(who=WHO, key=st.sampled_from([*LIMITS]), cost=st.integers(1, 5))
    def take_of_window(self, who: int, key: bytes, cost: int) -> None:
        window = self.windows[key]
        cost = min(cost, window.limit)
        wait_ns = self.handles[who].windows.take(key, self.now_ns, window.window_s, window.limit, cost)
        assert (wait_ns == 0) == window.grants(self.now_ns, cost)
        if not wait_ns:
            self.windows[key] = window.take(self.now_ns, cost)
        else:
            assert window.grants(self.now_ns + wait_ns, cost)
            assert not window.grants(self.now_ns + wait_ns - 1, cost)

    @rule(who=WHO, amount=st.integers(0, 1 << 40))
    def count(self, who: int, amount: int) -> None:
        self.handles[who].statistics.add(USER_STATISTICS, amount)
        self.added += amount
        assert self.handles[1 - who].statistics.total(USER_STATISTICS) == self.added

    # --- time and death ---------------------------------------------------------------------------------

    @rule(span=SPANS)
    def wait(self, span: int) -> None:
        self.now_ns += span

    @rule()
    def reap(self) -> None:
        """The second member is gone, and another one comes in its place."""
        owned = [key for key, lease in self.leases.items() if lease.owner == 1]
        given = self.handles[0].reap(1)
        assert (given["leases"], given["skipped_stripes"]) == (len(owned), 0)
        for key in owned:
            self.finish(key, OWNER_DIED)
        self.handles[1].join(1, self.now_ns)
        for filling in [filling for filling in self.fillings if filling.who == 1]:
            self.end(filling, BROKEN)
        for held in [held for held in self.held if held.who == 1]:
            held.lent.release()
            self.held.remove(held)
        assert self.handles[0].reap(1)["pins"] == 0
        self.handles[1].join(1, self.now_ns)

    @invariant()
    def is_sound(self) -> None:
        assert self.handles[0].audit() == []
        totals = self.handles[1].statistics.totals()
        assert all(map(int.__ge__, totals, self.totals)), "a statistic went backwards"
        self.totals = totals


SegmentAgainstModel.TestCase.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")),
    stateful_step_count=int(os.environ.get("MODEL_STEPS", "40")),
    deadline=None,
)
TestSegmentAgainstModel = SegmentAgainstModel.TestCase
