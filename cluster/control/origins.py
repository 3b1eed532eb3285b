"""The groups of origins as the control process sees them: their shared health as plain data.

Knows names and numbers; whom to ask is the workers' business.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from shmcache.core import Scoreboard
from worker.origin.health import BreakerReport, GroupHealth, ServerReport
from worker.settings import GroupSettings, SiteSettings


class Origins:
    """Every group that some route's requests may go to, each name once."""

    def __init__(self, board: Scoreboard, sites: Sequence[SiteSettings]) -> None:
        groups = {group.name: group for group in _groups(sites)}
        self.groups = [(group, GroupHealth(board, group)) for group in groups.values()]

    def report(self) -> list[dict[str, Any]]:
        """Each group with its servers: state, reason, and for how long."""
        now_ns = time.monotonic_ns()
        return [self._group(health, now_ns) for _, health in self.groups]

    @staticmethod
    def _group(health: GroupHealth, now_ns: int) -> dict[str, Any]:
        report = health.report(now_ns)
        breaker = None if report.breaker is None else _breaker(report.breaker, now_ns)
        servers = [_server(server, now_ns) for server in report.servers]
        return {"name": report.name, "breaker": breaker, "servers": servers}


def _groups(sites: Sequence[SiteSettings]) -> Iterator[GroupSettings]:
    for site in sites:
        for route in site.routes:
            if isinstance(route.origin, GroupSettings):
                yield route.origin


def _breaker(report: BreakerReport, now_ns: int) -> dict[str, Any]:
    """`for_s`: how long it has not been closed; null if it is."""
    return {
        "state": str(report.state),
        "for_s": _passed_s(report.since_ns, now_ns),
        "openings": report.openings,
    }


def _server(report: ServerReport, now_ns: int) -> dict[str, Any]:
    """`for_s`: how long it has been in this state; null if always. `back_in_s`: until its ejection ends."""
    return {
        "url": report.url,
        "backup": report.backup,
        "state": str(report.state),
        "reason": report.reason,
        "for_s": _passed_s(report.since_ns, now_ns),
        "back_in_s": max(0, report.until_ns - now_ns) / 1e9 if report.until_ns else None,
        "share": round(report.share, 3),
        "ejections": report.ejections,
        "requests": report.requests,
        "failed": report.failed,
    }


def _passed_s(since_ns: int, now_ns: int) -> float | None:
    return max(0, now_ns - since_ns) / 1e9 if since_ns else None
