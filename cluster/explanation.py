"""What would become of one request: the stages of its route are asked, as a worker composes them.

They work on a segment of their own, so nothing is counted, stored or sent, and no rule is written twice. What
the rate limits have counted and the cache holds is not known here: that is for a running edge to tell.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.geo import open_geo
from cluster.judges import held_against, judge_of
from cluster.lists import open_lists
from cluster.settings import ClusterSettings
from shmcache.core import Segment
from worker.addresses import read_address
from worker.cache.entry import NO_CACHE
from worker.cache.key import vary_names
from worker.cache.lookup import Lookup
from worker.cache.negotiation import Negotiation
from worker.cache.purge_gate import PurgeGate
from worker.cache.store import Arrival, Store
from worker.compose import Composed
from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.judgement import Judgement
from worker.message import Request, Response
from worker.origin.loop import LoopGate
from worker.pipeline import LATER, Pipeline
from worker.reasons import Fault, NotStorable
from worker.response.redirect import AutomaticHttps, CanonicalRedirect, Redirects
from worker.routing import Routes
from worker.security.access import AccessGate
from worker.security.bans import BanGate
from worker.security.challenge import ChallengeGate
from worker.security.client_address import ClientAddressGate
from worker.security.client_certificate import ClientCertificateGate
from worker.security.concurrency import ConcurrencyGate
from worker.security.door import ProxiedAccessGate
from worker.security.methods import MethodGate
from worker.security.normalize import Normalizer
from worker.security.ratelimit import RateLimitGate
from worker.security.waf.gate import WafGate
from worker.security.waf.judges import Judges
from worker.settings import JudgeSettings, LogSettings, RouteSettings, SiteSettings

SEGMENT_BYTES = 16 * 1024**2
NOW_NS = 1_000_000_000_000  # of a clock that stands still
REQUEST_ID = b"0" * 32

STAGES: dict[type, str] = {
    ClientAddressGate: "client address", ChallengeGate: "acme challenge", BanGate: "bans",
    ProxiedAccessGate: "access list", ConcurrencyGate: "requests per address", MethodGate: "methods",
    AccessGate: "access list", RateLimitGate: "rate limit", WafGate: "waf", AutomaticHttps: "https",
    CanonicalRedirect: "canonical name", ClientCertificateGate: "client certificate", Redirects: "redirects",
    Lookup: "cache", PurgeGate: "purge", LoopGate: "loop",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One stage, and what it said."""

    stage: str
    status: int | None  # of its answer; None: the request passes
    reason: str = ""  # a word of `worker.reasons`; of the client address, whose it is
    fields: Fields | None = None  # of its answer


@dataclass(frozen=True, slots=True)
class Storing:
    """What the cache would make of an answer."""

    refusal: NotStorable | None
    fresh_s: int = 0
    stale_while_revalidate_s: int = 0
    stale_if_error_s: int = 0
    keep_s: int = 0
    is_validated: bool = False  # every use needs a question to the origin
    vary: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Explanation:
    """What there is to tell. What lies behind a stage that answers was not asked."""

    site: SiteSettings | None = None
    route: RouteSettings | None = None
    client: str = ""  # address of who asks, behind proxies that are trusted
    steps: list[Step] = field(default_factory=list)
    judgement: Judgement | None = None  # the WAF's
    key: bytes = b""
    outcome: str = ""  # of an empty cache
    forward: str = ""
    storing: Storing | None = None
    answer: Fields | None = None  # as the client would get it


def explain(
    settings: ClusterSettings, request: Request, body: bytes | None, address: str, answer: Response
) -> Explanation:
    """What the stages say to `request` from `address`, and to the origin's `answer` if it came to that.

    Raises BootError for files that cannot be used, ValueError for an address that is none.
    """
    told = Explanation()
    try:
        Normalizer()(request)
    except EdgeError as error:
        told.steps.append(Step("parsing", error.status, error.fault))
        return told
    site, route = find(settings.worker.sites, request)
    told.site, told.route = site, route
    if site is None or route is None:
        told.steps.append(Step("site", 421, Fault.UNKNOWN_HOST))
        return told
    narrow = replace(settings.worker, sites=(replace(site, routes=(route,)),), log=LogSettings(""))
    asyncio.run(_ask(told, replace(settings, worker=narrow), route, request, body, address, answer))
    return told


def find(sites: Sequence[SiteSettings], request: Request) -> tuple[SiteSettings | None, RouteSettings | None]:
    """Which site and which of its routes take a request whose path is in its normal form."""
    route, _ = Routes(sites, lambda route: route, None).find(request)
    return next((site for site in sites if route in site.routes), None), route


