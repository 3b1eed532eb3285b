"""What a route's settings add to, or put in the place of, what its origin and its clients say about caching.

Pure. With default settings every answer is the one of the RFC, and the edge invents no lifetime.
"""

from dataclasses import replace

from worker.cache.control import (
    NO_REQUEST_CONTROL,
    RequestControl,
    ResponseControl,
    request_control,
    response_control,
)
from worker.cache.freshness import freshness_lifetime, heuristic_lifetime
from worker.cache.storable import HEURISTICALLY_CACHEABLE
from worker.fields import Fields
from worker.settings import CacheSettings


class Rules:
    """The rules of one route."""

    def __init__(self, settings: CacheSettings) -> None:
        self._ignore_client = settings.ignore_client
        self._heuristic = settings.heuristic
        self._by_status = settings.by_status
        self._ttl_s = settings.ttl_s
        self._max_ttl_s = settings.max_ttl_s
        self._swr_s = settings.stale_while_revalidate_s
        self._sie_s = settings.stale_if_error_s

    def request_control(self, fields: Fields) -> RequestControl:
        """The client's directives; none where the route ignores them."""
        return NO_REQUEST_CONTROL if self._ignore_client else request_control(fields)

    def response_control(self, fields: Fields) -> ResponseControl:
        """The origin's directives, with the route's windows for stale use where it names none."""
        control = response_control(fields)
        swr_s, sie_s = control.stale_while_revalidate, control.stale_if_error
        if self._swr_s and swr_s is None:
            control = replace(control, stale_while_revalidate=self._swr_s)
        if self._sie_s and sie_s is None:
            control = replace(control, stale_if_error=self._sie_s)
        return control

    def lifetime(
        self, status: int, fields: Fields, control: ResponseControl, date_s: int, now_s: float
    ) -> int | None:
        """Seconds the response may be reused unasked, at most the route's `max_ttl`; None: nobody says.

        In this order: `by_status` where the origin names none, `ttl`, what the origin names, `heuristic`.
        """
        lifetime_s = freshness_lifetime(fields, control, date_s, now_s)
        by_default = status in HEURISTICALLY_CACHEABLE or control.public
        configured_s = self._of_status(status) if lifetime_s is None else None
        if configured_s is None and (lifetime_s is not None or by_default):
            configured_s = self._ttl_s
        if configured_s is not None:
            lifetime_s = configured_s
        elif lifetime_s is None and by_default and self._heuristic:
            lifetime_s = heuristic_lifetime(fields, self._heuristic, date_s, now_s)
        if lifetime_s is None or self._max_ttl_s is None:
            return lifetime_s
        return min(lifetime_s, self._max_ttl_s)

    def _of_status(self, status: int) -> int | None:
        for first, last, ttl_s in self._by_status:
            if first <= status <= last:
                return ttl_s
        return None
