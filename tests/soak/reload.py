"""Reload again and again under WebSockets and event streams; nothing may be lost. `scripts/soak-reload`.

Every message is numbered, and so is every event: each has to come back or arrive once, in order, although
the worker that carries it belongs to a generation that was replaced long ago.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.support.cluster import Cluster, settings, wait_until

SOCKETS = 8
STREAMS = 4
AHEAD = 32  # messages on their way per socket


@dataclass(slots=True)
class Outcome:
    """What happened in one run."""

    echoed: int = 0
    events: int = 0
    reloads: int = 0
    generations: int = 0  # that carried something when the last message came back
    lost: list[str] = field(default_factory=list)  # what did not come, or not in its turn


class Origin:
    """Echoes WebSocket messages at /ws; at /events sends numbered events until `over`, then how many."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_get("/ws", self._echo)
        application.router.add_get("/events", self._send_events)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        channel = web.WebSocketResponse()
        await channel.prepare(request)
        async for message in channel:
            await channel.send_str(message.data)
        return channel

    async def _send_events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        number = 0
        while not self.over.is_set():
            await response.write(b"data: %d\n\n" % number)
            number += 1
            await asyncio.sleep(0.002)
        await response.write(b"event: end\ndata: %d\n\n" % number)
        return response


def run(state_dir: Path, *, messages: int, reloads: int) -> Outcome:
    """One run; the cluster is started and stopped here."""
    outcome = Outcome()
    asyncio.run(_run(state_dir, messages, reloads, outcome))
    return outcome


async def _run(state_dir: Path, messages: int, reloads: int, outcome: Outcome) -> None:
    origin = Origin()
    async with origin.serve():
        cluster = Cluster(settings(state_dir, origin=origin.url, drain_timeout_s=3600.0))
        try:
            await asyncio.to_thread(cluster.start)
            url = cluster.url
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
                reading = [asyncio.create_task(_read_events(session, url, outcome)) for _ in range(STREAMS)]
                echoing = [
                    asyncio.create_task(_echo(session, url, messages // SOCKETS, outcome))
                    for _ in range(SOCKETS)
                ]
                for number in range(1, reloads + 1):
                    due = messages * number // (reloads + 1)
                    await asyncio.to_thread(_wait_for, outcome, due)
                    if (await asyncio.to_thread(cluster.reload))["ok"]:
                        outcome.reloads += 1
                await asyncio.gather(*echoing)
                workers = await asyncio.to_thread(lambda: cluster.workers)
                outcome.generations = len({worker["generation"] for worker in workers})
                origin.over.set()
                await asyncio.gather(*reading)
            await asyncio.to_thread(cluster.stop)
        finally:
            await asyncio.to_thread(cluster.destroy)


def _wait_for(outcome: Outcome, messages: int) -> None:
    wait_until(lambda: outcome.echoed >= messages or outcome.lost)


async def _echo(session: aiohttp.ClientSession, url: str, count: int, outcome: Outcome) -> None:
    """Send numbered messages, some ahead of their echoes, and check that each comes back in its turn."""
    async with session.ws_connect(f"{url}/ws") as channel:
        sent = 0
        for number in range(count):
            while sent < min(count, number + AHEAD):
                await channel.send_str(f"message {sent}")
                sent += 1
            message = await channel.receive()
            if message.data != f"message {number}":
                outcome.lost.append(f"message {number}: got {message}")
                return
            outcome.echoed += 1


async def _read_events(session: aiohttp.ClientSession, url: str, outcome: Outcome) -> None:
    number = 0
    try:
        async with session.get(f"{url}/events") as response:
            async for line in response.content:
                if line == b"event: end\n":
                    last = await response.content.readline()
                    if last != b"data: %d\n" % number:
                        outcome.lost.append(f"{number} events arrived, the origin says {last!r}")
                    return
                if line.startswith(b"data: "):
                    if line != b"data: %d\n" % number:
                        outcome.lost.append(f"event {number}: got {line!r}")
                        return
                    number += 1
                    outcome.events += 1
        outcome.lost.append(f"a stream ended after {number} events")
    except aiohttp.ClientError as error:
        outcome.lost.append(f"a stream broke off after {number} events: {error!r}")


def main() -> int:
    """The long run by hand; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="soak-reload", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--reloads", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecluster-soak-") as directory:
        outcome = run(Path(directory) / "state", messages=arguments.messages, reloads=arguments.reloads)
    sys.stdout.write(
        f"reloads              {outcome.reloads}\n"
        f"messages echoed      {outcome.echoed} over {SOCKETS} WebSockets\n"
        f"events               {outcome.events} over {STREAMS} streams\n"
        f"generations at once  {outcome.generations}\n"
        f"lost                 {len(outcome.lost)}\n"
    )
    for what in outcome.lost:
        sys.stdout.write(f"  {what}\n")
    return 1 if outcome.lost or outcome.reloads < arguments.reloads else 0


if __name__ == "__main__":
    sys.exit(main())
