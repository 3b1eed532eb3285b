"""Attacks by HTTP/2 on a running worker: bounded in memory and CPU, ended by the right code, felt by none.

The measure of CPU is what as many ordinary requests cost the same worker: a frame of an attack, or a pair of
them, must not cost more than a request that is served.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import pytest
from hpack import Decoder

from tests.support import h2_attacks as attacks
from tests.support import h2_raw as raw
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.h2_raw import Head, Raw, frame, get, window_update
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from tests.support.versions import Ends, ask_over
from worker.settings import Limits

MIB = 1024**2
GROWTH_BYTES = 16 * MIB
CONNECTIONS = 5  # one after the other: who is shown the door comes back
ORDINARY = 2000
PATIENCE_S = 30.0
# Counts are per second: low ones, so that a machine that is busy with other things sends that many in one.
LIMITS = Limits(send_timeout_s=2, body_timeout_s=2, header_timeout_s=2, resets=50, empty_frames=300)
LARGE = bytes(1000) * 1000

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE = 0, 1, 3, 5, 6
CANCEL, COMPRESSION, CALM = 8, 9, 11
INITIAL_WINDOW = 4
HELLO = raw.PREFACE + raw.settings((INITIAL_WINDOW, 2**31 - 1)) + window_update(0, 2**30)
NO_WINDOW = raw.PREFACE + raw.settings((INITIAL_WINDOW, 0)) + window_update(0, 2**30)
OTHER_CODES = {
    attacks.made_to_reset_by_empty_window_update: PROTOCOL_ERROR,
    attacks.made_to_reset_by_data_after_the_end: STREAM_CLOSED,
    attacks.made_to_reset_by_head_after_the_end: STREAM_CLOSED,
    attacks.made_to_reset_by_priority_of_a_wrong_size: FRAME_SIZE,
    attacks.settings_answers: PROTOCOL_ERROR,
}


def head(path: str, *fields: tuple[str, str], method: str = "GET") -> Head:
    pseudo = [(":method", method), (":scheme", "http"), (":authority", "edge.test"), (":path", path)]
    return [*pseudo, *fields]


HIT, MISS = head("/hit"), head("/miss")


class Victim:
    """An edge of one worker, and what that worker has used so far."""

    def __init__(self, edge: Cluster) -> None:
        self.edge = edge
        self.ends = Ends.of(edge.urls)
        (self.pid,) = edge.pids
        self.ordinary_ns: dict[str, float] = {}

    @property
    def cpu_ns(self) -> int:
        """Of all its threads."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats)

    @property
    def resident_bytes(self) -> int:
        size: int = psutil.Process(self.pid).memory_info().rss
        return size

    @property
    def is_alone(self) -> bool:
        """No client is connected."""
        return not any(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == self.ends.plain
            for one in psutil.Process(self.pid).net_connections("tcp")
        )

    @asynccontextmanager
    async def connect(self, hello: bytes = HELLO) -> AsyncIterator[Raw]:
        client = Raw(*await asyncio.open_connection("127.0.0.1", self.ends.plain))
        try:
            await client.send(hello)
            yield client
        finally:
            await client.end()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    def handler(request: Recorded) -> Step:
        lifetime = "no-store" if request.target.startswith("/miss") else "max-age=600"
        body = LARGE if request.target == "/large" else b"x" * 100
        return answer(body, headers=f"Cache-Control: {lifetime}")

    with ScriptedOrigin(handler) as origin:
        made = settings(tmp_path_factory.mktemp("edge"), origin=origin.url, workers=1)
        with Cluster(with_worker(made, http2_plain=True, limits=LIMITS)) as edge:
            victim = Victim(edge)
            for path in ("/hit", "/large", "/miss"):
                assert asyncio.run(ask_over("h1", victim.ends, path)).status == 200
            for fields in (HIT, MISS):
                asyncio.run(ordinary(victim, fields))
            yield victim
            assert edge.pids == [victim.pid]


async def ordinary(victim: Victim, fields: Head) -> None:
    """What a request costs that is served, by the attackers' own client: 50 at a time."""
    async with victim.connect() as client:
        before = victim.cpu_ns
        for start in range(0, ORDINARY, 50):
            streams = range(2 * start + 1, 2 * start + 101, 2)
            await client.send(b"".join(get(stream, fields=fields) for stream in streams))
            await until(lambda: len(client.of(raw.DATA)) == start + 50)  # noqa: B023
        victim.ordinary_ns[fields[3][1]] = (victim.cpu_ns - before) / ORDINARY


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (what comes from the edge sets no event)
            await asyncio.sleep(0.002)


