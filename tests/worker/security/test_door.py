"""The door: whom it lets in by address alone, and what it counts."""

from collections.abc import Iterator
from ipaddress import ip_network
from time import monotonic_ns

import pytest

from shmcache.core import Segment
from tests.support.regions import open_segment
from worker.context import Client
from worker.networks import NetworkMap, SharedNetworks
from worker.reasons import TurnedAway
from worker.security.access import AccessGate
from worker.security.door import Door
from worker.security.lists import read_networks
from worker.settings import AccessSettings, Limits

SECOND = 10**9


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        segment.join(0, monotonic_ns())
        yield segment


def client(address: str, *, trusted: bool = False) -> Client:
    key = bytes(map(int, address.split("."))) if "." in address else address.encode()[:8]
    made = Client(address, 4711, key, "https://127.0.0.1:443")
    made.trusted = trusted
    return made


def door(
    segment: Segment,
    *,
    bans: SharedNetworks | None = None,
    access: AccessSettings | None = None,
    **limits: float,
) -> Door:
    gate = None if access is None else AccessGate(access, read_networks(access), lambda *_: None)  # type: ignore[arg-type,return-value]
    return Door(Limits(**limits), segment.presence, segment.buckets, bans=bans, access=gate)  # type: ignore[arg-type]


def test_of_one_address_so_many_connections_are_open_at_once(segment: Segment) -> None:
    edge = door(segment, connections_per_address=2)
    first, second, third = (client("192.0.2.7") for _ in range(3))
    assert [edge.enter(one, 0) for one in (first, second, third)] == [None, None, TurnedAway.CONNECTIONS]
    assert edge.enter(client("192.0.2.8"), 0) is None
    edge.leave(third)
    edge.leave(first)
    edge.leave(first)
    assert [edge.enter(client("192.0.2.7"), 0) for _ in range(2)] == [None, TurnedAway.CONNECTIONS]


def test_of_one_address_so_many_connections_come_in_a_time(segment: Segment) -> None:
    edge = door(segment, connection_rate=2.0, connection_burst=3)
    said = [edge.enter(client("192.0.2.7"), SECOND) for _ in range(4)]
    assert said == [None, None, None, TurnedAway.RATE]
    assert edge.enter(client("192.0.2.8"), SECOND) is None
    assert [edge.enter(client("192.0.2.7"), 2 * SECOND) for _ in range(3)] == [None, None, TurnedAway.RATE]


def test_the_banned_and_the_denied_do_not_come_in(segment: Segment) -> None:
    bans = SharedNetworks(16)
    edge = door(segment, bans=bans, access=AccessSettings(deny=(ip_network("198.51.100.0/24"),)))
    assert [edge.enter(client(address), 0) for address in ("192.0.2.7", "198.51.100.9")] == [
        None,
        TurnedAway.ACCESS,
    ]
    bans.publish(NetworkMap([(b"192.0.2.0/24", 1)]))
    assert edge.enter(client("192.0.2.7"), 0) is TurnedAway.BAN


def test_trusted_proxies_pass(segment: Segment) -> None:
    bans = SharedNetworks(16)
    bans.publish(NetworkMap([(b"192.0.2.0/24", 1)]))
    edge = door(segment, bans=bans, connections_per_address=1, connection_rate=1.0, connection_burst=1)
    assert [edge.enter(client("192.0.2.7", trusted=True), 0) for _ in range(3)] == [None] * 3
