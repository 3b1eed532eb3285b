"""Which site and route a request belongs to: by host name first, then by the longest path prefix."""

from collections.abc import Callable, Sequence

from worker.context import Context
from worker.message import Request
from worker.pipeline import Pipeline
from worker.settings import RouteSettings, SiteSettings

_Routes = tuple[tuple[bytes, RouteSettings, Pipeline], ...]


def host_name(host: bytes) -> bytes:
    """The host without its port: b"example.org:8443" -> b"example.org", b"[::1]:80" -> b"[::1]"."""
    if host.endswith(b"]"):
        return host
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


class Router:
    """Finds the pipeline of a request and notes its route in the context.

    Host names match exactly, else by a wildcard for one label (`*.example.org`), else the site without host
    names takes the request; where there is none, `unknown` does. Memory of hosts seen is bounded.
    """

    _MEMO_LIMIT = 4096

    def __init__(
        self,
        sites: Sequence[SiteSettings],
        make: Callable[[RouteSettings], Pipeline],
        unknown: Pipeline,
    ) -> None:
        self._unknown = unknown
        self._by_host: dict[bytes, _Routes] = {}
        self._any: _Routes = ()
        for site in sites:
            routes = tuple(
                (route.prefix, route, make(route))
                for route in sorted(site.routes, key=lambda route: len(route.prefix), reverse=True)
            )
            for host in site.hosts:
                self._by_host[host] = routes
            if not site.hosts:
                self._any = routes
        self._memo: dict[bytes, _Routes] = {}

    def __call__(self, ctx: Context) -> Pipeline:
        """The pipeline for ctx.request; sets ctx.route."""
        request = ctx.request
        routes = self._memo.get(request.host)
        if routes is None:
            routes = self._find_site(request.host)
        for prefix, route, pipeline in routes:
            if request.path.startswith(prefix):
                ctx.route = route
                return pipeline
        return self._unknown

    def _find_site(self, host: bytes) -> _Routes:
        name = host_name(host)
        wildcard = b"*." + name.partition(b".")[2]
        routes = self._by_host.get(name) or self._by_host.get(wildcard) or self._any
        if len(self._memo) >= self._MEMO_LIMIT:  # a client may invent host names without end
            self._memo.clear()
        self._memo[host] = routes
        return routes


def find_route(sites: Sequence[SiteSettings], request: Request) -> RouteSettings | None:
    """The route that a Router of these sites would choose; for those who ask rarely and serve nothing."""
    name = host_name(request.host)
    for wanted in ((name,), (b"*." + name.partition(b".")[2],), ()):
        for site in reversed(sites):
            if wanted[0] in site.hosts if wanted else not site.hosts:
                fitting = [route for route in site.routes if request.path.startswith(route.prefix)]
                return max(fitting, key=lambda route: len(route.prefix), default=None)
    return None