async def others_are_served(victim: Victim) -> None:
    served = await ask_over("h2", victim.ends, "/hit")
    assert (served.status, len(served.body)) == (200, 100)


# Floods


@pytest.mark.parametrize("fields", [HIT, MISS], ids=["hits", "misses"])
@pytest.mark.parametrize("flood", attacks.FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_is_ended_for_less_than_its_requests_would_cost(
    victim: Victim, flood: attacks.Flood, fields: Head
) -> None:
    parts = list(flood(fields))

    async def attack() -> None:
        async with victim.connect() as client:
            for start in range(0, len(parts), 100):
                if client.goaway is not None or client.closed:
                    break
                await client.send(b"".join(parts[start : start + 100]))
                await asyncio.sleep(0)
            await until(lambda: client.goaway is not None)
            assert client.goaway == OTHER_CODES.get(flood, CALM)
            await others_are_served(victim)

    memory, cpu_ns = victim.resident_bytes, victim.cpu_ns
    for _ in range(CONNECTIONS):
        asyncio.run(attack())
    assert victim.cpu_ns - cpu_ns < CONNECTIONS * len(parts) * victim.ordinary_ns[fields[3][1]]
    assert victim.resident_bytes - memory < GROWTH_BYTES


# Holding on


def numbers(count: int) -> range:
    """The first so many streams."""
    return range(1, 2 * count, 2)


@asynccontextmanager
async def holding(victim: Victim, connections: int) -> AsyncIterator[list[Raw]]:
    """So many connections that have the head of a large hit on each of a hundred streams, and no window."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(victim.connect(NO_WINDOW)) for _ in range(connections)]
        for client in clients:
            await client.send(b"".join(get(stream, fields=head("/large")) for stream in numbers(100)))
        for client in clients:
            await until(lambda: len(client.of(raw.HEADERS)) == 100)  # noqa: B023
        yield clients


def test_a_large_hit_on_a_thousand_streams_without_a_window_is_not_held_in_memory(victim: Victim) -> None:
    async def attack() -> None:
        memory = victim.resident_bytes
        async with holding(victim, 10) as clients:
            assert victim.resident_bytes - memory < GROWTH_BYTES
            await others_are_served(victim)
            for client in clients:
                await until(lambda: len(client.of(raw.RST_STREAM)) == 100)  # noqa: B023
                assert {int.from_bytes(one[3], "big") for one in client.of(raw.RST_STREAM)} == {CANCEL}
                assert not client.of(raw.DATA)
        assert victim.resident_bytes - memory < GROWTH_BYTES

    asyncio.run(attack())


def test_a_byte_of_window_at_a_time_costs_less_than_requests(victim: Victim) -> None:
    rounds = 100

    async def attack() -> None:
        memory, cpu_ns = victim.resident_bytes, victim.cpu_ns
        async with holding(victim, 1) as (client,):
            for turn in range(rounds):
                await client.send(b"".join(window_update(stream, 1) for stream in numbers(100)))
                await until(lambda: len(client.of(raw.DATA)) == 100 * (turn + 1))  # noqa: B023
            assert {len(one[3]) for one in client.of(raw.DATA)} == {1}
            assert victim.cpu_ns - cpu_ns < 100 * (rounds + 1) * victim.ordinary_ns["/hit"]
            assert victim.resident_bytes - memory < GROWTH_BYTES
            assert client.goaway is None
            await others_are_served(victim)

    asyncio.run(attack())


def test_a_client_that_reads_nothing_is_held_in_little_memory_and_cut(victim: Victim) -> None:
    async def attack() -> None:
        memory = victim.resident_bytes
        parts = HELLO + b"".join(get(stream, fields=head("/large")) for stream in numbers(100))
        deaf = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", victim.ends.plain, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(parts)
            deaf.append((reader, writer))
        while not victim.is_alone:
            assert victim.resident_bytes - memory < GROWTH_BYTES
            await others_are_served(victim)
            await asyncio.sleep(0.1)
        for _, writer in deaf:
            writer.transport.abort()

    asyncio.run(attack())


@pytest.mark.parametrize("size", [0, 20_000], ids=["nothing", "bytes one by one"])
def test_bodies_that_do_not_come_are_answered_408(victim: Victim, size: int) -> None:
    """`size` bytes come in frames of one byte, over a hundred streams, and then no more."""
    fields = head("/miss/up", ("content-length", "1000000"), method="POST")

    async def attack() -> None:
        memory, cpu_ns = victim.resident_bytes, victim.cpu_ns
        async with victim.connect() as client:
            await client.send(b"".join(get(stream, end=False, fields=fields) for stream in numbers(100)))
            for _ in range(size // 100):
                await client.send(b"".join(frame(raw.DATA, 0, stream, b"x") for stream in numbers(100)))
            await others_are_served(victim)
            await until(lambda: len(client.of(raw.HEADERS)) == 100)
            assert {Decoder().decode(client.of(raw.HEADERS)[0][3])[0]} == {(":status", "408")}
            assert victim.resident_bytes - memory < GROWTH_BYTES
            # Each stream has had a connection to the origin made for it in vain.
            assert victim.cpu_ns - cpu_ns < (size + 100 * 20) * victim.ordinary_ns["/miss"]

    asyncio.run(attack())


def test_half_a_head_is_given_up(victim: Victim) -> None:
    async def attack() -> None:
        async with victim.connect() as client:
            await client.send(frame(raw.HEADERS, 0, 1, raw.head(HIT)))
            await until(lambda: client.goaway is not None)
            assert client.goaway == PROTOCOL_ERROR

    asyncio.run(attack())


# Header sections


def test_a_small_head_that_unpacks_to_a_large_one_is_not_unpacked(victim: Victim) -> None:
    """4 KB in the table, then as many references to it as a frame holds, one byte each: 60 MB."""
    entry = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"v" * 4000  # literal with indexing, a value of 4,000 bytes
    bomb = raw.head(HIT) + entry + b"\xbe" * (16384 - len(raw.head(HIT)) - len(entry))

    async def attack() -> None:
        async with victim.connect() as client:
            await client.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, bomb))
            await until(lambda: client.goaway is not None)
            assert client.goaway == CALM
            await others_are_served(victim)

    memory, cpu_ns = victim.resident_bytes, victim.cpu_ns
    for _ in range(20):
        asyncio.run(attack())
    # 16,000 fields unpacked would cost more than as many requests as there are fields in 32 of them.
    assert victim.cpu_ns - cpu_ns < 20 * 500 * victim.ordinary_ns["/hit"]
    assert victim.resident_bytes - memory < GROWTH_BYTES


def test_a_head_above_the_limit_is_answered_431_on_a_connection_that_goes_on(victim: Victim) -> None:
    large = [("x", "v" * 4000)] * 20

    async def attack() -> None:
        async with victim.connect() as client:
            block = raw.head([*HIT, *large])
            pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
            await client.send(frame(raw.HEADERS, raw.END_STREAM, 1, pieces[0]))
            for piece in pieces[1:]:
                last = piece is pieces[-1]
                await client.send(frame(raw.CONTINUATION, raw.END_HEADERS if last else 0, 1, piece))
            await client.send(get(3, fields=HIT))
            await until(lambda: len(client.of(raw.HEADERS)) == 2)
            decoder = Decoder()
            statuses = [decoder.decode(one[3])[0][1] for one in client.of(raw.HEADERS)]
            assert statuses == ["431", "200"]
            assert client.goaway is None

    asyncio.run(attack())


# Single frames that break the connection's rules

BREACHES = [
    pytest.param(window_update(0, 2**31 - 1), FLOW_CONTROL, id="the connection's window overflows"),
    pytest.param(
        get(1, end=False, fields=HIT) + raw.settings((INITIAL_WINDOW, 2**31 - 1)) + window_update(1, 1)
        + raw.settings((INITIAL_WINDOW, 2**31 - 1)),
        None, id="a stream's window overflows",
    ),
    pytest.param(raw.settings((INITIAL_WINDOW, 2**31)), FLOW_CONTROL, id="an initial window too large"),
    pytest.param(frame(raw.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), COMPRESSION, id="no header block"),
    pytest.param(frame(raw.DATA, 0, 0, b"x"), PROTOCOL_ERROR, id="data on stream 0"),
    pytest.param(frame(raw.PING, 0, 0, b"x"), FRAME_SIZE, id="a ping of one byte"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), BREACHES)
def test_a_breach_is_answered_by_its_code(victim: Victim, sent: bytes, code: int | None) -> None:
    async def attack() -> None:
        async with victim.connect(raw.PREFACE + raw.settings()) as client:
            await client.send(sent + get(99, fields=HIT))
            await until(lambda: client.goaway is not None or client.of(raw.HEADERS))
            if code is None:
                resets = [(one[2], int.from_bytes(one[3], "big")) for one in client.of(raw.RST_STREAM)]
                assert (client.goaway, resets) == (None, [(1, FLOW_CONTROL)])
            else:
                assert client.goaway == code
            await others_are_served(victim)

    asyncio.run(attack())
