"""The admin API: everything over the Unix socket, numbers and probes alone over the loopback address."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from cluster import wire
from cluster.control.edge import Edge
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
    app.router.add_post("/reload", reload)
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


async def purge(request: web.Request) -> web.Response:
    """`{"url": URL}`, `{"urls": [URL, ...]}` or `{"all": true}`.

    All or nothing: one URL that cannot be meant, and none is purged.
    """
    edge = request.app[EDGE]
    urls = await _purge_request(request)
    if urls is None:
        edge.purge_all()
        return web.json_response({"ok": True, "all": True})
    try:
        found = edge.purge_urls(urls)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cannot purge: {error}") from None
    return web.json_response({"ok": True, "urls": found})


async def _purge_request(request: web.Request) -> list[str] | None:
    """The URLs to purge; None for everything."""
    try:
        wanted: Any = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        wanted = None
    match wanted:
        case {"all": True}:
            return None
        case {"url": str(url)}:
            return [url]
        case {"urls": [*urls]} if urls and all(isinstance(url, str) for url in urls):
            return urls
    raise web.HTTPBadRequest(text='expected {"url": URL}, {"urls": [URL, ...]} or {"all": true}')


async def reload(request: web.Request) -> web.Response:
    """Answers when the new generation serves, 409 when it could not."""
    answer = await request.app[EDGE].reload()
    return web.json_response(answer, status=200 if answer.get("ok") else 409)


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
