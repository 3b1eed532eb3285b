"""The cache against a plain dictionary: generated operations with a clock of their own.

The segment is large enough to keep everything, so the two must agree exactly. Tag slots could collide
(one of 16,384 each); that would be a miss too many and as rare as it sounds.
"""

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shmcache import Fill
from shmcache.core import EXPIRED, FRESH, STALE_IF_ERROR, STALE_WHILE_REVALIDATE
from tests.support.segments import cache_segment, sealed, whole

KEYS = st.sampled_from([b"", b"a", b"b", b"ab", b"k" * 300])
SIZES = st.sampled_from([0, 1, 500, 5_000, 32_700, 33_000, 70_000, 200_000])
TAGS = st.lists(st.sampled_from([b"red", b"green", b"blue"]), max_size=3, unique=True).map(tuple)
TICK_NS = 10_000_000  # what stale windows are counted in
SPANS = st.integers(0, 50).map(lambda ticks: ticks * TICK_NS)


@dataclass
class Stored:
    """What the dictionary remembers of an entry."""

    body: bytes
    meta: bytes
    tags: tuple[bytes, ...]
    fresh_until_ns: int
    keep_until_ns: int
    swr_ns: int
    sie_ns: int
    flags: int

    def verdict(self, now_ns: int) -> int:
        stale_ns = now_ns - self.fresh_until_ns
        if stale_ns < 0:
            return FRESH
        if stale_ns < self.swr_ns:
            return STALE_WHILE_REVALIDATE
        return STALE_IF_ERROR if stale_ns < self.sie_ns else EXPIRED


@dataclass
class Filling:
    """A fill under way, and the purges that will keep it from being published."""

    fill: Fill
    key: bytes
    stored: Stored
    purged: bool = field(default=False)


class CacheAgainstDictionary(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.opened = cache_segment(16 << 20, stripes=2)
        self.segment = self.opened.__enter__()
        self.cache = self.segment.cache
        self.now_ns = 1_000
        self.version = 0
        self.model: dict[bytes, Stored] = {}
        self.filling: Filling | None = None

    def teardown(self) -> None:
        self.filling = None
        assert self.segment.audit() == []
        self.opened.__exit__(None, None, None)

    def make(self, size: int, fresh: int, keep: int, swr: int, sie: int, tags: tuple[bytes, ...]) -> Stored:
        self.version += 1
        return Stored(
            sealed(self.version, size), b"m%d" % self.version, tags,
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

    @rule(key=KEYS, size=SIZES, fresh=SPANS, keep=SPANS, swr=SPANS, sie=SPANS, tags=TAGS)
    def put(
        self, key: bytes, size: int, fresh: int, keep: int, swr: int, sie: int, tags: tuple[bytes, ...]
    ) -> None:
        stored = self.make(size, fresh, keep, swr, sie, tags)
        assert self.cache.put(key, stored.meta, stored.body, tags=tags, **self.dates(stored))
        self.model[key] = stored

    @precondition(lambda self: self.filling is None)
    @rule(key=KEYS, size=SIZES, announced=st.booleans(), fresh=SPANS, keep=SPANS, tags=TAGS)
    def begin(
        self, key: bytes, size: int, announced: bool, fresh: int, keep: int, tags: tuple[bytes, ...]
    ) -> None:
        stored = self.make(size, fresh, keep, 5 * TICK_NS, 5 * TICK_NS, tags)
        length = len(stored.body)
        fill = self.cache.begin(
            key,
            stored.meta,
            length if announced else None,
            tags=tags,
            born=self.cache.generation(),
            **self.dates(stored),
        )
        assert fill is not None
        half = length // 2
        assert fill.write(stored.body[:half]) and fill.write(memoryview(stored.body)[half:])
        self.filling = Filling(fill, key, stored)

    @precondition(lambda self: self.filling is not None)
    @rule()
    def publish(self) -> None:
        filling = self.filling
        assert filling is not None
        assert filling.fill.publish() == (not filling.purged)
        if not filling.purged:
            self.model[filling.key] = filling.stored
        self.filling = None

    @precondition(lambda self: self.filling is not None)
    @rule()
    def abort(self) -> None:
        assert self.filling is not None
        self.filling.fill.abort()
        self.filling = None

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        hit = self.cache.get(key, self.now_ns)
        stored = self.model.get(key)
        if stored is None or self.now_ns >= stored.keep_until_ns:
            assert hit is None
            return
        assert hit is not None
        assert (hit.meta, hit.size, whole(hit.body)) == (stored.meta, len(stored.body), stored.body)
        assert (hit.verdict, hit.flags) == (stored.verdict(self.now_ns), stored.flags)
        assert hit.fresh_until_ns == stored.fresh_until_ns

    @rule(key=KEYS, fresh=SPANS, keep=SPANS, longer=st.booleans())
    def freshen(self, key: bytes, fresh: int, keep: int, longer: bool) -> None:
        fresher = self.make(0, fresh, keep, 3 * TICK_NS, 7 * TICK_NS, ())
        stored = self.model.get(key)
        meta = fresher.meta * (400 if longer else 1)
        if self.cache.freshen(key, meta, **self.dates(fresher)):
            assert stored is not None
            self.model[key] = replace(fresher, body=stored.body, tags=stored.tags, meta=meta)
        elif stored is not None and self.now_ns < stored.keep_until_ns:
            assert 30_000 < len(stored.body) < 33_000 and longer, (
                "refused only when head and body no longer fit a chunk"
            )

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        stored = self.model.pop(key, None)
        found = self.cache.delete(key)
        if stored is not None and self.now_ns < stored.keep_until_ns:
            assert found
        if self.filling is not None and self.filling.key == key:
            self.filling.purged = True

    @rule(tag=st.sampled_from([b"red", b"green", b"blue", b"nobody's"]))
    def purge_tag(self, tag: bytes) -> None:
        assert self.cache.purge_tag(tag) == self.cache.generation()
        self.model = {key: stored for key, stored in self.model.items() if tag not in stored.tags}
        if self.filling is not None and tag in self.filling.stored.tags:
            self.filling.purged = True

    @rule()
    def purge_all(self) -> None:
        assert self.cache.purge_all() == self.cache.generation()
        self.model.clear()
        if self.filling is not None:
            self.filling.purged = True

    @rule(span=SPANS)
    def wait(self, span: int) -> None:
        self.now_ns += span

    @invariant()
    def is_sound(self) -> None:
        assert self.segment.audit() == []


CacheAgainstDictionary.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestCacheAgainstDictionary = CacheAgainstDictionary.TestCase
