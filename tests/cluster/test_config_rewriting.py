"""Rewriting, redirects, field rules and directories in the configuration: what they mean, how they can be wrong."""

# Messages stand here as users see them, in one piece:
# ruff: noqa: E501

import os
from pathlib import Path

import pytest

from cluster.config import Flags, load
from cluster.config.check import origins
from cluster.errors import UsageError
from cluster.settings import ClusterSettings
from worker.settings import (
    DirectorySettings,
    HeaderSettings,
    RedirectSettings,
    RewriteSettings,
    RouteSettings,
)


def loaded(tmp_path: Path, text: str) -> ClusterSettings:
    file = tmp_path / "edge.yaml"
    file.write_text(text)
    return load(file)


def route_of(tmp_path: Path, rules: str, origin: str = "http://a.example") -> RouteSettings:
    settings = loaded(tmp_path, f"trusted_proxies: ['::1']\nsites: [{{origin: {origin}, {rules}}}]\n")
    return settings.worker.sites[0].routes[0]


def test_rewriting(tmp_path: Path) -> None:
    rules = (
        "rewrite: {host: App.Internal, strip_prefix: /api, add_prefix: /v2, cookies: true, "
        "path: [{pattern: '^/u/(.*)', to: /users/$1}, {pattern: x, to: '/y?z'}]}"
    )
    assert route_of(tmp_path, rules).rewrite == RewriteSettings(
        host="app.internal",
        strip_prefix=b"/api",
        paths=(("^/u/(.*)", "/users/$1"), ("x", "/y?z")),
        add_prefix=b"/v2",
        cookies=True,
    )
    one = route_of(tmp_path, "rewrite: {host: '::1', path: {pattern: x, to: /y}}").rewrite
    assert one == RewriteSettings(host="[::1]", paths=(("x", "/y"),))


def test_redirects(tmp_path: Path) -> None:
    rules = "redirects: [{path: /a/*, to: https://b.example/$1}, {pattern: ^/c$, to: /d, status: 302}]"
    assert route_of(tmp_path, rules).redirects == (
        RedirectSettings("https://b.example/$1", path="/a/*"),
        RedirectSettings("/d", pattern="^/c$", status=302),
    )
    one = route_of(tmp_path, "redirects: {path: /a, to: /b}, https_only: true, canonical_host: www.a.example")
    assert len(one.redirects) == 1
    assert (one.https_only, one.canonical_host) == (True, b"www.a.example")


def test_fields(tmp_path: Path) -> None:
    rules = (
        "headers: {request: {set: {X-A: a b}, remove: Cookie}, "
        "response: {set: {X-XSS-Protection: 0}, add: {Link: </a>}, remove: [Server, X-B]}}"
    )
    route = route_of(tmp_path, rules)
    assert route.request_headers == HeaderSettings(set=((b"X-A", b"a b"),), remove=(b"cookie",))
    assert route.response_headers == HeaderSettings(
        set=((b"X-XSS-Protection", b"0"),), add=((b"Link", b"</a>"),), remove=(b"server", b"x-b")
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1y", b"max-age=31536000"),
        ("0", b"max-age=0"),
        ("{max_age: 52w, subdomains: true, preload: true}", b"max-age=31449600; includeSubDomains; preload"),
    ],
)
def test_hsts(tmp_path: Path, written: str, value: bytes) -> None:
    assert route_of(tmp_path, f"hsts: {written}").hsts == value


def test_a_route_has_its_own_rules_or_those_of_its_site(tmp_path: Path) -> None:
    site = "rewrite: {host: a}, redirects: {path: /a, to: /b}, https_only: true, canonical_host: b, hsts: 1d"
    own = (
        "{prefix: /o, rewrite: {}, redirects: [], https_only: false, canonical_host: c, hsts: 0, headers: {}}"
    )
    text = f"headers: {{request: {{remove: x}}}}, {site}, routes: [{{prefix: /s}}, {own}]"
    settings = loaded(tmp_path, f"trusted_proxies: ['::1']\nsites: [{{origin: http://a.example, {text}}}]\n")
    its, own_route = settings.worker.sites[0].routes[:2]
    assert (its.https_only, its.canonical_host, its.hsts) == (True, b"b", b"max-age=86400")
    assert (its.rewrite, len(its.redirects)) == (RewriteSettings(host="a"), 1)
    assert its.request_headers == HeaderSettings(remove=(b"x",))
    assert (own_route.https_only, own_route.canonical_host, own_route.hsts) == (False, b"c", b"max-age=0")
    assert (own_route.rewrite, own_route.redirects) == (RewriteSettings(), ())
    assert own_route.request_headers == HeaderSettings()


