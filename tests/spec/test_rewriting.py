"""Rewriting, redirects and field rules, through a whole edge by its configuration file."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import is_hit
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer
from tests.support.versions import VERSIONS, is_secure

CONFIG = """
listen: [http://127.0.0.1:0, https://127.0.0.1:0]
http2: {{plain: true}}
purge: {{allow: 127.0.0.1}}
sites:
  - origin: {url}
    headers:
      request: {{set: {{X-Edge: one}}, remove: [cookie, x-secret, accept-encoding]}}
      response: {{set: {{Server: edge, X-Version: {version}}}, add: {{Vary: Origin}}, remove: [x-powered-by]}}
    hsts: {{max_age: 1y, subdomains: true}}
    redirects:
      - {{path: /old/*, to: /new/$1}}
      - {{path: /docs, to: 'https://docs.example.org/start?from=edge', status: 302}}
      - {{pattern: '^/p/([0-9]+)$', to: '/page?id=$1'}}
      - {{path: /strip*, to: /$1}}
    routes:
      - prefix: /api
        rewrite: {{host: app.internal, strip_prefix: /api, add_prefix: /v2, cookies: true}}
      - prefix: /img/
        rewrite:
          path:
            - {{pattern: '^/img/([a-z]+)-([0-9]+)$', to: '/render?name=$1&size=$2'}}
            - {{pattern: '^/img/(.*)$', to: '/files/$1/x'}}
      - prefix: /secure/
        https_only: true
      - prefix: /www/
        canonical_host: www.edge.test
"""


def respond(request: Recorded) -> bytes:
    """Tells what it was asked, and names itself as its target wants."""
    lines = ["Cache-Control: max-age=60", "X-Powered-By: origin", "Server: origin", "Vary: Accept"]
    if request.target == "/v2/go":
        lines += ["Location: http://app.internal/v2/there", "Set-Cookie: a=1; Path=/v2; Domain=app.internal"]
        return answer(b"", "302 Found", lines)
    if request.method == "POST":
        return answer(b"", "201 Created", ["Location: /v2/made"])
    return answer(request.target.encode(), headers=lines)


@pytest.fixture(scope="module")
def origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin(respond) as running:
        yield running


@pytest.fixture(scope="module")
def running(origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEdge]:
    directory = tmp_path_factory.mktemp("rewriting")
    with configured_edge(directory, CONFIG.format(url=origin.url, version=1)) as running:
        yield running


@pytest.fixture
def edge(running: ConfiguredEdge, over: str) -> ConfiguredEdge:
    """Its paths are known beforehand, so that each version begins with an empty cache."""
    running.purge()
    return running.by(over)


def test_the_origin_is_asked_for_what_the_rule_says_and_the_cache_keeps_the_clients_url(
    edge: ConfiguredEdge, origin: ScriptedOrigin
) -> None:
    assert edge.ask("/api/users?x=1").body == b"/v2/users?x=1"
    asked = origin.requests[-1]
    assert asked.headers["host"] == "app.internal"
    assert asked.headers["x-forwarded-host"] == "edge.test"
    assert is_hit(edge.ask("/api/users?x=1"))
    assert not is_hit(edge.ask("/v2/users?x=1"))
    assert origin.requests[-1].headers["host"] == "edge.test"


def test_a_group_of_a_pattern_is_data_in_a_query(edge: ConfiguredEdge) -> None:
    assert edge.ask("/img/cat-200?v=2").body == b"/render?name=cat&size=200&v=2"
    assert edge.ask("/img/a&b=c").body == b"/files/a&b=c/x"


def test_what_the_origin_names_is_named_as_clients_know_it(edge: ConfiguredEdge) -> None:
    for _ in range(2):  # fetched, then perhaps stored
        moved = edge.ask("/api/go")
        assert moved.fields["location"] == "/api/there"
        assert moved.fields["set-cookie"] == "a=1; Path=/api"


def test_an_unsafe_method_forgets_what_its_location_names_at_the_client(edge: ConfiguredEdge) -> None:
    edge.ask("/api/made")
    assert is_hit(edge.ask("/api/made"))
    made = edge.ask("/api/list", "Content-Length: 0", method="POST")
    assert made.fields["location"] == "/api/made"
    assert not is_hit(edge.ask("/api/made"))


def test_a_purge_names_the_clients_url(edge: ConfiguredEdge) -> None:
    edge.ask("/api/purged")
    assert is_hit(edge.ask("/api/purged"))
    assert edge.ask("/api/purged", method="PURGE").status == 200
    assert not is_hit(edge.ask("/api/purged"))


@pytest.mark.parametrize("path", ["/img/..", "/img/../secret", "/img/%2e%2e/secret", "/img//..//secret"])
def test_no_spelling_leads_a_rewritten_path_out(
    edge: ConfiguredEdge, origin: ScriptedOrigin, path: str
) -> None:
    edge.ask(path)
    assert not any(".." in request.target for request in origin.requests)
    assert origin.requests[-1].target in ("/", "/secret")  # what the path means, and no route of ours


REDIRECTS = [
    pytest.param("/old/a/b", "GET", 301, "/new/a/b", id="path"),
    pytest.param("/old/a?x=1", "GET", 301, "/new/a?x=1", id="query"),
    pytest.param("/old/a", "POST", 308, "/new/a", id="method"),
    pytest.param("/docs", "GET", 302, "https://docs.example.org/start?from=edge", id="another host"),
    pytest.param("/p/17?x=1", "GET", 301, "/page?id=17&x=1", id="pattern"),
    pytest.param("/strip//evil.test/", "GET", 301, "/evil.test/", id="no other host by slashes"),
    pytest.param("/strip%2F%2Fevil.test/", "GET", 301, "/%2F%2Fevil.test/", id="nor by encoded ones"),
    pytest.param(
        "/old/%0d%0aSet-Cookie:%20a=1", "GET", 301, "/new/%0D%0ASet-Cookie:%20a=1", id="no new line"
    ),
]


@pytest.mark.parametrize(("path", "method", "status", "location"), REDIRECTS)
def test_redirects(
    edge: ConfiguredEdge, origin: ScriptedOrigin, path: str, method: str, status: int, location: str
) -> None:
    before = len(origin.requests)
    redirect = edge.ask(path, "Content-Length: 0", method=method)
    assert (redirect.status, redirect.fields["location"], redirect.body) == (status, location, b"")
    assert "set-cookie" not in redirect.fields
    assert redirect.fields["x-version"] == "1"  # rules for answers are for ours too
    assert len(origin.requests) == before


@pytest.mark.parametrize("over", [version for version in VERSIONS if not is_secure(version)])
def test_http_leads_to_the_port_that_speaks_https(edge: ConfiguredEdge) -> None:
    port = edge.ends.tls
    redirect = edge.ask("/secure/a?x")
    assert (redirect.status, redirect.fields["location"]) == (301, f"https://edge.test:{port}/secure/a?x")
    assert "strict-transport-security" not in redirect.fields


def test_another_host_leads_to_the_canonical_one(edge: ConfiguredEdge) -> None:
    scheme = "https" if is_secure(edge.over) else "http"
    assert edge.ask("/www/a").fields["location"] == f"{scheme}://www.edge.test/www/a"


def test_only_https_asks_for_https_from_now_on(edge: ConfiguredEdge) -> None:
    told = edge.ask("/a").fields.get("strict-transport-security")
    assert told == ("max-age=31536000; includeSubDomains" if is_secure(edge.over) else None)


def test_fields_are_changed_towards_origin_and_client(edge: ConfiguredEdge, origin: ScriptedOrigin) -> None:
    request = ("Cookie: a=1", "X-Secret: 2", "X-Edge: forged", "Accept-Encoding: gzip", "X-Kept: 3")
    answers = [edge.ask("/fields", *request) for _ in range(2)]
    asked = origin.requests[-1].headers
    assert asked["x-edge"] == "one"
    assert asked["x-kept"] == "3"
    assert not {"cookie", "x-secret", "accept-encoding"} & asked.keys()
    assert is_hit(answers[1])
    for got in answers:
        assert got.fields["server"] == "edge"
        assert got.fields["x-version"] == "1"
        assert got.fields["vary"] == "Accept, Origin"  # the origin's line, then ours
        assert "x-powered-by" not in got.fields


def test_rules_for_answers_hold_for_hits_at_once_after_a_reload(
    origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("reloaded")
    with configured_edge(directory, CONFIG.format(url=origin.url, version=1)) as edge:
        edge.ask("/stored")
        assert edge.ask("/stored").fields["x-version"] == "1"
        edge.reload(CONFIG.format(url=origin.url, version=2))
        hit = edge.ask("/stored")
        assert is_hit(hit)
        assert hit.fields["x-version"] == "2"
