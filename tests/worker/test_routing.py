"""Finding a route without a running router gives the route that the router gives."""

import pytest

from tests.support.cache_room import CLIENT, make_request
from worker.context import Context
from worker.pipeline import Pipeline
from worker.routing import Router, find_route
from worker.settings import OriginSettings, RouteSettings, SiteSettings

ORIGIN = OriginSettings("http", "127.0.0.1", 9)


def site(name: str, hosts: tuple[bytes, ...], *prefixes: bytes) -> SiteSettings:
    routes = tuple(RouteSettings(f"{name} {prefix.decode()}", prefix, ORIGIN) for prefix in prefixes)
    return SiteSettings(name, hosts, routes)


def pipeline() -> Pipeline:
    async def fetch(ctx: Context) -> object:
        raise AssertionError

    return Pipeline(
        gates=(),
        fetch=fetch,
        send_filters=(),
        observers=(),
        error_page=fetch,
        spawn=fetch,  # type: ignore[arg-type]
    )


NAMED = (
    site("one", (b"a.example", b"*.b.example"), b"/", b"/img/"),
    site("two", (b"c.example",), b"/only/"),
)
SITES = (*NAMED, site("any", (), b"/", b"/img/big/"))


@pytest.mark.parametrize("sites", [NAMED, SITES])
@pytest.mark.parametrize(
    "host", [b"a.example", b"a.example:81", b"x.b.example", b"b.example", b"c.example", b"[::1]:80", b"d"]
)
@pytest.mark.parametrize("path", ["/", "/img/", "/img/big/x", "/only/x"])
def test_the_same_route_as_the_router(sites: tuple[SiteSettings, ...], host: bytes, path: str) -> None:
    ctx = Context(make_request(path, host=host), CLIENT, b"0" * 32, 0, 0.0)
    Router(sites, lambda route: pipeline(), pipeline())(ctx)
    assert find_route(sites, ctx.request) is ctx.route
