"""Stored metadata <-> bytes: what the segment keeps beside a body.

A hit reads a fixed prefix and one slice, the field block as it goes on the wire; what only
validation needs (validators, times) lies behind it in msgpack and is decoded when somebody asks.
Also the bits of the cache's flags byte, and the small marks that are not responses.
"""

import re
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

import msgpack

from worker.cache.key import SERIAL_BYTES
from worker.cache.tags import FIELDS as TAG_FIELDS
from worker.fields import Fields

# Bits of an entry's flags in the segment. The first two are marks: no response lies there.
VARY = 1  # names the fields that select a variant
HIT_FOR_MISS = 4  # lately not storable: requests need not wait for each other
NO_CACHE = 8  # every use must be validated, each request on its own (no-cache, or no lifetime)
MUST_REVALIDATE = 16  # a client's max-stale is not to be heeded (RFC 9111 4.2.4)
SETTLED = 32  # the content coding is chosen
ENCODING_ONLY = 64  # on a VARY mark: Accept-Encoding is the only field named
MARKS = VARY | HIT_FOR_MISS

# Of what this module writes; raised with every change, so that no warm restart misreads what lies there.
FORMAT = 2

SECOND_NS = 1_000_000_000

# birth: monotonic ns at which the age was 0; status; length of the field block
PREFIX = Struct("<qHI")
PREFIX_BYTES = PREFIX.size

# Never stored: fields of one hop (RFC 9110 7.6.1, RFC 9111 3.1), of one message's framing, Age, which is
# written anew for each answer, and what is meant for the edge alone.
_NOT_STORED = (
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info",
    b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"content-length",
    b"age", b"edgecluster-cache-control", *TAG_FIELDS,
)  # fmt: skip

# Members of Vary as origins send them, be they names of fields or not.
_NAMES = re.compile(rb"[^\x00-\x08\n-\x1f\x7fA-Z,]+(?:,[^\x00-\x08\n-\x1f\x7fA-Z,]+)*")


class DamagedEntry(ValueError):
    """Metadata that this module never wrote. The segment's checksums tell bytes that changed; this tells what
    somebody stored wrongly: it is dropped, and asked for anew."""


@dataclass(slots=True)
class Stored:
    """What is kept of one response beside its body."""

    status: int
    block: bytes  # `Name: value CRLF` lines
    birth_ns: int  # monotonic; received_ns minus the corrected initial age (RFC 9111 4.2.3)
    received_ns: int  # monotonic; when the response, or the 304 that freshened it, arrived
    etag: bytes | None = None
    last_modified: bytes | None = None
    stale_if_error_ns: int = 0  # past freshness
    own_control: bytes | None = None  # our targeted field (RFC 9213), for when a 304 leaves it out


def encode(stored: Stored) -> bytes:
    """The bytes of `stored`, at most a few bytes longer than its parts."""
    rest = (
        stored.received_ns, stored.etag, stored.last_modified, stored.stale_if_error_ns, stored.own_control,
    )  # fmt: skip
    return b"".join(
        (
            PREFIX.pack(stored.birth_ns, stored.status, len(stored.block)),
            stored.block,
            msgpack.packb(rest),
        )
    )


def decode(meta: bytes) -> Stored:
    """All of what `encode` was given. Raises DamagedEntry."""
    try:
        birth_ns, status, length = PREFIX.unpack_from(meta)
        end = PREFIX_BYTES + length
        block = meta[PREFIX_BYTES:end]
        len(Fields.trusted(block))  # which reads the lines
        received_ns, etag, last_modified, stale_if_error_ns, own_control = msgpack.unpackb(meta[end:])
    except (StructError, ValueError, TypeError) as error:
        raise DamagedEntry(f"stored metadata that cannot be read: {error}") from None
    if (
        not 200 <= status <= 599
        or type(received_ns) is not int
        or type(stale_if_error_ns) is not int
        or any(part is not None and type(part) is not bytes for part in (etag, last_modified, own_control))
    ):
        raise DamagedEntry("stored metadata that no response can have")
    return Stored(status, block, birth_ns, received_ns, etag, last_modified, stale_if_error_ns, own_control)


def stored_block(fields: Fields) -> bytes:
    """The lines worth keeping: not those of one hop or one message, not those Connection names."""
    kept = fields.copy()
    connection = fields.joined(b"connection")
    if connection is not None:
        kept.remove(*(name for part in connection.split(b",") if (name := part.strip().lower())))
    kept.remove(*_NOT_STORED)
    return kept.encode()


@dataclass(slots=True)
class VaryRecord:
    """Lies under the primary key of a response that has variants."""

    serial: bytes  # part of every variant key, so a new record never reaches an old one's variants
    generation: int  # of the cache's purges when the response was asked for that made it
    names: tuple[bytes, ...]  # lower-case, sorted

    @property
    def flags(self) -> int:
        return VARY | ENCODING_ONLY if self.names == (b"accept-encoding",) else VARY


def encode_record(record: VaryRecord) -> bytes:
    return record.serial + record.generation.to_bytes(8, "little") + b",".join(record.names)


def decode_record(meta: bytes) -> VaryRecord:
    """What `encode_record` was given. Raises DamagedEntry."""
    if not _NAMES.fullmatch(meta, SERIAL_BYTES + 8):
        raise DamagedEntry("a record of variants that names no field")
    generation = int.from_bytes(meta[SERIAL_BYTES : SERIAL_BYTES + 8], "little")
    return VaryRecord(meta[:SERIAL_BYTES], generation, tuple(meta[SERIAL_BYTES + 8 :].split(b",")))