async def _ask(
    told: Explanation,
    settings: ClusterSettings,
    route: RouteSettings,
    request: Request,
    body: bytes | None,
    address: str,
    answer: Response,
) -> None:
    judges: dict[JudgeSettings, Judges] = {}
    if route.waf is not None:
        judge = judge_of(route.waf.judge, settings.state_dir)
        judges[route.waf.judge] = Judges(judge, judge, ())
    segment = _segment()
    composed = Composed(
        settings.worker, segment, _nothing_in_background,
        geo=open_geo(settings.worker.geo), lists=open_lists(settings.worker), judges=judges,
    )  # fmt: skip
    try:
        client = _client(settings, request, address)
        told.client = client.address
        refusal = composed.door.keeps_out(client)
        if refusal is not None:
            told.steps.append(Step("connection", 0, refusal))
            return
        ctx = Context(request, client, REQUEST_ID, NOW_NS, NOW_NS * 1e-9)
        ctx.route, pipeline = composed.edge.find(request)
        if _passes(told, ctx, pipeline, judges, body):
            told.outcome, told.forward = str(ctx.outcome), str(ctx.forward or "")
            if ctx.revalidate is not None:
                told.storing = _storing(segment, route, ctx, answer)
            ctx.forwarded_status = answer.status
            for send_filter in pipeline.send_filters:
                send_filter(ctx, answer)
            told.answer = answer.fields
        told.key = ctx.key
    finally:
        await composed.close()


def _passes(
    told: Explanation,
    ctx: Context,
    pipeline: Pipeline,
    judges: Mapping[JudgeSettings, Judges],
    body: bytes | None,
) -> bool:
    """Ask the gates in their order, until one answers; False if one does."""
    for gate in pipeline.gates:
        stage = STAGES.get(type(gate), type(gate).__name__)
        try:
            said = _said_by_waf(told, ctx, gate, judges, body) if isinstance(gate, WafGate) else gate(ctx)
        except EdgeError as error:
            told.steps.append(Step(stage, error.status, error.fault))
            return False
        if said is not None and said is not LATER:
            told.steps.append(Step(stage, said.status, str(ctx.block or ""), said.fields))
            return False
        told.client = ctx.client.address
        told.steps.append(Step(stage, None, told.client if isinstance(gate, ClientAddressGate) else ""))
    return True


def _said_by_waf(
    told: Explanation, ctx: Context, gate: WafGate, judges: Mapping[JudgeSettings, Judges], body: bytes | None
) -> Response | None:
    """What it says once the body is there, for which it would wait."""
    waf = ctx.route.waf if ctx.route is not None else None
    assert waf is not None
    told.judgement = held_against(judges[waf.judge].loop, waf, ctx, body)
    return gate.act(ctx, told.judgement)


def _storing(segment: Segment, route: RouteSettings, ctx: Context, answer: Response) -> Storing:
    """As the worker's store would plan it."""
    store = Store(segment.cache, route.cache, Negotiation(route.compression.codings, route.cache.languages))
    if ctx.request.method != b"GET":
        return Storing(NotStorable.METHOD)
    arrival = Arrival(ctx.now_ns, ctx.now_ns, ctx.now_s, 0)
    plan = store.plan(ctx, answer.status, answer.fields.copy(), answer.length, arrival)
    if isinstance(plan, NotStorable):
        ctx.not_storable = plan
        return Storing(plan)
    ctx.stored = True
    ctx.ttl_s = plan.deadlines.fresh_s
    deadlines = plan.deadlines
    return Storing(
        None, deadlines.fresh_s, deadlines.swr_s, deadlines.sie_s, deadlines.keep_s,
        bool(plan.flags & NO_CACHE), vary_names(answer.fields),
    )  # fmt: skip


def _client(settings: ClusterSettings, request: Request, address: str) -> Client:
    """Who asks, by a connection to the listener of the request's scheme."""
    listeners = settings.worker.listeners
    scheme = request.scheme.decode()
    listener = next((one for one in listeners if one.scheme == scheme), listeners[0])
    numeric = read_address(address)
    packed = numeric.packed
    key = packed if len(packed) == 4 else packed[:8]
    client = Client(str(numeric), 0, key, listener.url, "TLSv1.3" if scheme == "https" else "")
    client.trusted = any(numeric in network for network in settings.worker.trusted_proxies)
    return client


def _segment() -> Segment:
    """An empty one, of nobody else."""
    fd = os.memfd_create("explanation")
    try:
        os.ftruncate(fd, SEGMENT_BYTES)
        segment = Segment(fd, SEGMENT_BYTES, create=True, boot_id=b"")
    finally:
        os.close(fd)
    segment.join(0, NOW_NS)
    return segment


def _nothing_in_background(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    work.close()
    raise AssertionError("no stage before the origin works in the background")
