"""Connection IDs, Retry tokens and reset tokens: what one worker gives out, all can read."""

import pytest

from worker.protocol.quic.identity import (
    CID_BYTES,
    RETRY_LIFETIME_S,
    BadToken,
    Identity,
    Owner,
)

SECRET = bytes(32)
HERE = Identity(3, 7, SECRET)
ELSEWHERE = Identity(0, 9, SECRET)
STRANGER = Identity(3, 7, bytes(31) + b"\1")
PEER = ("192.0.2.1", 40_000)
ORIGINAL, RETRIED = b"what a client makes", bytes(8)


def test_an_id_names_its_worker_to_every_worker() -> None:
    cid = HERE.new_connection_id()
    assert len(cid) == CID_BYTES and cid[:2] == bytes((3, 7))
    assert HERE.owner_of(cid) == ELSEWHERE.owner_of(cid) == Owner(3, 7)


def test_no_two_ids_are_the_same() -> None:
    assert len({HERE.new_connection_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("cid", [b"", b"\3\7", bytes(8), bytes(9), b"\3\7abcdef", bytes(20)])
def test_what_a_client_made_up_names_nobody(cid: bytes) -> None:
    assert HERE.owner_of(cid) is None


def test_an_id_of_another_secret_names_nobody() -> None:
    assert HERE.owner_of(STRANGER.new_connection_id()) is None


def test_a_reset_token_belongs_to_the_id_and_to_the_secret() -> None:
    one, other = HERE.new_connection_id(), HERE.new_connection_id()
    assert len(HERE.reset_token(one)) == 16
    assert HERE.reset_token(one) == ELSEWHERE.reset_token(one)
    assert len({HERE.reset_token(one), HERE.reset_token(other), STRANGER.reset_token(one)}) == 3


@pytest.mark.parametrize("original", [b"", b"\0", ORIGINAL, bytes(20)])
@pytest.mark.parametrize("peer", [PEER, ("2001:db8::1", 1)])
def test_a_retry_token_gives_the_first_id_back_to_any_worker(original: bytes, peer: tuple[str, int]) -> None:
    token = HERE.retry_token(peer, original, RETRIED, 1000.0)
    assert ELSEWHERE.original_of(token, peer, RETRIED, 1000.0 + RETRY_LIFETIME_S - 0.1) == original


@pytest.mark.parametrize(
    ("peer", "cid", "now_s"),
    [
        (("192.0.2.2", 40_000), RETRIED, 1000.0),
        (("192.0.2.1", 40_001), RETRIED, 1000.0),
        (("2001:db8::1", 40_000), RETRIED, 1000.0),
        (PEER, bytes(7) + b"\1", 1000.0),
        (PEER, bytes(9), 1000.0),
        (PEER, RETRIED, 1000.0 + RETRY_LIFETIME_S + 0.1),
    ],
)
def test_a_retry_token_counts_only_there_and_then(peer: tuple[str, int], cid: bytes, now_s: float) -> None:
    token = HERE.retry_token(PEER, ORIGINAL, RETRIED, 1000.0)
    with pytest.raises(BadToken):
        HERE.original_of(token, peer, cid, now_s)


def test_every_changed_bit_of_a_retry_token_is_noticed() -> None:
    token = HERE.retry_token(PEER, ORIGINAL, RETRIED, 1000.0)
    for at in range(4 * 8, len(token) * 8):
        changed = bytearray(token)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(BadToken):
            HERE.original_of(bytes(changed), PEER, RETRIED, 1000.0)


def test_a_retry_token_of_another_secret_is_refused() -> None:
    with pytest.raises(BadToken):
        HERE.original_of(STRANGER.retry_token(PEER, ORIGINAL, RETRIED, 0.0), PEER, RETRIED, 0.0)


@pytest.mark.parametrize("token", [b"", b"\x8eRT1", b"what another server gave out" * 3])
def test_a_token_that_is_none_of_ours_counts_as_none(token: bytes) -> None:
    assert HERE.original_of(token, PEER, RETRIED, 0.0) is None
