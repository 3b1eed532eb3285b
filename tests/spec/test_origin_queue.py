"""Requests that wait for a connection to the origin while the edge stops or reloads."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.spec.test_shared_hits import port_of
from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.scripted_origin import ScriptedOrigin, answer, script
from worker.settings import CacheSettings, OriginSettings

REQUESTS = 6


@contextmanager
def edge(state_dir: Path, origin: ScriptedOrigin, drain_timeout_s: float) -> Iterator[Cluster]:
    """Two workers, one connection each: of several requests most wait in the queues."""
    made = settings(state_dir, cache=CacheSettings(enabled=False), drain_timeout_s=drain_timeout_s)
    (site,) = made.worker.sites
    narrow = OriginSettings(
        "http", origin.host, origin.port, connections=1, queue_timeout_s=60, first_byte_timeout_s=60
    )
    routes = (replace(site.routes[0], origin=narrow),)
    with Cluster(with_worker(made, sites=(replace(site, routes=routes),))) as running:
        yield running


async def asking(port: int, origin: ScriptedOrigin) -> list[asyncio.Task[Answer]]:
    """Requests of which one in each worker that got any is at the origin, the others wait."""
    tasks = [asyncio.create_task(ask(port, f"/{number}")) for number in range(REQUESTS)]
    await asyncio.to_thread(origin.wait_for, lambda found: found.stalled >= 1)
    return tasks


def test_those_in_the_queue_are_served_through_a_reload(tmp_path: Path) -> None:
    async def main() -> None:
        tasks = await asking(port_of(running), origin)
        assert (await asyncio.to_thread(running.reload))["ok"]
        assert not any(task.done() for task in tasks)
        origin.release()
        assert [one.body for one in await asyncio.gather(*tasks)] == [b"held"] * REQUESTS

    with (
        ScriptedOrigin([script("stall", answer(b"held"))]) as origin,
        edge(tmp_path, origin, drain_timeout_s=60) as running,
    ):
        asyncio.run(main())


def test_those_in_the_queue_are_served_before_a_stop_ends(tmp_path: Path) -> None:
    async def main() -> None:
        tasks = await asking(port_of(running), origin)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(_wait_for_drain, running)
        origin.release()
        assert [one.body for one in await asyncio.gather(*tasks)] == [b"held"] * REQUESTS

    with (
        ScriptedOrigin([script("stall", answer(b"held"))]) as origin,
        edge(tmp_path, origin, drain_timeout_s=60) as running,
    ):
        asyncio.run(main())
        assert running.wait() == 0


def test_a_stop_ends_in_time_though_an_origin_never_answers_those_in_its_queue(tmp_path: Path) -> None:
    async def main() -> None:
        tasks = await asking(port_of(running), origin)
        running.process.send_signal(signal.SIGTERM)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(one, Answer) and one.status == 200 for one in ended)

    with (
        ScriptedOrigin([script("stall")]) as origin,
        edge(tmp_path, origin, drain_timeout_s=0.5) as running,
    ):
        asyncio.run(main())
        assert running.wait() == 0
        origin.release()


def _wait_for_drain(running: Cluster) -> None:
    """Until no worker accepts any more."""
    until = time.monotonic() + 30
    while any(worker["state"] == "ready" for worker in running.workers):
        assert time.monotonic() < until
        time.sleep(0.02)
