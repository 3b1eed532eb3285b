"""One token bucket for all workers: N workers never grant more than one would."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.client import Answer
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.versions import VERSIONS, Ends, ask_over
from worker.settings import RateLimitSettings

RATE, BURST = 10.0, 20
REQUESTS = {"h1": 1000}  # over the version whose client in Python is quick
FEWER_REQUESTS = 200


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """An edge with a bucket for each version, under a prefix of its name."""
    page = answer(b"ok", headers="Cache-Control: max-age=60")
    with ScriptedOrigin(lambda request: page) as origin:
        base = settings(
            tmp_path_factory.mktemp("edge"), origin=origin.url, workers=4, schemes=("http", "https")
        )
        site = base.worker.sites[0]
        routes = tuple(
            replace(
                site.routes[0],
                name=version,
                prefix=f"/{version}/".encode(),
                rate_limits=(RateLimitSettings(version, RATE, BURST),),
            )
            for version in VERSIONS
        )
        limited = with_worker(base, sites=(replace(site, routes=routes),), http2_plain=True)
        with Cluster(limited) as edge:
            yield Ends.of(edge.urls)


async def _burst(over: str, ends: Ends, count: int) -> list[Answer]:
    gate = asyncio.Semaphore(100)

    async def one() -> Answer:
        async with gate:
            return await ask_over(over, ends, f"/{over}/")

    return await asyncio.gather(*(one() for _ in range(count)))


def test_a_burst_over_four_workers_passes_no_more_than_burst_and_what_comes_back(
    ends: Ends, over: str
) -> None:
    count = REQUESTS.get(over, FEWER_REQUESTS)
    began = time.monotonic()
    replies = asyncio.run(_burst(over, ends, count))
    elapsed_s = time.monotonic() - began
    passed = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(passed) + len(refused) == count
    # What comes back while the burst lasts is granted too: the bound is that of the rule.
    assert BURST <= len(passed) <= BURST + int(elapsed_s * RATE) + 1
    assert all(int(reply.fields["retry-after"]) >= 1 for reply in refused)
    assert all("ratelimit" in reply.fields for reply in refused)
