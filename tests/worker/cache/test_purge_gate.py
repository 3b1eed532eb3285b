"""PURGE requests: carried out for those on the list, refused to everyone else, never passed on."""

import json
from ipaddress import ip_network

import pytest

from tests.support.cache_room import Asked, CacheRoom, make_request, ok, read_body
from worker.cache.key import key_maker
from worker.cache.purge_gate import PurgeGate
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.observe.counters import PURGES
from worker.observe.purges import Purges
from worker.reasons import Block, Outcome
from worker.settings import CacheSettings, KeySettings, Network

ALLOWED: tuple[Network, ...] = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


async def handler(asked: Asked) -> Response:
    return ok(cache_control="max-age=60, stale-while-revalidate=9", vary="X")


def refuse(ctx: Context, status: int, block: Block) -> Response:
    assert block is Block.ACCESS
    return Response(status, Fields.of(), None, None)


def gate(room: CacheRoom, allowed: tuple[Network, ...] = ALLOWED) -> PurgeGate:
    return PurgeGate(
        allowed, room.segment.cache, key_maker(room.settings.key), refuse, Purges(room.segment.statistics)
    )


def asked(room: CacheRoom, path: str, method: bytes = b"PURGE", soft: bool = False) -> Context:
    ctx = room.context(make_request(path, [(b"Edgecluster-Soft-Purge", b"1")] if soft else [], method))
    room.lookup(ctx)  # as in the pipeline, it comes first
    return ctx


@pytest.mark.parametrize("soft", [False, True])
def test_a_purge_from_the_list_is_carried_out(soft: bool) -> None:
    with CacheRoom(handler) as room:
        room.ask("/a?b")
        room.clock.go(1)
        for found in (True, soft):
            ctx = asked(room, "/a?b", soft=soft)
            response = gate(room)(ctx)
            assert response is not None
            said = json.loads(room.run(read_body(response)))
            generation = room.segment.cache.generation()
            assert (response.status, said) == (200, {"purged": found, "soft": soft, "generation": generation})
            assert response.fields.get(b"cache-control") == b"no-store"
            assert (ctx.outcome, ctx.forward) == (Outcome.NONE, None)
        assert room.segment.statistics.total(PURGES) == 2
        assert room.outcome("/a?b") == ("stale" if soft else "miss")


def test_it_finds_the_key_that_the_route_makes() -> None:
    with CacheRoom(handler, CacheSettings(key=KeySettings(drop=(b"utm_*",), cookies=(b"lang",)))) as room:
        room.ask("/a?utm_a=1", [(b"Cookie", b"lang=de")])
        assert gate(room)(asked(room, "/a?utm_b=2")) is not None
        assert room.outcome("/a", [(b"Cookie", b"lang=de")]) == "miss"


def test_nobody_else_may() -> None:
    with CacheRoom(handler) as room:
        room.ask("/a")
        for allowed in ((), (ip_network("198.51.100.0/24"),)):
            response = gate(room, allowed)(asked(room, "/a"))
            assert response is not None
            assert response.status == 403
        assert room.outcome("/a") == "hit"


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"purge"])
def test_other_methods_pass(method: bytes) -> None:
    with CacheRoom(handler) as room:
        assert gate(room)(asked(room, "/a", method)) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("2001:db8::1%eth0", True),
        ("192.0.3.9", False),
        ("::1", False),
    ],
)
def test_who_is_on_the_list(address: str, allowed: bool) -> None:
    with CacheRoom(handler) as room:
        assert gate(room).is_allowed(address) is allowed
