"""The keys of session tickets in OpenSSL's hands: which open, which seal, and what nobody has sealed."""

import os
import ssl
from pathlib import Path

import pytest
import trustme

from cluster.tickets import TicketKeys
from tests.support.tls_pair import client_context, write_pair
from worker.protocol.handshake import KEY_BYTES, RING_BYTES, RING_SLOTS, turn_ring
from worker.protocol.tls import make_context

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Pair:
    """A client and a server that shake hands in memory."""

    def __init__(self, folder: Path, version: ssl.TLSVersion) -> None:
        authority = trustme.CA()
        self.keys = TicketKeys(0)
        self.server = make_context(*write_pair(authority, folder))
        self.keys.put_into(self.server)
        self.client = client_context(authority)
        self.client.minimum_version = self.client.maximum_version = version

    def shake(self, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession, bool]:
        """The client's session, and whether the given one was resumed."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.server.wrap_bio(to_server, to_client, server_side=True)
        client = self.client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
        is_done = {client: False, server: False}
        while not all(is_done.values()):
            for side in is_done:
                try:
                    side.do_handshake()
                    is_done[side] = True
                except ssl.SSLWantReadError:
                    pass
        server.write(b"x")
        assert client.read(1) == b"x"
        assert client.session is not None
        return client.session, bool(client.session_reused)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(tmp_path, request.param)


def test_a_ticket_is_good_until_its_key_has_been_replaced_as_often_as_keys_are_kept(pair: Pair) -> None:
    session, _ = pair.shake()
    for _ in range(RING_SLOTS - 1):
        pair.keys.turn(0)
        assert pair.shake(session)[1]
    pair.keys.turn(0)
    assert not pair.shake(session)[1]


def test_who_comes_with_an_old_ticket_gets_a_new_one(pair: Pair) -> None:
    session, _ = pair.shake()
    for _ in range(3 * RING_SLOTS):
        pair.keys.turn(0)
        session, resumed = pair.shake(session)
        assert resumed


def test_a_key_is_replaced_at_its_age_and_not_before(pair: Pair) -> None:
    assert not pair.keys.turn_if_due(9_999_999_999, 10)
    assert pair.keys.turn_if_due(10_000_000_000, 10)
    assert not pair.keys.turn_if_due(19_999_999_999, 10)
    assert pair.keys.turn_if_due(60_000_000_000, 10)
    assert not pair.keys.turn_if_due(69_999_999_999, 10)


def test_a_ticket_with_the_name_of_a_key_and_other_secrets_is_no_error(pair: Pair) -> None:
    """What a worker sees that opens a ticket with the oldest key while it is overwritten."""
    name = os.urandom(16)
    turn_ring(name + os.urandom(KEY_BYTES - 16))
    session, _ = pair.shake()
    turn_ring(name + os.urandom(KEY_BYTES - 16))
    pair.keys._memory[8 : 8 + 2 * KEY_BYTES] = os.urandom(2 * KEY_BYTES)
    assert not pair.shake(session)[1]


def test_no_key_can_be_known_before_it_was_made() -> None:
    memory = TicketKeys(0)._memory
    keys = [memory[8 + slot * KEY_BYTES :][:KEY_BYTES] for slot in range(RING_SLOTS)]
    assert RING_BYTES == 8 + RING_SLOTS * KEY_BYTES
    assert len({*keys}) == RING_SLOTS
    assert not any(key.count(0) > 8 for key in keys)  # of 80 random bytes, not once in 10**9
