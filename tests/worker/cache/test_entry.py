"""Stored metadata: what goes in comes out, and what must not be stored does not go in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.entry import (
    PREFIX,
    PREFIX_BYTES,
    DamagedEntry,
    Stored,
    VaryRecord,
    decode,
    decode_record,
    encode,
    encode_record,
    stored_block,
)
from worker.fields import Fields

I64 = st.integers(-(2**62), 2**62)


@given(
    st.builds(
        Stored,
        st.integers(200, 599),
        st.sampled_from((b"", b"A: b\r\n", b"A: b\r\nC: d\r\n" * 50)),
        I64,
        I64,
        st.none() | st.binary(max_size=100),
        st.none() | st.binary(max_size=100),
        st.integers(0, 2**62),
    )
)
def test_what_is_encoded_is_decoded(stored: Stored) -> None:
    meta = encode(stored)
    assert decode(meta) == stored
    birth_ns, status, length = PREFIX.unpack_from(meta)
    assert (birth_ns, status) == (stored.birth_ns, stored.status)
    assert meta[PREFIX_BYTES : PREFIX_BYTES + length] == stored.block


def test_the_block_is_kept_as_it_goes_on_the_wire_without_what_belongs_to_one_message() -> None:
    fields = Fields.of(
        [
            (b"Date", b"d"), (b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Content-Length", b"5"), (b"Age", b"3"), (b"Set-Cookie", b"a=b"),
            (b"Set-Cookie", b"c=d"), (b"Cache-Tag", b"t"), (b"Surrogate-Key", b"t"), (b"xkey", b"t"),
            (b"Edgecluster-Cache-Control", b"max-age=5"), (b"Cache-Status", b"up; hit"),
            (b"Proxy-Authenticate", b"Basic"), (b"Upgrade", b"h2c"),
            (b"Via", b"1.1 up"),
        ]
    )  # fmt: skip
    assert (
        stored_block(fields)
        == b"Date: d\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nCache-Status: up; hit\r\nVia: 1.1 up\r\n"
    )
    assert b"age" in fields


def test_marks() -> None:
    record = VaryRecord(b"12345678", 5, (b"accept-encoding", b"cookie"))
    assert decode_record(encode_record(record)) == record


WHOLE = encode(Stored(200, b"A: b\r\n", 1, 2, b'"a"', None, 3))


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        WHOLE[: PREFIX_BYTES - 1],
        WHOLE[: PREFIX_BYTES + 2],
        WHOLE[:-1],
        WHOLE + b"\0",
        encode(Stored(200, b"A: b", 1, 2)),
        encode(Stored(200, b"A: b\r\n\r\nC: d\r\n", 1, 2)),
        PREFIX.pack(1, 99, 0) + WHOLE[PREFIX_BYTES + 6 :],
        PREFIX.pack(1, 200, 3) + WHOLE[PREFIX_BYTES:],
        PREFIX.pack(1, 200, 0) + b"\x95\1\2\3\4\5",
        PREFIX.pack(1, 200, 0) + b"\x81\x90\1",
    ],
)
def test_what_was_never_encoded_is_damaged(meta: bytes) -> None:
    with pytest.raises(DamagedEntry):
        decode(meta)


def test_a_record_without_names_is_damaged() -> None:
    with pytest.raises(DamagedEntry):
        decode_record(b"12345678" + bytes(8))
