"""The admin API: everything over the Unix socket, numbers and probes alone over the loopback address."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from cluster import wire
from cluster.control.edge import Edge
from shmcache.core import SegmentError
from worker.observe.exposition import CONTENT_TYPE

EDGE: web.AppKey[Edge] = web.AppKey("edge", Edge)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

INDEX = "edgecluster: /metrics for Prometheus, /healthz (alive), /readyz (every worker up)\n"


def admin_application(edge: Edge) -> web.Application:
    """The whole API. Whoever can open the socket may use all of it."""
    app = web.Application(middlewares=[errors_as_json])
    app[EDGE] = edge
    app.router.add_get("/status", status)
    app.router.add_get("/stats", stats)
    app.router.add_post("/purge", purge)
    app.router.add_get("/cache/stats", cache_stats)
    app.router.add_get("/cache/entries", cache_entries)
    app.router.add_get("/cache/entry", cache_entry)
    app.router.add_post("/reload", reload)
    app.router.add_get("/certificates", certificates)
    app.router.add_post("/certificates/renew", renew)
    _add_probes(app)
    return app


def public_application(edge: Edge) -> web.Application:
    """What a monitoring system needs, and nothing that changes anything."""
    app = web.Application()
    app[EDGE] = edge
    app.router.add_get("/", index)
    _add_probes(app)
    return app


def _add_probes(app: web.Application) -> None:
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal has a body that says why."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"ok": False, "error": error.text or error.reason}, status=error.status)
    except wire.WireError as error:
        return web.json_response({"ok": False, "error": str(error)}, status=503)


async def status(request: web.Request) -> web.Response:
    """The supervisor's view and the totals."""
    edge = request.app[EDGE]
    return web.json_response({"ok": True, "cluster": await edge.cluster(), **edge.stats()})


async def stats(request: web.Request) -> web.Response:
    """The totals alone: they are there even when the supervisor is busy."""
    return web.json_response({"ok": True, **request.app[EDGE].stats()})


MAX_LISTED = 100_000  # responses listed at once

KINDS = ("url", "prefix", "host", "tag")
EXPECTED = (
    'expected one of "url", "prefix", "host", "tag" (a text or a list of texts) or "all": true, '
    'beside it perhaps "soft": true'
)


async def purge(request: web.Request) -> web.Response:
    """`{"url": URL}`, `{"prefix": URL}`, `{"host": HOST}`, `{"tag": TAG}`, each also as a list and in the
    plural, or `{"all": true}`; with `"soft": true` what is hit is made stale.

    All or nothing: one target that cannot be meant, and nothing is purged. "purged" tells of a URL whether
    something was stored for it: null if that is not known.
    """
    kind, targets, soft = await _purge_request(request)
    try:
        done = request.app[EDGE].purge_all_of(kind, targets, soft=soft)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cannot purge: {error}") from None
    except SegmentError as error:
        raise web.HTTPServiceUnavailable(text=f"cannot purge: {error}") from None
    said: dict[str, Any] = {"ok": True, "kind": kind, "soft": soft, "generation": done[-1].generation}
    if kind != "all":
        said["purged"] = {one.target: one.found if kind == "url" else True for one in done}
    return web.json_response(said)


async def _purge_request(request: web.Request) -> tuple[str, list[str], bool]:
    """Kind, targets and whether softly."""
    try:
        wanted: Any = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        wanted = None
    if (
        not isinstance(wanted, dict)
        or not isinstance(soft := wanted.pop("soft", False), bool)
        or len(wanted) != 1
    ):
        raise web.HTTPBadRequest(text=EXPECTED)
    [(name, given)] = wanted.items()
    if name == "all" and given is True:
        return "all", [], soft
    kind = "prefix" if name == "prefixes" else name.removesuffix("s")
    targets = given if isinstance(given, list) else [given]
    if kind not in KINDS or not targets or not all(isinstance(target, str) for target in targets):
        raise web.HTTPBadRequest(text=EXPECTED)
    return kind, targets, soft


async def cache_stats(request: web.Request) -> web.Response:
    """What the cache holds and has done."""
    return web.json_response({"ok": True, **request.app[EDGE].cache_stats()})


async def cache_entries(request: web.Request) -> web.Response:
    """`?prefix=URL&limit=N`: some of what is stored; "more" tells whether that is not all."""
    limit = request.query.get("limit", "100")
    if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LISTED:
        raise web.HTTPBadRequest(text=f"limit is a whole number from 1 to {MAX_LISTED}, not {limit!r}")
    try:
        found = await request.app[EDGE].cache_entries(request.query.get("prefix", ""), int(limit))
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cannot list: {error}") from None
    return web.json_response({"ok": True, **found})


async def cache_entry(request: web.Request) -> web.Response:
    """`?url=URL`: all that is stored for it."""
    try:
        found = await request.app[EDGE].cache_of_url(request.query.get("url", ""))
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cannot show: {error}") from None
    return web.json_response({"ok": True, **found})


async def reload(request: web.Request) -> web.Response:
    """Answers when the new generation serves, 409 when it could not."""
    answer = await request.app[EDGE].reload()
    return web.json_response(answer, status=200 if answer.get("ok") else 409)


async def certificates(request: web.Request) -> web.Response:
    """Every certificate that is served or waited for."""
    return web.json_response({"ok": True, "certificates": request.app[EDGE].certificates.report()})


async def renew(request: web.Request) -> web.Response:
    """`?name=NAME` or all: order anew now; answers when it is served, or has failed."""
    name = request.query.get("name", "")
    try:
        failed = await request.app[EDGE].certificates.renew(name)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if failed:
        text = "; ".join(f"{one}: {error}" for one, error in failed.items())
        raise web.HTTPBadGateway(text=text)
    return web.json_response({"ok": True, "certificates": request.app[EDGE].certificates.report()})


async def metrics(request: web.Request) -> web.Response:
    text = await request.app[EDGE].metrics()
    return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})


async def healthz(request: web.Request) -> web.Response:
    """Alive: this process answers."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """Every worker is up, or 503 and why not."""
    reason = await request.app[EDGE].not_ready()
    return web.Response(text=f"{reason}\n" if reason else "ready\n", status=503 if reason else 200)


async def index(request: web.Request) -> web.Response:
    return web.Response(text=INDEX)