DIRECTORIES = [
    ("./public", "{0}/public"),
    (".", "{0}"),
    ("../public", "{1}/public"),
    ("/var/www/a b", "/var/www/a b"),
    ("file:///var/www/a%20b", "/var/www/a b"),
    ("file://localhost/srv/", "/srv"),
    ("{url: ./public}", "{0}/public"),
]


@pytest.mark.parametrize(("origin", "path"), DIRECTORIES)
def test_directories(tmp_path: Path, origin: str, path: str) -> None:
    route = route_of(tmp_path, "name: x", origin)
    assert route.origin == DirectorySettings(path.format(tmp_path, tmp_path.parent))


def test_index_files(tmp_path: Path) -> None:
    route = route_of(tmp_path, "name: x", "{url: /srv, index: [a.html, b.html]}")
    assert route.origin == DirectorySettings("/srv", ("a.html", "b.html"))
    assert route_of(tmp_path, "name: x", "{url: /srv, index: []}").origin == DirectorySettings("/srv", ())


def test_a_directory_on_the_command_line_is_seen_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "edge.yaml").write_text("workers: 1\n")
    for config in (None, Path("conf/edge.yaml")):
        settings = load(config, Flags(to="./public"))
        assert settings.worker.sites[0].routes[0].origin == DirectorySettings(f"{tmp_path}/public")


