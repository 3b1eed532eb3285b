"""The running edge as the control process sees it: the segment's numbers and the supervisor's answers.

Makes plain data of both; knows nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cluster import wire
from cluster.control.address_files import AddressFiles
from cluster.control.bans import Bans
from cluster.control.certificates import Certificates
from cluster.control.origins import Origins
from cluster.control.stored import listed, of_url
from cluster.settings import ClusterSettings
from shmcache.core import Segment
from worker.cache.key import KeyMaker, cache_key, key_maker
from worker.cache.purge import Purge, Purged
from worker.errors import EdgeError
from worker.message import Request
from worker.networks import SharedNetworks
from worker.observe.counters import STALL_MAX_US
from worker.observe.metrics import prometheus, summary
from worker.observe.purges import Purges
from worker.reasons import PurgeKind
from worker.routing import Routes
from worker.security.normalize import Normalizer
from worker.security.waf.counts import RuleCounts

T = TypeVar("T")

ASK_S = 10.0
PURGED_BY = "the admin API"
RELOAD_S = 300.0  # a new generation has to start, or to fail at it


class Edge:
    """Everything the API is about."""

    def __init__(
        self,
        segment: Segment,
        supervisor_socket: Path,
        settings: ClusterSettings,
        bans: SharedNetworks,
        rule_counts: RuleCounts | None = None,
    ) -> None:
        sites = settings.worker.sites
        self.segment = segment
        self.supervisor_socket = supervisor_socket
        self.keys = Routes(sites, lambda route: key_maker(route.cache.key), cache_key)
        self.rule_counts = rule_counts
        self.note_purge = Purges(segment.statistics)
        self.origins = Origins(segment.scoreboard, sites)
        self.certificates = Certificates(settings, segment.cache, self.renew)
        self.bans = Bans(bans, settings.state_dir / "bans.json")
        self.address_files = AddressFiles(settings.worker, self.refresh)
        # Keys and spellings as the workers make them.
        self.purge = Purge(segment.cache, self._key_of, Normalizer())

    async def cluster(self) -> dict[str, Any]:
        """The supervisor's status. Raises wire.WireError."""
        return await self._ask("status", ASK_S)

    async def reload(self) -> dict[str, Any]:
        """The supervisor's answer once the new generation serves or has failed. Raises wire.WireError."""
        return await self._ask("reload", RELOAD_S)

    async def renew(self) -> None:
        """Have the certificates on disk served, by the configuration in force. Raises wire.WireError."""
        await self._serve_anew("renew")

    async def refresh(self) -> None:
        """Have the access lists on disk served, by the configuration in force. Raises wire.WireError."""
        await self._serve_anew("refresh")

    async def _serve_anew(self, verb: str) -> None:
        answer = await self._ask(verb, RELOAD_S)
        if not answer.get("ok"):
            raise wire.WireError(str(answer.get("error")))

    def stats(self) -> dict[str, Any]:
        """Totals over all workers, living and gone, what the cache holds, and how the origins are."""
        return {
            "totals": summary(self.segment.statistics.totals()),
            "cache": self.segment.occupancy(),
            "groups": self.origins.report(),
            "certificates": self.certificates.report(),
            "waf_rules": self._rule_counts(),
            "address_files": {"error": self.address_files.error},
        }

    def cache_stats(self) -> dict[str, Any]:
        """What the shared cache holds, and what it has done so far."""
        return {"cache": self.segment.occupancy(), "core": self.segment.statistics.core()}

    async def cache_entries(self, prefix: str, limit: int) -> dict[str, Any]:
        """Some of what is stored under a URL prefix, "" for everywhere. Raises ValueError as a purge does."""
        beginning = self._checked(self.purge.beginning, prefix) if prefix else b""
        entries, more = await asyncio.to_thread(listed, self.segment, beginning, limit, time.monotonic_ns())
        return {"entries": entries, "more": more}

    async def cache_of_url(self, url: str) -> dict[str, Any]:
        """All that is stored for a URL. Raises ValueError as a purge does."""
        key = self._checked(self.purge.key, url).partition(b"\0")[0]
        return {"url": url, **await asyncio.to_thread(of_url, self.segment, key, time.monotonic_ns())}

    async def metrics(self) -> str:
        """Prometheus text; without the cluster's part when the supervisor does not answer."""
        try:
            cluster = self._in_numbers(await self.cluster())
        except wire.WireError:
            cluster = {}
        segment = self.segment
        return prometheus(
            segment.statistics.totals(),
            segment.occupancy(),
            cluster,
            self.origins.report(),
            self.certificates.report(),
            self._rule_counts(),
        )

    def _rule_counts(self) -> dict[str, int]:
        return {} if self.rule_counts is None else self.rule_counts.totals()

    async def not_ready(self) -> str:
        """Why the edge is not ready to take its traffic; "" when it is."""
        try:
            return not_ready(await self.cluster())
        except wire.WireError as error:
            return str(error)

    def purge_all_of(self, kind: str, targets: Sequence[str], *, soft: bool) -> list[Purged]:
        """Purge each of the targets, all of one kind: "url", "prefix", "host", "tag", or "all" without any.

        Raises ValueError with the reason when one of them cannot be meant; then none is purged.
        """
        purge = self.purge
        if kind == "all":
            done = [purge.everything(soft=soft)]
            self.note_purge(PurgeKind.ALL, [], soft=soft, by=PURGED_BY)
            return done
        checks: dict[str, Callable[[str], object]] = {
            "url": purge.key, "prefix": purge.beginning, "host": purge.beginnings, "tag": purge.label,
        }  # fmt: skip
        verbs: dict[str, Callable[..., Purged]] = {
            "url": purge.url, "prefix": purge.prefix, "host": purge.host, "tag": purge.tag,
        }  # fmt: skip
        for target in targets:
            self._checked(checks[kind], target)
        done = [verbs[kind](target, soft=soft) for target in targets]
        self.note_purge(PurgeKind(kind), targets, soft=soft, by=PURGED_BY)
        return done

    @staticmethod
    def _checked(check: Callable[[str], T], target: str) -> T:
        """What the check makes of a target; ValueError also for what the normalise gate refuses."""
        try:
            return check(target)
        except EdgeError as error:
            raise ValueError(f"URL {target!r}: {error.detail}") from None

    def _key_of(self, request: Request) -> bytes:
        """The primary key that the request's route gives it."""
        key: KeyMaker
        _, key = self.keys.find(request)
        return key(request)

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
