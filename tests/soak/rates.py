"""Rate limits under kills and reloads, with 1, 2, 4 and 8 workers: `scripts/soak-rates`.

Greedy clients ask far more than they may, by bucket and by window; modest ones ask half of it. A grant was
decided at some moment between its request and its answer. So the grants that lie wholly within an interval
are no more than those decided in it, and may not be more than one worker would grant in it.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.scripted_origin import ScriptedOrigin, answer
from worker.settings import RateLimitSettings

RATE, BURST = 20.0, 10  # a bucket
LIMIT, WINDOW_S = 40, 2  # a window
GREEDY, MODEST = 8, 8  # clients of each rule
PAUSE_S = 0.01  # of a greedy client between two requests: far more than it may


@dataclass(slots=True)
class Client:
    """What one address asked, and what it got."""

    address: str
    path: str
    pause_s: float
    grants: list[tuple[float, float]] = field(default_factory=list)  # (sent, answered)
    refusals: int = 0
    unknown: int = 0  # the connection broke: it may have been granted


@dataclass(slots=True)
class Outcome:
    """What happened with one number of workers."""

    workers: int
    seconds: float = 0.0
    kills: int = 0
    reloads: int = 0
    clients: list[Client] = field(default_factory=list)
    excess: list[str] = field(default_factory=list)  # grants that one worker would not have given
    share: dict[str, float] = field(default_factory=dict)  # of what is due, granted to the greedy, by rule
    refused_modest: int = 0


def run(state_dir: Path, *, workers: int, seconds: float, seed: int = 1) -> Outcome:
    """One run; the cluster is started and stopped here."""
    outcome = Outcome(workers)
    page = answer(b"ok", headers="Cache-Control: max-age=3600")
    rules = {
        b"/bucket": RateLimitSettings("bucket", RATE, BURST),
        b"/window": RateLimitSettings("window", LIMIT / WINDOW_S, LIMIT, window_s=WINDOW_S),
    }
    with ScriptedOrigin(lambda request: page) as origin:
        base = settings(state_dir, origin=origin.url, workers=workers)
        site = base.worker.sites[0]
        routes = tuple(
            replace(site.routes[0], name=path.decode(), prefix=path, rate_limits=(rule,))
            for path, rule in rules.items()
        )
        trusted = (ip_network("127.0.0.0/8"),)
        limited = with_worker(base, sites=(replace(site, routes=routes),), trusted_proxies=trusted)
        with Cluster(limited) as edge:
            outcome.clients = _clients()
            asyncio.run(_ask_and_disturb(edge, outcome, seconds, random.Random(seed)))
    _judge(outcome)
    return outcome


def _clients() -> list[Client]:
    made: list[Client] = []
    for path, per_s in (("/bucket", RATE), ("/window", LIMIT / WINDOW_S)):
        made += (Client(f"192.0.2.{number}", path, PAUSE_S) for number in range(GREEDY))
        made += (Client(f"198.51.100.{number}", path, 2 / per_s) for number in range(MODEST))
    return made


async def _ask_and_disturb(edge: Cluster, outcome: Outcome, seconds: float, chance: random.Random) -> None:
    over = asyncio.Event()
    port = int(edge.url.rpartition(":")[2])
    asking = [asyncio.create_task(_ask(client, port, over)) for client in outcome.clients]
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        await asyncio.sleep(0.5)
        if chance.random() < 0.6:
            os.kill(chance.choice(edge.pids), signal.SIGKILL)
            outcome.kills += 1
        else:
            await asyncio.to_thread(edge.reload)
            outcome.reloads += 1
        await asyncio.to_thread(wait_until, lambda: len(edge.pids) == outcome.workers)
    outcome.seconds = time.monotonic() - begun
    over.set()
    await asyncio.gather(*asking)


async def _ask(client: Client, port: int, over: asyncio.Event) -> None:
    """Ask until it is over, on connections that are made anew when they break."""
    lines = f"GET {client.path} HTTP/1.1", "Host: edge.test", f"X-Forwarded-For: {client.address}", "", ""
    head = "\r\n".join(lines).encode()
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        try:
            while await _ask_once(client, head, reader, writer):
                if await _is_over(over, client.pause_s):
                    break
        except (OSError, asyncio.IncompleteReadError):
            client.unknown += 1
        finally:
            writer.close()


async def _is_over(over: asyncio.Event, wait_s: float) -> bool:
    try:
        await asyncio.wait_for(over.wait(), wait_s)
    except TimeoutError:
        return False
    return True


async def _ask_once(
    client: Client, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """False: the connection takes no further request."""
    sent = time.monotonic()
    writer.write(head)
    answered = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(answered.partition(b"content-length:")[2].split(b"\r\n")[0]))
    if answered.startswith(b"http/1.1 200"):
        client.grants.append((sent, time.monotonic()))
    else:
        assert answered.startswith(b"http/1.1 429"), answered
        client.refusals += 1
    return b"\r\nconnection: close" not in answered


def _judge(outcome: Outcome) -> None:
    greedy: dict[str, list[Client]] = {"/bucket": [], "/window": []}
    for client in outcome.clients:
        if client.pause_s == PAUSE_S:
            greedy[client.path].append(client)
        else:
            outcome.refused_modest += client.refusals
        if (words := _excess(client)) is not None:
            outcome.excess.append(f"{client.path} {client.address}: {words}")
    due = {"/bucket": BURST + RATE * outcome.seconds, "/window": LIMIT * outcome.seconds / WINDOW_S}
    for path, clients in greedy.items():
        granted = sum(len(client.grants) for client in clients)
        outcome.share[path] = granted / len(clients) / due[path]


def _excess(client: Client) -> str | None:
    """The first interval with more grants than one worker would give; None if there is none.

    A bucket gives burst + rate x time. A window gives at most its limit within one of its own windows; as
    nobody knows where those begin, any interval of one window may touch two.
    """
    sent = sorted(begin for begin, _ in client.grants)
    ends = sorted((end, begin) for begin, end in client.grants)
    for first in sent:
        within = 0
        for end, begin in ends[bisect_left(ends, (first, 0.0)) :]:
            within += begin >= first
            lasted_s = end - first
            if client.path == "/bucket":
                most = BURST + RATE * lasted_s
            else:
                most = LIMIT * (int(lasted_s / WINDOW_S) + 2)
            if within > most + 1e-6:
                return f"{within} grants within {lasted_s:.3f} s, {most:.1f} are due"
    return None


def main() -> int:
    """Run with 1, 2, 4 and 8 workers; 1 if anybody was granted too much, or all of them too little."""
    parser = argparse.ArgumentParser(prog="soak-rates", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = False
    for workers in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory(prefix="edgecluster-rates-") as directory:
            outcome = run(
                Path(directory) / "state", workers=workers, seconds=arguments.seconds, seed=arguments.seed
            )
        grants = sum(len(client.grants) for client in outcome.clients)
        refusals = sum(client.refusals for client in outcome.clients)
        shares = ", ".join(f"{path} {share:.2%}" for path, share in outcome.share.items())
        sys.stdout.write(
            f"{workers} workers, {outcome.seconds:.0f} s, {outcome.kills} kills, {outcome.reloads} reloads: "
            f"{grants} granted, {refusals} refused; of what is due: {shares}; "
            f"modest clients refused {outcome.refused_modest} times; excess {len(outcome.excess)}\n"
        )
        sys.stdout.writelines(f"  {words}\n" for words in outcome.excess)
        failed |= bool(outcome.excess) or min(outcome.share.values()) < 0.99 or bool(outcome.refused_modest)
    return failed


if __name__ == "__main__":
    sys.exit(main())