UNTOUCHABLE = (
    "cannot be changed: it says where the message ends, or what one connection does: only who sends it knows"
)
WRONG = [  # rules, the message behind the position
    ("rewrite: {path: {pattern: (, to: /a}}", "bad value '(' for 'sites[0].rewrite.path.pattern': missing ): ( (expects a regular expression for paths as RE2 reads it, such as ^/user/([0-9]+)$)"),
    ("rewrite: {path: {pattern: (a)b, to: /$2}}", "bad value (a mapping) for 'sites[0].rewrite.path': $2 has no group: the pattern has 1 (expects a mapping with pattern and to)"),
    ("rewrite: {path: {pattern: a, to: b}}", "bad value 'b' for 'sites[0].rewrite.path.to': is no path: a slash first, no space, # or backslash (expects a path such as /users/$1)"),
    ("rewrite: {strip_prefix: /a/../b}", "bad value '/a/../b' for 'sites[0].rewrite.strip_prefix': has a dot segment (expects a path such as /api)"),
    ("rewrite: {add_prefix: /a//b}", "bad value '/a//b' for 'sites[0].rewrite.add_prefix': is no path in its normal form: a slash first, no space, ?, #, backslash or // (expects a path such as /v2)"),
    ("rewrite: {host: a/b}", "bad value 'a/b' for 'sites[0].rewrite.host': a host name alone: no scheme, port or path (expects a host name such as example.org)"),
    ("redirects: [{path: /a, to: //b/c}]", "bad value '//b/c' for 'sites[0].redirects[0].to': is neither a path nor a URL whose host ends before the first $N (put a slash before it), without space, # and backslash (expects a path or URL such as https://www.example.org/new/$1)"),
    ("redirects: [{path: /a*, to: https://b.example$1}]", "bad value 'https://b.example$1' for 'sites[0].redirects[0].to': is neither a path nor a URL whose host ends before the first $N (put a slash before it), without space, # and backslash (expects a path or URL such as https://www.example.org/new/$1)"),
    ("redirects: [{path: /a, pattern: b, to: /c}]", "bad value (a mapping) for 'sites[0].redirects[0]': needs a 'path' or a 'pattern', and not both (expects a mapping with path, pattern, to and status)"),
    ("redirects: [{to: /c}]", "bad value (a mapping) for 'sites[0].redirects[0]': needs a 'path' or a 'pattern', and not both (expects a mapping with path, pattern, to and status)"),
    ("redirects: [{path: /a, to: /c$1}]", "bad value (a mapping) for 'sites[0].redirects[0]': $1 has no group: the pattern has 0 (expects a mapping with path, pattern, to and status)"),
    ("redirects: [{path: /a, to: /c, status: 304}]", "bad value 304 for 'sites[0].redirects[0].status' (expects 301, 302, 303, 307 or 308)"),
    ("redirects: [{path: /**********, to: /c}]", "bad value '/**********' for 'sites[0].redirects[0].path': has more than nine * (expects a path such as /old/*)"),
    ("headers: {request: {set: {Content-Length: 1}}}", f"bad value 'Content-Length' for 'sites[0].headers.request.set.Content-Length': {UNTOUCHABLE}"),
    ("headers: {response: {add: {transfer-encoding: x}}}", f"bad value 'transfer-encoding' for 'sites[0].headers.response.add.transfer-encoding': {UNTOUCHABLE}"),
    ("headers: {response: {remove: [Cache-Status]}}", "bad value 'Cache-Status' for 'sites[0].headers.response.remove[0]': cannot be changed: the edge writes it itself, on every message (expects a field's name such as X-Frame-Options)"),
    ("headers: {request: {set: {Host: a}}}", "bad value 'Host' for 'sites[0].headers.request.set.Host': cannot be changed: set it with 'rewrite: {host: NAME}' or the origin's 'host_header'"),
    ("headers: {request: {remove: If-None-Match}}", "bad value 'If-None-Match' for 'sites[0].headers.request.remove': cannot be changed: the cache asks with it, and would take the answer for another (expects a field's name such as X-Frame-Options)"),
    ("headers: {request: {add: {Accept-Encoding: br}}}", "bad value (a mapping) for 'sites[0].headers.request': 'Accept-Encoding' can only be removed: with another, clients get a coding they may not know (expects a mapping with set, add and remove)"),
    ("headers: {response: {set: {X-A: a}, remove: x-a}}", "bad value (a mapping) for 'sites[0].headers.response': 'x-a' is set or removed twice (expects a mapping with set, add and remove)"),
    ("headers: {response: {set: {'X A': a}}}", "bad value 'X A' for 'sites[0].headers.response.set.X A': is no name of a field: letters, digits and - only"),
    ('headers: {response: {set: {X-A: "a\\r\\nX-B: b"}}}', "bad value 'a"),
    ("headers: {response: {set: {X-A: true}}}", "bad value true for 'sites[0].headers.response.set.X-A': is no text of printable ASCII characters in one line; quotes make one of it"),
    ("hsts: soon", "bad value 'soon' for 'sites[0].hsts': not a number with a unit (expects a duration of whole seconds such as 30s or 5m, or 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, rules: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        route_of(tmp_path, rules)
    told = str(caught.value).removeprefix(f"{tmp_path}/edge.yaml:2:")
    column, _, rest = told.partition(": ")
    assert column.isdecimal()
    assert rest.startswith(message)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (
            "file://host/a",
            "a file URL names no host and an absolute path: write it like file:///var/www/site",
        ),
        ("file:a", "a file URL names no host and an absolute path: write it like file:///var/www/site"),
        ("file:///a?b", "takes no query or fragment: write ? as %3F and # as %23"),
        ("{url: /srv, index: a/b}", "not the name of a file that is served"),
        ("{url: http://a, index: a}", "'index' is for a directory, and the URL is that of a server"),
        ("{url: /srv, retries: 1}", "'retries' is for a server, and the URL is that of a directory"),
    ],
)
def test_a_wrong_directory(tmp_path: Path, origin: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        route_of(tmp_path, "name: x", origin)
    assert message in str(caught.value)


def test_a_redirect_to_https_needs_somebody_who_speaks_it(tmp_path: Path) -> None:
    site = "sites: [{origin: http://a.example, https_only: true}]\n"
    with pytest.raises(
        UsageError, match="1:48: nothing listens on https://: add such an address to 'listen'"
    ):
        loaded(tmp_path, site)
    loaded(tmp_path, f"listen: ['http://[::1]:80', 'https://[::1]:443']\n{site}")


def test_a_directory_is_looked_at_before_a_start(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    for path, level in (("there", "ok"), ("missing", "error"), ("edge.yaml", "error")):
        (found,) = origins(loaded(tmp_path, f"sites: [{{origin: ./{path}}}]\n"))
        assert (found.level, str(tmp_path / path) in found.message) == (level, True)
    if os.geteuid() == 0:  # the workers run as somebody else, who cannot get here
        (found,) = origins(loaded(tmp_path, "user: nobody\nsites: [{origin: ./there}]\n"))
        assert found.level == "error"
