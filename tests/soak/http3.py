"""A thousand connections of HTTP/3 through the death of a worker and a reload. `scripts/soak-http3`.

Each asks before and after; one that gets no answer, or the wrong one, is lost. A killed worker may lose its
own connections alone. A reload may lose none: the old generation answers by hand-over, says GOAWAY, and ends.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.cluster import Cluster, settings, wait_until
from tests.support.h3_client import H3Client, open_client
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

WORKERS = 4
AT_A_TIME = 50  # handshakes: clients and edge share the machine


@dataclass(slots=True)
class Outcome:
    """What happened in one run."""

    opened: int = 0
    lanes: Counter[int] = field(default_factory=Counter)
    lost_at_first: int = 0
    killed_had: int = 0
    lost_by_death: int = 0  # of the workers that were not killed
    lost_by_reload: int = 0


async def _open(edge: Cluster, stack: AsyncExitStack, count: int) -> list[H3Client]:
    pem = (edge.settings.state_dir / "tls" / "ca.pem").read_bytes()
    port = urlsplit(edge.urls[0]).port or 0
    clients: list[H3Client] = []
    while len(clients) < count:
        batch = min(AT_A_TIME, count - len(clients))
        opening = (open_client(port, pem, authority="localhost", idle_timeout=120.0) for _ in range(batch))
        clients += [await stack.enter_async_context(one) for one in await asyncio.gather(*opening)]
    return clients


async def _lost(clients: list[H3Client], path: str) -> int:
    """How many of the clients do not get that page."""

    async def is_lost(client: H3Client) -> bool:
        try:
            came = await asyncio.wait_for(client.ask(path), 60.0)
        except (TimeoutError, ConnectionError, AssertionError):
            return True
        return (came.status, bytes(came.body)) != (200, path.encode())

    return sum(await asyncio.gather(*map(is_lost, clients)))


async def _run(edge: Cluster, count: int) -> Outcome:
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        clients = await _open(edge, stack, count)
        outcome.opened = len(clients)
        outcome.lanes = Counter(int(one.quic._peer_cid.cid[0]) for one in clients)
        outcome.lost_at_first = await _lost(clients, "/first")
        os.kill(edge.pids[0], signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: len(edge.pids) == WORKERS)
        others = [one for one in clients if one.quic._peer_cid.cid[0] != 0]
        outcome.killed_had = len(clients) - len(others)
        outcome.lost_by_death = await _lost(others, "/after-a-death")
        asked = asyncio.create_task(_lost(others, "/during-a-reload"))
        await asyncio.to_thread(edge.reload)
        outcome.lost_by_reload = await asked
    return outcome


def run(state_dir: Path, *, connections: int) -> Outcome:
    """One run; the cluster is started and stopped here."""

    def respond(request: Recorded) -> bytes:
        return answer(request.target.encode(), headers="Cache-Control: no-store")

    with (
        ScriptedOrigin(respond, keep_bodies=False) as origin,
        Cluster(settings(state_dir, origin=origin.url, workers=WORKERS, schemes=("https",))) as edge,
    ):
        return asyncio.run(_run(edge, connections))


def main() -> int:
    """Run, print what happened; 1 if a connection was lost that had to live."""
    parser = argparse.ArgumentParser(prog="soak-http3", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecluster-http3-") as directory:
        outcome = run(Path(directory) / "state", connections=arguments.connections)
    lanes = "/".join(str(outcome.lanes[lane]) for lane in range(WORKERS))
    sys.stdout.write(
        f"{outcome.opened} connections on {WORKERS} workers ({lanes}): lost {outcome.lost_at_first}\n"
        f"a killed worker had {outcome.killed_had}; lost of the others {outcome.lost_by_death}\n"
        f"lost by a reload {outcome.lost_by_reload}\n"
    )
    return bool(outcome.lost_at_first or outcome.lost_by_death or outcome.lost_by_reload)


if __name__ == "__main__":
    sys.exit(main())
