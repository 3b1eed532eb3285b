"""How much later than the leader do those who wait for the same slowly arriving body get its first byte?

Four workers, one URL, a body of 50 MB that takes its time. All connections are made first, so that it is
known which worker has which; then all ask at once. A second crowd comes while the body is arriving.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.support.cluster import MIB, Cluster, settings
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, Wire

WORKERS = 4
SIZE = 50_000_000
PIECE = b"p" * 250_000
THINKS_S = 0.1
PAUSE_S = 0.01
LATE_S = 0.5  # into the body, when the second crowd comes


@dataclass(frozen=True, slots=True)
class Got:
    """What one connection saw. Times are seconds."""

    worker: int  # pid
    asked_s: float
    first_s: float  # when the first byte of the body came
    last_s: float
    size: int
    leads: bool


def respond(request: Recorded) -> Step:
    """Think, then send slowly."""

    async def play(wire: Wire) -> None:
        await wire.pause(THINKS_S)
        await wire.write(
            f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {SIZE}\r\n\r\n".encode()
        )
        for _ in range(SIZE // len(PIECE)):
            await wire.write(PIECE)
            await wire.pause(PAUSE_S)

    return play


def run(state_dir: Path, *, crowd: int) -> tuple[list[Got], list[Got], int]:
    """Who asked at once, who came while the body was arriving, and how often the origin was asked."""
    with (
        ScriptedOrigin(respond) as origin,
        Cluster(settings(state_dir, origin=origin.url, workers=WORKERS, cache_bytes=1024 * MIB)) as edge,
    ):
        port = urlsplit(edge.url).port
        assert port is not None
        got = asyncio.run(_crowds(port, edge.pids, crowd))
        asked = len(origin.requests)
    return *got, asked


async def _crowds(port: int, pids: Sequence[int], crowd: int) -> tuple[list[Got], list[Got]]:
    early, late = await _connected(port, pids, crowd), await _connected(port, pids, crowd)
    first = asyncio.gather(*(_ask(*connection) for connection in early))
    await asyncio.sleep(THINKS_S + LATE_S)
    second = asyncio.gather(*(_ask(*connection) for connection in late))
    return await first, await second


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter, int]


async def _connected(port: int, pids: Sequence[int], crowd: int) -> list[Connection]:
    """`crowd` open connections, each with the pid of the worker that has it."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(crowd)]
    await asyncio.sleep(0.2)
    owners = {
        connection.raddr.port: pid
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.raddr and connection.laddr.port == port
    }
    return [(reader, writer, owners[writer.get_extra_info("sockname")[1]]) for reader, writer in opened]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, worker: int) -> Got:
    asked = time.monotonic()
    writer.write(b"GET /large HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    size = len(await reader.read(1))
    first = time.monotonic()
    while piece := await reader.read(MIB):
        size += len(piece)
    last = time.monotonic()
    writer.close()
    return Got(worker, asked, first, last, size, b"fwd=" in head and b"collapsed" not in head)


def _line(name: str, delays_s: list[float]) -> str:
    ordered = sorted(delays_s)
    return (
        f"{name:34} {len(ordered):3}  median {statistics.median(ordered) * 1000:6.1f} ms  "
        f"longest {ordered[-1] * 1000:6.1f} ms\n"
    )


def main() -> int:
    """Run, print what was measured; 1 if a body was cut or a first byte came 50 ms after the leader's."""
    parser = argparse.ArgumentParser(prog="waiters", description=__doc__)
    parser.add_argument("--crowd", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecluster-waiters-") as directory:
        early, late, asked = run(Path(directory) / "state", crowd=arguments.crowd)
    (leader,) = [got for got in early if got.leads][:1]
    others = [got for got in early if not got.leads and got.worker != leader.worker]
    neighbours = [got for got in early if not got.leads and got.worker == leader.worker]
    workers = len({got.worker for got in early})
    sys.stdout.write(f"workers {workers}, body {SIZE} bytes, requests at the origin {asked}\n")
    sys.stdout.write(f"leader: first byte after {(leader.first_s - leader.asked_s) * 1000:.1f} ms, ")
    sys.stdout.write(f"last after {(leader.last_s - leader.asked_s) * 1000:.0f} ms\n")
    sys.stdout.write("first byte after the leader's:\n")
    sys.stdout.write(_line("  waiters in other workers", [got.first_s - leader.first_s for got in others]))
    if neighbours:
        sys.stdout.write(_line("  in the same", [got.first_s - leader.first_s for got in neighbours]))
    sys.stdout.write("first byte after asking, while the body was arriving:\n")
    sys.stdout.write(_line("  all", [got.first_s - got.asked_s for got in late]))
    sys.stdout.write("last byte after the leader's:\n")
    sys.stdout.write(_line("  all", [got.last_s - leader.last_s for got in (*early, *late)]))
    whole = all(got.size == SIZE for got in (*early, *late))
    return 0 if whole and all(got.first_s - leader.first_s <= 0.05 for got in early) else 1


if __name__ == "__main__":
    sys.exit(main())
