"""What a datagram shows in the clear, and the answers that are made from that alone."""

import os

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from hypothesis import given
from hypothesis import strategies as st

from worker.protocol.quic import answers
from worker.protocol.quic.header import LongHeader, is_long, read_long

CLIENT, SERVER = b"\1\2\3", bytes(8)


def long_header(first: int, version: int, destination: bytes, source: bytes, rest: bytes = b"") -> bytes:
    cids = bytes((len(destination),)) + destination + bytes((len(source),)) + source
    return bytes((first,)) + version.to_bytes(4, "big") + cids + rest


TOKEN = b"t" * 100
INITIAL = long_header(0xC3, 1, SERVER, CLIENT, b"\x40\x64" + TOKEN + b"\x44\xd0" + bytes(1200))


def test_an_initial_is_read_with_its_token() -> None:
    assert read_long(INITIAL) == LongHeader(1, SERVER, CLIENT, True, TOKEN)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (long_header(0xC0, 1, b"", b"", b"\0"), LongHeader(1, b"", b"", True, b"")),
        (long_header(0xE0, 1, SERVER, CLIENT, b"rest"), LongHeader(1, SERVER, CLIENT, False, b"")),
        (long_header(0xD0, 1, SERVER, CLIENT), LongHeader(1, SERVER, CLIENT, False, b"")),
        # only what all versions share (RFC 8999): longer IDs, no fixed bit
        (
            long_header(0x80, 0xFACE, bytes(255), b"x" * 200),
            LongHeader(0xFACE, bytes(255), b"x" * 200, False, b""),
        ),
        (long_header(0xC0, 0, SERVER, CLIENT), LongHeader(0, SERVER, CLIENT, False, b"")),
    ],
)
def test_long_headers_are_read_as_far_as_they_can_be(data: bytes, expected: LongHeader) -> None:
    assert read_long(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\xc0\0\0\0\1\0",
        long_header(0x80, 1, SERVER, CLIENT, b"\0"),  # no fixed bit
        long_header(0xC0, 1, bytes(21), CLIENT, b"\0"),
        long_header(0xC0, 1, SERVER, bytes(21), b"\0"),
        long_header(0xC0, 1, SERVER, CLIENT),  # no length of a token
        long_header(0xC0, 1, SERVER, CLIENT, b"\x05abcd"),  # a token cut short
        long_header(0xC0, 1, SERVER, CLIENT, b"\xff"),
        long_header(0xC0, 1, SERVER, CLIENT)[:-1],
        b"\xc0\0\0\0\1\xff" + bytes(30),
    ],
)
def test_what_is_malformed_is_no_header(data: bytes) -> None:
    assert read_long(data) is None


@given(st.binary(max_size=80))
def test_random_bytes_are_read_or_refused_but_never_raise(data: bytes) -> None:
    read_long(data)


@pytest.mark.parametrize("cut", range(1, len(INITIAL), 7))
def test_an_initial_cut_anywhere_never_raises(cut: int) -> None:
    read_long(INITIAL[:cut])


def test_version_negotiation_turns_the_ids_round_and_names_version_1() -> None:
    packet = answers.version_negotiation(LongHeader(0xFACE, SERVER, CLIENT, False, b""))
    header = pull_quic_header(Buffer(data=packet))
    assert header.packet_type is QuicPacketType.VERSION_NEGOTIATION
    assert (header.destination_cid, header.source_cid) == (CLIENT, SERVER)
    first, grease = header.supported_versions
    assert first == 1 and grease & 0x0F0F0F0F == 0x0A0A0A0A


def test_version_negotiation_answers_ids_longer_than_version_1_allows() -> None:
    header = LongHeader(0xFACE, bytes(255), b"x" * 200, False, b"")
    assert read_long(answers.version_negotiation(header))[1:3] == (b"x" * 200, bytes(255))  # type: ignore[index]


@pytest.mark.parametrize("size", [*range(18, 60), 1200, 65000])
def test_a_stateless_reset_is_smaller_than_what_it_answers_and_looks_like_a_packet(size: int) -> None:
    token = os.urandom(16)
    packet = answers.stateless_reset(token, size)
    if size < 22:
        assert packet is None
        return
    assert packet is not None
    assert 21 <= len(packet) < size and packet.endswith(token)
    assert not is_long(packet) and packet[0] & 0x40


def test_two_who_know_nothing_stop_resetting_each_other() -> None:
    size, rounds = 1200, 0
    while (packet := answers.stateless_reset(bytes(16), size)) is not None:
        size, rounds = len(packet), rounds + 1
    assert rounds < 30


def test_a_retry_and_a_refusal_carry_the_clients_id() -> None:
    header = read_long(INITIAL)
    assert header is not None
    retry = pull_quic_header(Buffer(data=answers.retry(header, b"new id..", b"token")))
    assert (retry.packet_type, retry.destination_cid, retry.source_cid, retry.token) == (
        QuicPacketType.RETRY,
        CLIENT,
        b"new id..",
        b"token",
    )
    refusal = answers.refuse_token(header)
    assert len(refusal) < 100
    assert pull_quic_header(Buffer(data=refusal)).destination_cid == CLIENT
