"""Rewriting: what the origin is asked for, and the way back for what it names."""

import asyncio
from typing import Any

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.origin.rewrite import Rewrite, RewritingFetch
from worker.security.normalize import Normalizer
from worker.settings import RewriteSettings

ADDRESS = "http://app.internal:8000"
MOUNTED = RewriteSettings(strip_prefix=b"/api")
MOVED = RewriteSettings(host="app.test", strip_prefix=b"/api/", add_prefix=b"/v2/", cookies=True)


def rewrite(settings: RewriteSettings) -> Rewrite:
    return Rewrite(settings, {ADDRESS}, Normalizer().normal_path)


def by(*paths: tuple[str, str]) -> RewriteSettings:
    return RewriteSettings(paths=paths)


TARGETS = [  # settings, path, query -> target
    pytest.param(MOUNTED, b"/api/users", None, b"/users", id="prefix stripped"),
    pytest.param(MOUNTED, b"/api/users", b"a=1", b"/users?a=1", id="query kept"),
    pytest.param(MOUNTED, b"/api/users", b"", b"/users?", id="empty query kept"),
    pytest.param(MOUNTED, b"/api", None, b"/", id="the prefix itself"),
    pytest.param(MOUNTED, b"/api/", None, b"/", id="the prefix and a slash"),
    pytest.param(MOUNTED, b"/apis", None, b"/apis", id="a prefix ends at a slash"),
    pytest.param(MOUNTED, b"/api%2Fx", None, b"/api%2Fx", id="an encoded slash is none"),
    pytest.param(MOUNTED, b"*", None, b"*", id="the server as a whole"),
    pytest.param(MOVED, b"/api/users", None, b"/v2/users", id="stripped and added"),
    pytest.param(MOVED, b"/api", None, b"/v2/", id="the prefix itself, moved"),
    pytest.param(MOVED, b"/other", None, b"/v2/other", id="added whatever was there"),
    pytest.param(by(("^/u/([0-9]+)$", "/users/$1")), b"/u/7", b"x", b"/users/7?x", id="pattern"),
    pytest.param(by(("^/a", "/b"), ("^/b", "/c")), b"/a", None, b"/b", id="only the first that matches"),
    pytest.param(by(("^/(.*)$", "/index.php?q=$1")), b"/a&b=1", b"c=2", b"/index.php?q=a%26b%3D1&c=2",
                 id="query"),
    pytest.param(by(("^/(.*)$", "/index.php?q=$1")), b"/a", None, b"/index.php?q=a",
                 id="query where none was"),
    pytest.param(by(("^/a(.*)$", "/$1")), b"/a/evil.test/x", None, b"/evil.test/x",
                 id="two slashes become one"),
    pytest.param(by(("^/a(.*)$", "/x/%4$1")), b"/a1", None, b"/x/A", id="normal form of escapes"),
    pytest.param(RewriteSettings(strip_prefix=b"/s", paths=(("^/a$", "/b"),), add_prefix=b"/p"),
                 b"/s/a", None, b"/p/b", id="strip, replace, add"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "path", "query", "target"), TARGETS)
def test_target(settings: RewriteSettings, path: bytes, query: bytes | None, target: bytes) -> None:
    assert rewrite(settings).target(path, query) == target


REFUSED = [  # replacement, path
    pytest.param("/files/.$1/x", b"/a.", id="dot segment"),
    pytest.param("/files/.$1", b"/a.", id="dot segment at the end"),
    pytest.param("/files/%2$1/x", b"/aE.", id="half of an escape makes the other half"),
    pytest.param("/files/%2e$1/x", b"/a%2e", id="encoded dot segment"),
    pytest.param("/files/$1", b"/a../x", id="captured"),
    pytest.param("/files/%$1", b"/azz", id="no escape"),
    pytest.param("/files/%0$1", b"/a0", id="NUL"),
    pytest.param("/files/%5$1", b"/aC", id="backslash"),
    pytest.param("/files/..%2$1", b"/aFx", id="a dot segment beside an encoded slash"),
]


@pytest.mark.parametrize(("to", "path"), REFUSED)
def test_what_leads_out_or_has_no_normal_form_is_refused(to: str, path: bytes) -> None:
    with pytest.raises(EdgeError) as caught:
        rewrite(by(("^/a(.*)$", to))).target(path, None)
    assert caught.value.status == 400


def test_line_ends_stay_encoded() -> None:
    assert rewrite(by(("^/a(.*)$", "/files/$1"))).target(b"/a%0D%0AX:1", None) == b"/files/%0D%0AX:1"


