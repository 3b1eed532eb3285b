"""Metadata of stored responses as somebody left it in the segment: what is served from it holds together, and
what is damaged is dropped at the first look, as if it had never been there. What is read is written the same.
"""

import os

from shmcache.core import Segment
from tests.fuzz.take import Take
from worker.cache.entry import (
    ENCODING_ONLY,
    HIT_FOR_MISS,
    MUST_REVALIDATE,
    NO_CACHE,
    PREFIX,
    SETTLED,
    VARY,
    DamagedEntry,
    Stored,
    VaryRecord,
    decode,
    decode_record,
    encode,
    encode_record,
)
from worker.cache.key import variant_key
from worker.cache.lookup import Lookup, Place
from worker.cache.negotiation import Negotiation
from worker.context import Client, Context
from worker.fields import Fields
from worker.message import Request, Response
from worker.reasons import Outcome
from worker.settings import CacheSettings

NOW_NS = 1_000_000_000_000
SIZE = 4 << 20
BODY = b"hello"
CODINGS = ("br", "gzip")
BLOCK = b'Content-Type: text/plain\r\nETag: "a"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n'
STORED = Stored(200, BLOCK, NOW_NS - 5, NOW_NS - 3, b'"a"', b"Mon, 01 Jan 2024 00:00:00 GMT", 7, b"max-age=5")

# What stands under the primary key, what a client asks, and whether the deadline is over.
FLAGS = (0, SETTLED, NO_CACHE, MUST_REVALIDATE, HIT_FOR_MISS, VARY, VARY | ENCODING_ONLY)
ASKED: tuple[list[tuple[bytes, bytes]], ...] = (
    [], [(b"If-None-Match", b'"a"')], [(b"Range", b"bytes=1-2")], [(b"Cache-Control", b"max-stale")],
    [(b"Accept-Encoding", b"gzip")], [(b"If-Modified-Since", b"Mon, 01 Jan 2024 00:00:00 GMT")],
)  # fmt: skip

SEEDS = (
    b"\0\0\0" + encode(STORED),
    b"\1\1\0" + encode(Stored(404, b"", NOW_NS, NOW_NS)),
    b"\0\2\1" + encode(STORED),
    b"\2\0\0" + encode(STORED),
    b"\3\3\1" + encode(Stored(200, BLOCK, 0, 0, None, None, 2**62, None)),
    b"\5\0\0" + encode_record(VaryRecord(b"12345678", 5, (b"accept-encoding", b"cookie"))),
    b"\6\4\0" + encode_record(VaryRecord(b"12345678", 5, (b"accept-encoding",))),
    b"\4\0\0",
)
WORDS = (
    b"\r\n", b"\xc0", b"\x95", b"\xc4\x05", b"\xcf" + b"\xff" * 8, b"\xd3" + b"\xff" * 8,
    b"\xdf\xff\xff\xff\xff",
    b"\xd6\xff\0\0\0\1", b"\xa1x", PREFIX.pack(NOW_NS, 200, 0), PREFIX.pack(-(2**63), 65535, 2**32 - 1),
    b"\xc7\x0c\xff" + b"\xff" * 12, b"\x81\x90\xc0",
)  # fmt: skip


def _segment() -> Segment:
    fd = os.memfd_create("segment")
    os.ftruncate(fd, SIZE)
    made = Segment(fd, SIZE, create=True, boot_id=b"0" * 16)
    os.close(fd)
    made.join(0, NOW_NS)
    return made


cache = _segment().cache
lookup = Lookup(cache, CacheSettings(), CODINGS)
negotiation = Negotiation(CODINGS)
client = Client("192.0.2.1", 1, b"\xc0\0\2\1", "http://127.0.0.1:80")


def check(data: bytes) -> None:
    take = Take(data)
    flags, asked, is_stale = take.pick(FLAGS), Fields.of(take.pick(ASKED)), take.below(2)
    meta = take.rest()
    request = Request(b"GET", b"http", b"a", b"/", b"/", None, b"1.1", asked)
    ctx = Context(request, client, b"0" * 32, NOW_NS, 1_700_000_000.0)
    cache.purge_all()
    until_ns = NOW_NS - 1 if is_stale else NOW_NS + 10_000_000_000
    assert cache.put(
        b"http://a/", meta, BODY, now_ns=NOW_NS - 2, fresh_until_ns=until_ns,
        keep_until_ns=NOW_NS + 20_000_000_000, flags=flags,
    )  # fmt: skip
    if flags & VARY:
        _led_on(meta, ctx, flags)
    elif flags & HIT_FOR_MISS:
        assert lookup(ctx) is None and ctx.outcome is Outcome.MISS
    else:
        _is_served_or_dropped(meta, ctx)


def _is_served_or_dropped(meta: bytes, ctx: Context) -> None:
    """By the plain way or the weighed one: both see the same response."""
    response = lookup(ctx)
    try:
        stored = decode(meta)
    except DamagedEntry:
        stored = None
    if stored is not None:
        assert encode(decode(encode(stored))) == encode(stored)
    if response is None:
        assert ctx.outcome in (Outcome.MISS, Outcome.EXPIRED)
        assert isinstance(ctx.revalidate, Place) and ctx.revalidate.stored == stored
        if stored is None:
            assert ctx.outcome is Outcome.MISS and cache.get(ctx.key, NOW_NS) is None
        return
    _holds_together(meta, response)
    if stored is not None:
        assert response.status != stored.status or response.fields.encode() == stored.block


def _holds_together(meta: bytes, response: Response) -> None:
    """The plain way looks at no more than the prefix and the block, and takes them from there alone."""
    _, status, length = PREFIX.unpack_from(meta)
    assert response.status == status or (status == 200 and response.status in (206, 304, 416))
    if response.status == status:
        assert 200 <= status <= 599 and response.length == len(BODY)
        assert response.fields.encode() == meta[PREFIX.size : PREFIX.size + length]
        assert not length or response.fields.encode().endswith(b"\n")


def _led_on(meta: bytes, ctx: Context, flags: int) -> None:
    """A record leads to the variant that lies where it says, or is dropped."""
    try:
        record = decode_record(meta)
    except DamagedEntry:
        assert lookup(ctx) is None and ctx.outcome is Outcome.MISS and cache.get(b"http://a/", NOW_NS) is None
        return
    assert encode_record(record) == meta
    if record.flags != flags & (VARY | ENCODING_ONLY):
        return  # nobody writes such a record
    key = variant_key(b"http://a/", record.serial, record.names, ctx.request.fields, negotiation)
    cache.put(
        key, encode(STORED), BODY, now_ns=NOW_NS - 1, fresh_until_ns=NOW_NS + 1, keep_until_ns=NOW_NS + 1
    )
    place = lookup.find(ctx.request, b"http://a/", NOW_NS)
    assert place.varied and place.key == key and place.stored == STORED
