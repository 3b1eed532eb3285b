"""Which route takes a request: exact host names, then wildcards, then any host; the longest prefix."""

import pytest

from tests.support.cache_room import make_request
from worker.routing import MEMO_LIMIT, Routes
from worker.settings import OriginSettings, RouteSettings, SiteSettings

ORIGIN = OriginSettings("http", "127.0.0.1", 9)


def site(name: str, hosts: tuple[bytes, ...], *prefixes: bytes) -> SiteSettings:
    routes = tuple(RouteSettings(f"{name} {prefix.decode()}", prefix, ORIGIN) for prefix in prefixes)
    return SiteSettings(name, hosts, routes)


NAMED = (
    site("one", (b"a.example", b"*.b.example", b"[::1]"), b"/", b"/img/"),
    site("two", (b"c.example", b"x.b.example"), b"/only/"),
)
SITES = (*NAMED, site("any", (), b"/", b"/img/big/"))

FOUND = [  # sites, host, path -> name of the route
    (NAMED, b"a.example", "/", "one /"),
    (NAMED, b"a.example:81", "/img/x", "one /img/"),
    (NAMED, b"a.example", "/img", "one /"),
    (NAMED, b"y.b.example", "/x", "one /"),
    (NAMED, b"x.b.example", "/only/x", "two /only/"),
    (NAMED, b"x.b.example", "/x", ""),
    (NAMED, b"z.y.b.example", "/", ""),
    (NAMED, b"b.example", "/", ""),
    (NAMED, b"[::1]:80", "/", "one /"),
    (NAMED, b"[::1]", "/", "one /"),
    (NAMED, b"c.example", "/", ""),
    (NAMED, b"other.example", "/", ""),
    (SITES, b"c.example", "/", ""),
    (SITES, b"other.example", "/", "any /"),
    (SITES, b"z.y.b.example:8080", "/img/big/x", "any /img/big/"),
]


@pytest.mark.parametrize(("sites", "host", "path", "name"), FOUND)
def test_the_route_of_a_request(sites: tuple[SiteSettings, ...], host: bytes, path: str, name: str) -> None:
    routes = Routes(sites, lambda route: route.name, "")
    request = make_request(path, host=host)
    for _ in range(2):  # the second time from memory
        route, made = routes.find(request)
        assert (made, "" if route is None else route.name) == (name, name)


def test_memory_of_hosts_is_bounded() -> None:
    routes = Routes(SITES, lambda route: route.name, "")
    for number in range(2 * MEMO_LIMIT):
        routes.find(make_request("/", host=b"h%d" % number))
    assert len(routes._memo) <= MEMO_LIMIT