REFERENCES = [  # settings, the origin's reference -> the client's
    pytest.param(MOUNTED, b"/login", b"/api/login", id="path"),
    pytest.param(MOUNTED, b"/", b"/api/", id="root"),
    pytest.param(MOUNTED, b"/login?next=/a#b", b"/api/login?next=/a#b", id="with query and fragment"),
    pytest.param(MOUNTED, b"/api/login", b"/api/login", id="an origin that knows where it is mounted"),
    pytest.param(MOUNTED, b"login", b"login", id="relative"),
    pytest.param(MOUNTED, b"?page=2", b"?page=2", id="query alone"),
    pytest.param(MOUNTED, b"http://app.internal:8000/a", b"/api/a", id="the origin's URL"),
    pytest.param(MOUNTED, b"HTTP://App.Internal:8000/a", b"/api/a", id="the origin's URL in another case"),
    pytest.param(MOUNTED, b"http://app.internal:8000", b"/api/", id="the origin's URL without a path"),
    pytest.param(MOUNTED, b"http://app.internal:8000?a", b"/api/?a",
                 id="the origin's URL with a query alone"),
    pytest.param(MOUNTED, b"//app.internal:8000/a", b"/api/a", id="without a scheme"),
    pytest.param(MOUNTED, b"https://app.internal:8000/a", b"https://app.internal:8000/a",
                 id="another scheme"),
    pytest.param(MOUNTED, b"http://app.internal:8001/a", b"http://app.internal:8001/a", id="another port"),
    pytest.param(MOUNTED, b"http://app.internal:8000//evil.test", b"/api/evil.test",
                 id="no host out of a path"),
    pytest.param(RewriteSettings(host="a.test"), b"http://app.internal:8000//evil.test", b"/evil.test",
                 id="no host out of a path, without prefixes"),
    pytest.param(MOUNTED, b"http://app.internal:8000@evil.test/", b"http://app.internal:8000@evil.test/",
                 id="user"),
    pytest.param(MOUNTED, b"https://elsewhere.test/a", b"https://elsewhere.test/a", id="elsewhere"),
    pytest.param(MOUNTED, b"mailto:a@app.internal", b"mailto:a@app.internal", id="no http"),
    pytest.param(MOUNTED, b"", b"", id="empty"),
    pytest.param(MOVED, b"/v2/login", b"/api/login", id="moved"),
    pytest.param(MOVED, b"/v2", b"/api", id="moved, the prefix itself"),
    pytest.param(MOVED, b"/v20/login", b"/v20/login", id="not below what was added"),
    pytest.param(MOVED, b"http://app.test/v2/a", b"/api/a", id="the host it was told"),
    pytest.param(MOVED, b"http://app.test:80/v2/a", b"/api/a", id="the host it was told, with its port"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "reference", "expected"), REFERENCES)
def test_reference(settings: RewriteSettings, reference: bytes, expected: bytes) -> None:
    assert rewrite(settings).reference(reference, b"http") == expected


def test_the_clients_scheme_counts_as_the_origins_own() -> None:
    """An origin that is told X-Forwarded-Proto builds its URLs with it."""
    assert rewrite(MOVED).reference(b"https://app.test/v2/a", b"https") == b"/api/a"
    assert rewrite(MOVED).reference(b"https://app.test/v2/a", b"http") == b"https://app.test/v2/a"


COOKIES = [
    pytest.param(b"a=1; Path=/v2; HttpOnly", b"a=1; Path=/api; HttpOnly", id="path"),
    pytest.param(b"a=1; path=/v2/x", b"a=1; Path=/api/x", id="path below"),
    pytest.param(b"a=1; Path=/elsewhere", b"a=1; Path=/elsewhere", id="another path"),
    pytest.param(b"a=1; Domain=.App.test; Secure", b"a=1; Secure", id="the origin's domain"),
    pytest.param(b"a=1; domain=app.internal", b"a=1", id="the origin's domain by its URL"),
    pytest.param(b"a=1; Domain=example.org", b"a=1; Domain=example.org", id="another domain"),
    pytest.param(b"__Host-a=1; Path=/", b"__Host-a=1; Path=/", id="a cookie of the host"),
    pytest.param(b"a=Path=/v2", b"a=Path=/v2", id="a value"),
]


@pytest.mark.parametrize(("cookie", "expected"), COOKIES)
def test_cookies(cookie: bytes, expected: bytes) -> None:
    assert rewrite(MOVED).cookie(cookie) == expected


def test_an_answer_names_the_clients_urls() -> None:
    fields = Fields.of(
        [
            (b"location", b"/v2/a"),
            (b"Content-Location", b"http://app.test/v2/b"),
            (b"Refresh", b"5; url='/v2/c'"),
            (b"Set-Cookie", b"a=1; Path=/v2"),
            (b"X-Other", b"/v2/d"),
            (b"Set-Cookie", b"b=2"),
        ]
    )
    rewrite(MOVED).map_back(fields, b"http")
    assert fields.items() == [
        (b"Location", b"/api/a"),
        (b"Content-Location", b"/api/b"),
        (b"Refresh", b"5; url='/api/c'"),
        (b"X-Other", b"/v2/d"),
        (b"Set-Cookie", b"a=1; Path=/api"),
        (b"Set-Cookie", b"b=2"),
    ]


def test_cookies_are_left_alone_unless_asked_for() -> None:
    fields = Fields.of([(b"Set-Cookie", b"a=1; Path=/x; Domain=app.internal")])
    rewrite(MOUNTED).map_back(fields, b"http")
    assert fields.get(b"set-cookie") == b"a=1; Path=/x; Domain=app.internal"


def test_the_fetch_is_told_in_the_context_and_its_answer_mapped_back() -> None:
    seen: list[Any] = []

    async def fetch(ctx: Context, *how: Any, **more: Any) -> Response:
        seen.append((ctx.origin_target, ctx.origin_host, how, more))
        return Response(302, Fields.of([(b"Location", b"/v2/login")]), None, 0)

    ctx = make_context(path=b"/api/a", query=b"q")
    response = asyncio.run(RewritingFetch(fetch, rewrite(MOVED))(ctx, None, (b"cookie",), method=b"GET"))
    assert seen == [(b"/v2/a?q", b"app.test", (None, (b"cookie",)), {"method": b"GET"})]
    assert response.fields.get(b"location") == b"/api/login"
    assert ctx.request.path == b"/api/a"
