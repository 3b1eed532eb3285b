"""The running edge as the control process sees it: the segment's numbers and the supervisor's answers.

Makes plain data of both; knows nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import wire
from shmcache.core import Segment
from worker.cache.key import request_of_url
from worker.cache.purge import purge_url
from worker.errors import EdgeError
from worker.observe.counters import STALL_MAX_US
from worker.observe.metrics import prometheus, summary
from worker.security.normalize import Normalizer

ASK_S = 10.0
RELOAD_S = 300.0  # a new generation has to start, or to fail at it


class Edge:
    """Everything the API is about."""

    def __init__(self, segment: Segment, supervisor_socket: Path) -> None:
        self.segment = segment
        self.supervisor_socket = supervisor_socket
        self.normalize = Normalizer()  # as the workers do, so that any spelling of a URL finds its key

    async def cluster(self) -> dict[str, Any]:
        """The supervisor's status. Raises wire.WireError."""
        return await self._ask("status", ASK_S)

    async def reload(self) -> dict[str, Any]:
        """The supervisor's answer once the new generation serves or has failed. Raises wire.WireError."""
        return await self._ask("reload", RELOAD_S)

    def stats(self) -> dict[str, Any]:
        """Totals over all workers, living and gone, and what the cache holds."""
        return {"totals": summary(self.segment.statistics.totals()), "cache": self.segment.occupancy()}

    async def metrics(self) -> str:
        """Prometheus text; without the cluster's part when the supervisor does not answer."""
        try:
            cluster = self._in_numbers(await self.cluster())
        except wire.WireError:
            cluster = {}
        return prometheus(self.segment.statistics.totals(), self.segment.occupancy(), cluster)

    async def not_ready(self) -> str:
        """Why the edge is not ready to take its traffic; "" when it is."""
        try:
            return not_ready(await self.cluster())
        except wire.WireError as error:
            return str(error)

    def purge_urls(self, urls: Sequence[str]) -> dict[str, bool]:
        """Forget what is stored for each URL; whether there was something.

        Raises ValueError when one of them is no URL that could be asked for; then none is purged.
        """
        for url in urls:
            try:
                self.normalize(request_of_url(url))
            except EdgeError as error:
                raise ValueError(f"URL {url!r}: {error.detail}") from None
        return {url: purge_url(self.segment.cache, url, normalize=self.normalize) for url in urls}

    def purge_all(self) -> None:
        """Forget everything stored so far."""
        self.segment.cache.purge_all()

    async def _ask(self, verb: str, timeout_s: float) -> dict[str, Any]:
        # The socket client waits; the loop must go on beating meanwhile.
        return await asyncio.to_thread(wire.call, self.supervisor_socket, verb, timeout_s=timeout_s)

    def _in_numbers(self, status: Mapping[str, Any]) -> dict[str, object]:
        """What the metrics want of the supervisor's status."""
        current = current_workers(status)
        pages = [self.segment.statistics.of(worker["member"]) for worker in current if worker["member"] >= 0]
        return {
            "version": status["version"],
            "workers": len(current),
            "workers_alive": sum(worker["state"] == "ready" for worker in current),
            "respawns": sum(worker["restarts"] for worker in current),
            "generation": status["generation"],
            "started_s": round(time.time() - status["uptime_s"]),
            "loop_stall_max_s": max((page[STALL_MAX_US] for page in pages), default=0) / 1e6,
        }


def current_workers(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The workers of the generation in force, without those that come or drain."""
    return [worker for worker in status["workers"] if worker["generation"] == status["generation"]]


def not_ready(status: Mapping[str, Any]) -> str:
    """Why a cluster of that status cannot take its traffic; "" when it can."""
    if status["state"] != "running":
        return f"the edge is {status['state']}"
    current = current_workers(status)
    up = sum(worker["state"] == "ready" for worker in current)
    return "" if up == len(current) else f"{up} of {len(current)} workers are up"
