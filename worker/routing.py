"""Which site and route a request belongs to: by host name first, then by the longest path prefix."""

from collections.abc import Callable, Sequence
from typing import Any

from worker.message import Request
from worker.settings import RouteSettings, SiteSettings

Found = tuple[RouteSettings | None, Any]

MEMO_LIMIT = 4096


def host_name(host: bytes) -> bytes:
    """The host without its port: b"example.org:8443" -> b"example.org", b"[::1]:80" -> b"[::1]"."""
    if host.endswith(b"]"):
        return host
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


class Routes:
    """Something of one kind for every route, made by `make`; `unknown` for requests that no route takes.

    Host names match exactly, else by a wildcard for one label (`*.example.org`), else the site without host
    names takes the request. Memory of hosts seen is bounded.
    """

    def __init__(
        self, sites: Sequence[SiteSettings], make: Callable[[RouteSettings], Any], unknown: object
    ) -> None:
        self._unknown: Found = (None, unknown)
        self._by_host: dict[bytes, tuple[tuple[bytes, Found], ...]] = {}
        self._any: tuple[tuple[bytes, Found], ...] = ()
        for site in sites:
            routes = tuple(
                (route.prefix, (route, make(route)))
                for route in sorted(site.routes, key=lambda route: len(route.prefix), reverse=True)
            )
            for host in site.hosts:
                self._by_host[host] = routes
            if not site.hosts:
                self._any = routes
        self._memo: dict[bytes, tuple[tuple[bytes, Found], ...]] = {}

    def find(self, request: Request) -> Found:
        """The route of a request, None if it has none, and what was made for it."""
        routes = self._memo.get(request.host)
        if routes is None:
            routes = self._of_host(request.host)
        for prefix, found in routes:
            if request.path.startswith(prefix):
                return found
        return self._unknown

    def _of_host(self, host: bytes) -> tuple[tuple[bytes, Found], ...]:
        name = host_name(host)
        wildcard = b"*." + name.partition(b".")[2]
        routes = self._by_host.get(name) or self._by_host.get(wildcard) or self._any
        if len(self._memo) >= MEMO_LIMIT:  # a client may invent host names without end
            self._memo.clear()
        self._memo[host] = routes
        return routes
