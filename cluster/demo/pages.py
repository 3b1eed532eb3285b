"""The demo site's pages: one for each thing a cache does, each telling when and how often it was made.

Plain aiohttp handlers. What a page says about itself (`Cache-Control`, `Vary`, `ETag`) is the lesson;
its text tells what to expect from the edge in front.
"""

import asyncio
import hashlib
import html
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

BIG_BYTES = 20_000_000
SLOW_S = 1.0
NEWS_S = 5

MADE: web.AppKey[Counter[str]] = web.AppKey("made", Counter[str])  # answers per path, by this process
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GREETINGS = {"en": "Good day", "de": "Guten Tag", "fr": "Bonjour", "es": "Buenos días", "ja": "こんにちは"}

_STYLE = """
:root { color-scheme: light dark }
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 { font-size: 1.7rem; line-height: 1.2 }
dt { margin-top: 1.1rem } dd { margin: .1rem 0 0; opacity: .85 }
code { font-size: .92em; padding: .1em .3em; border-radius: .25em; background: #8883 }
footer { margin-top: 2.5rem; opacity: .7; font-size: .9rem }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A link on the index page and what to look at there."""

    path: str
    title: str
    lesson: str
    handler: Handler


def application() -> web.Application:
    """The site, its counters at zero."""
    app = web.Application()
    app[MADE] = Counter()
    app.on_response_prepare.append(_sign)
    app.router.add_get("/", index)
    for page in PAGES:
        app.router.add_get(page.path, page.handler)
    app.router.add_route("*", "/{rest:.*}", missing)
    return app


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "edgecluster-demo-origin"


def document(request: web.Request, title: str, *paragraphs: str) -> str:
    """An HTML page; the paragraphs are HTML already. Counts it as made."""
    made = request.app[MADE]
    path = request.path if request.path in KNOWN else "(no such page)"  # bounded, whatever is asked
    made[path] += 1
    now = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
    body = "\n".join(
        f"<p>{paragraph}</p>" if not paragraph.startswith("<") else paragraph for paragraph in paragraphs
    )
    back = "" if request.path == "/" else '<p><a href="/">back to the list</a></p>\n'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n{back}"
        f"<footer>Made by the origin at {now} UTC; "
        f"it has made this page {made[path]} time(s).</footer>\n</body>\n</html>\n"
    )


