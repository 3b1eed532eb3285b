"""The admin API: everything over the Unix socket, numbers and probes alone over the loopback address."""

import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, ParamSpec, TypeGuard, TypeVar

from aiohttp import web

from cluster import wire
from cluster.control.edge import Edge
from shmcache.core import SegmentError
from worker.observe.exposition import CONTENT_TYPE

P = ParamSpec("P")
T = TypeVar("T")

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
    app.router.add_get("/bans", bans)
    app.router.add_post("/ban", ban)
    app.router.add_post("/unban", unban)
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


BAN_EXPECTED = (
    'expected "networks": a list of addresses or networks; beside it perhaps "seconds": a number, '
    '"reason": a text'
)


async def bans(request: web.Request) -> web.Response:
    """Those in force."""
    return web.json_response({"ok": True, "bans": [asdict(one) for one in request.app[EDGE].bans.report()]})


async def ban(request: web.Request) -> web.Response:
    """`{"networks": [...], "seconds": N or null, "reason": TEXT}`: shut them out, until one cannot be."""
    wanted = await _json_object(request)
    networks, seconds, reason = wanted.get("networks"), wanted.get("seconds"), wanted.get("reason", "")
    is_span = seconds is None or (type(seconds) in (int, float) and 0 < seconds < math.inf)
    if not _are_texts(networks) or not is_span or not isinstance(reason, str):
        raise web.HTTPBadRequest(text=BAN_EXPECTED)
    edge = request.app[EDGE]
    done = [_said(edge.bans.ban, network, seconds, reason) for network in networks]
    return web.json_response({"ok": True, "bans": [asdict(one) for one in done]})


async def unban(request: web.Request) -> web.Response:
    """`{"networks": [...]}`: lift their bans; "lifted" tells of each whether there was one."""
    networks = (await _json_object(request)).get("networks")
    if not _are_texts(networks):
        raise web.HTTPBadRequest(text=BAN_EXPECTED)
    lift = request.app[EDGE].bans.lift
    return web.json_response({"ok": True, "lifted": {network: _said(lift, network) for network in networks}})


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        wanted: Any = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        wanted = None
    return wanted if isinstance(wanted, dict) else {}


def _are_texts(given: object) -> TypeGuard[list[str]]:
    return isinstance(given, list) and bool(given) and all(isinstance(one, str) for one in given)


def _said(verb: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What a verb of the bans returns; its complaints as answers."""
    try:
        return verb(*given, **named)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    except OSError as error:
        raise web.HTTPServiceUnavailable(text=f"cannot keep the bans on disk: {error.strerror}") from None


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
