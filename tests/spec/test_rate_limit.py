"""One token bucket for all workers: N workers never grant more than one would."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from tests.spec.test_shared_hits import port_of
from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.scripted_origin import ScriptedOrigin, answer
from worker.settings import RateLimitSettings

RATE, BURST, REQUESTS = 10.0, 20, 1000


async def _burst(port: int) -> list[Answer]:
    gate = asyncio.Semaphore(100)

    async def one() -> Answer:
        async with gate:
            return await ask(port, "/")

    return await asyncio.gather(*(one() for _ in range(REQUESTS)))


def test_a_burst_over_four_workers_passes_no_more_than_burst_and_what_comes_back(tmp_path: Path) -> None:
    page = answer(b"ok", headers="Cache-Control: max-age=60")
    with ScriptedOrigin(lambda request: page) as origin:
        base = settings(tmp_path / "s", origin=origin.url, workers=4)
        site = base.worker.sites[0]
        limit = RateLimitSettings("per-client", RATE, BURST)
        route = replace(site.routes[0], rate_limits=(limit,))
        limited = with_worker(base, sites=(replace(site, routes=(route,)),))
        with Cluster(limited) as edge:
            began = time.monotonic()
            replies = asyncio.run(_burst(port_of(edge)))
            elapsed_s = time.monotonic() - began
    passed = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(passed) + len(refused) == REQUESTS
    # What comes back while the burst lasts is granted too: the bound is that of the rule.
    assert BURST <= len(passed) <= BURST + int(elapsed_s * RATE) + 1
    assert all(int(reply.fields["retry-after"]) >= 1 for reply in refused)
    assert all("ratelimit" in reply.fields for reply in refused)