def answer(text: str, cache_control: str, *, status: int = 200, **fields: str) -> web.Response:
    """An HTML answer; `fields` are header fields with `_` for `-`."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return web.Response(
        status=status,
        text=text,
        content_type="text/html",
        headers={"Cache-Control": cache_control, **headers},
    )


async def index(request: web.Request) -> web.Response:
    items = "\n".join(
        f'<dt><a href="{page.path}">{page.path}</a> — {html.escape(page.title)}</dt><dd>{page.lesson}</dd>'
        for page in PAGES
    )
    text = document(
        request,
        "It works: this is the demo origin",
        "You see it through edgecluster, which stands in front of it. Each link shows one thing a caching "
        "edge does. Open it, reload it, and look at the response headers <code>Cache-Status</code>, "
        "<code>Age</code> and <code>X-Cache</code> (the developer tools of your browser, or "
        "<code>curl -si</code>). The last line of every page tells when the origin made it: a page from the "
        "cache keeps its time.",
        f"<dl>\n{items}\n</dl>",
    )
    return answer(text, "public, max-age=10")


async def page(request: web.Request) -> web.Response:
    text = document(
        request,
        "A page for everyone",
        "<code>Cache-Control: public, max-age=60</code>: the origin allows this page to be kept for a "
        "minute. However often you ask within it, the origin is asked once.",
    )
    return answer(text, "public, max-age=60")


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(SLOW_S)
    text = document(
        request,
        "A slow page",
        "The origin took a second for this. The second time it comes at once, and when a hundred people "
        "ask at the same time, the origin still makes it once: the others wait for the one who asked first.",
    )
    return answer(text, "public, max-age=30")


async def language(request: web.Request) -> web.Response:
    wished = request.headers.get("Accept-Language", "en")[:2].lower()
    chosen = wished if wished in GREETINGS else "en"
    text = document(
        request,
        f"{GREETINGS[chosen]}!",
        "<code>Vary: Accept-Language</code>: this page depends on the language you ask for, so each language "
        f"has its own place in the cache. You got <code>{chosen}</code>; there are {', '.join(GREETINGS)}. "
        "Try <code>curl -H 'Accept-Language: de'</code>.",
    )
    return answer(text, "public, max-age=60", Vary="Accept-Language", Content_Language=chosen)


async def private(request: web.Request) -> web.Response:
    text = document(
        request,
        "A page for you alone",
        "<code>Cache-Control: private</code>: no shared cache may keep this. <code>Cache-Status</code> says "
        "so, and the count below goes up with every visit.",
    )
    return answer(text, "private, max-age=60")


async def news(request: web.Request) -> web.StreamResponse:
    """Changes once a minute; within it, whoever has it already is told so without a body."""
    minute = datetime.now(UTC).strftime("%H:%M")
    tag = f'"{minute}"'
    control = f"public, max-age={NEWS_S}"
    if request.headers.get("If-None-Match") == tag:
        request.app[MADE]["/news (304)"] += 1
        return web.Response(status=304, headers={"ETag": tag, "Cache-Control": control})
    text = document(
        request,
        f"The news of {minute}",
        f"Fresh for {NEWS_S} seconds. After that the edge does not fetch it again: it asks "
        f"<code>If-None-Match: {html.escape(tag)}</code>, the origin answers <code>304 Not Modified</code> "
        "without a body, and you get the stored page (<code>X-Cache: REVALIDATED</code>) until the minute is "
        "over.",
    )
    return answer(text, control, ETag=tag)


async def big(request: web.Request) -> web.StreamResponse:
    request.app[MADE][request.path] += 1
    response = web.StreamResponse(
        headers={"Cache-Control": "public, max-age=3600", "ETag": f'"{big_digest()}"'}
    )
    response.content_type = "application/octet-stream"
    response.content_length = BIG_BYTES
    await response.prepare(request)
    if request.method != "HEAD":
        async for piece in big_pieces():
            await response.write(piece)
    await response.write_eof()
    return response


async def big_pieces() -> AsyncIterator[bytes]:
    """The big file: the same bytes every time, no two pieces alike, so that a mix-up would show."""
    sent = 0
    while sent < BIG_BYTES:
        seed = hashlib.sha256(str(sent).encode()).digest()
        piece = (seed * 2048)[: BIG_BYTES - sent]
        sent += len(piece)
        yield piece


def big_digest() -> str:
    """A validator for the big file; its content depends on its size alone."""
    return hashlib.sha256(str(BIG_BYTES).encode()).hexdigest()[:16]


async def error(request: web.Request) -> web.Response:
    text = document(
        request,
        "The origin failed",
        "Status 500, <code>Cache-Control: no-store</code>: the edge passes it on as it is and keeps nothing.",
    )
    return answer(text, "no-store", status=500)


async def counts(request: web.Request) -> web.Response:
    made = request.app[MADE]
    text = document(
        request,
        "What the origin had to do",
        "<code>Cache-Control: no-store</code>, so this is always current. Answers since the start, by path:",
        "<dl>"
        + "".join(
            f"<dt><code>{html.escape(path)}</code></dt><dd>{count}</dd>"
            for path, count in sorted(made.items())
        )
        + "</dl>",
    )
    return answer(text, "no-store")


async def missing(request: web.Request) -> web.Response:
    text = document(
        request, "Nothing here", f"The demo has no page <code>{html.escape(request.path)}</code>."
    )
    return answer(text, "public, max-age=10", status=404)


PAGES = (
    Page(
        "/page",
        "a page for everyone",
        "Kept for a minute. First a miss, then hits with a growing <code>Age</code>.",
        page,
    ),
    Page("/slow", "a slow page", "Takes the origin a second, and the edge no time once it has it.", slow),
    Page(
        "/language",
        "one page per language",
        "<code>Vary: Accept-Language</code>: each language is stored for itself.",
        language,
    ),
    Page(
        "/news",
        "a page that is asked about",
        f"Fresh for {NEWS_S} seconds, then revalidated: <code>304</code>, no body.",
        news,
    ),
    Page(
        "/private",
        "a page for one",
        "<code>private</code>: never stored, and <code>Cache-Status</code> tells why.",
        private,
    ),
    Page(
        "/big", "a big file", f"{BIG_BYTES // 10**6} MB, stored in shared memory once for all workers.", big
    ),
    Page("/error", "an error", "Status 500 from the origin, passed on and not stored.", error),
    Page(
        "/counts", "what the origin had to do", "How often it was asked for each page. Never stored.", counts
    ),
)
KNOWN = {"/", *(one.path for one in PAGES)}
