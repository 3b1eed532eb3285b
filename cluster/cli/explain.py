"""`explain`: what would become of a request, stage by stage, and why. Nothing is sent, counted or stored."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import rich_click as click

from cluster.cli.admin import ask_admin, ask_supervisor
from cluster.cli.caching import response_line
from cluster.cli.options import flags_of, json_option, serving_options
from cluster.cli.output import answer, duration
from cluster.cli.waf import of_url
from cluster.config import load
from cluster.errors import BootError, UsageError
from cluster.settings import ClusterSettings
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request, Response
from worker.origin.rewrite import Rewrite
from worker.security.normalize import Normalizer
from worker.security.waf.gate import described
from worker.settings import (
    DirectorySettings,
    GroupSettings,
    HeaderSettings,
    Origin,
    OriginSettings,
    RateLimitSettings,
    RouteSettings,
)

if TYPE_CHECKING:
    from cluster.explanation import Explanation, Step, Storing


@click.command("explain")
@click.argument("url")
@click.option("-X", "--method", metavar="METHOD", help="[default: GET, with a body POST]")
@click.option("-H", "--header", "lines", metavar="LINE", multiple=True, help="A field of the request.")
@click.option("-d", "--data", metavar="TEXT", help="A body; a form unless a field says else.")
@click.option(
    "--from", "address", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Who asks."
)
@click.option(
    "-A",
    "--answer",
    "answered",
    metavar="LINE",
    multiple=True,
    help="A field of the supposed answer.",
)
@click.option(
    "--answer-status", type=click.IntRange(200, 599), default=200, show_default=True, help="Of the same."
)
@serving_options
@json_option
def explain_verb(
    url: str,
    method: str | None,
    lines: tuple[str, ...],
    data: str | None,
    address: str,
    answered: tuple[str, ...],
    answer_status: int,
    config_path: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Tell what would become of a request, and why.

    Its site and route, what each stage says to it, its key in the cache and what is stored there now, which
    origin it would go to, what would become of the answer. The stages are those of a worker, with a cache and
    counters of their own: nothing is sent, counted or stored. Without --config and --to, the configuration of
    the edge that runs on --state-dir is taken.

    Example: edgecluster explain https://example.org/news -H 'Cookie: a=b' -A 'Cache-Control: max-age=60'
    """
    from cluster.explanation import explain  # all that a worker is made of

    logging.getLogger("edgecluster").addHandler(logging.NullHandler())  # what is logged is told below
    settings = _settings(config_path, flags)
    request, body = of_url(url, lines, data, method)
    supposed = Response(answer_status, _fields(answered), None, None)
    try:
        told = explain(settings, request, body, address, supposed)
    except ValueError as error:
        raise UsageError(f"--from {address}: {error}") from None
    stored = _stored_now(settings.state_dir, request, told)
    ban = _ban_now(settings.state_dir, told.client)
    facts = _facts(request, address, answer_status, told, stored) | {"banned_now": ban}
    first, *others = _lines(request, address, answer_status, told, stored)
    if ban is not None:
        first += f"\n{_line('banned now', f'{ban}: refused before all else')}"
    answer(as_json, "\n".join((first, *others)), facts)


def _settings(config_path: Path | None, flags: dict[str, Any]) -> ClusterSettings:
    given = flags_of(**flags)
    if config_path is None and given.to is None:
        state_dir = load(None, flags_of(**flags | {"to": "http://127.0.0.1"})).state_dir
        try:
            path = ask_supervisor(state_dir, "status")["config_path"]
        except BootError as error:
            raise UsageError(f"whose configuration is meant? Give --config or --to; {error}") from None
        if path is None:
            raise UsageError(f"the edge on {state_dir} was started by flags alone: give the same again")
        config_path = Path(path)
    return load(config_path, given)


def _fields(lines: Sequence[str]) -> Fields:
    pairs = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise UsageError(f"--answer {line!r}: write it as 'Name: value'")
        pairs.append((name.strip().encode(), value.strip().encode()))
    try:
        return Fields.of(pairs)
    except ValueError as error:
        raise UsageError(f"--answer: {error}") from None


def _stored_now(state_dir: Path, request: Request, told: "Explanation") -> dict[str, Any] | None:
    """What a running edge has stored for the URL; None: no edge can be asked."""
    if not told.key:
        return None
    url = told.key.partition(b"\0")[0].decode("latin-1")
    with suppress(BootError):
        said = ask_admin(state_dir, "GET", f"/cache/entry?{urlencode({'url': url})}")
        said.pop("ok")
        return said
    return None


def _ban_now(state_dir: Path, address: str) -> str | None:
    """The network in which a running edge has banned that address; None: it has not, or cannot be asked."""
    if not address:
        return None
    with suppress(BootError):
        for ban in ask_admin(state_dir, "GET", "/bans")["bans"]:
            if ip_address(address) in ip_network(ban["network"]):
                return str(ban["network"])
    return None


# For programs


def _facts(
    request: Request, address: str, status: int, told: "Explanation", stored: dict[str, Any] | None
) -> dict[str, Any]:
    route = told.route
    return {
        "request": {"method": _text(request.method), "url": _url(request), "from": address},
        "site": told.site and told.site.name,
        "route": route and route.name,
        "steps": [_step_facts(step, limit) for step, limit in _with_limits(told)],
        "waf": None if told.judgement is None or route is None or route.waf is None else {
            "mode": "block" if route.waf.blocks else "log",
            "score": told.judgement.score,
            "threshold": route.waf.judge.threshold,
            "refuses": told.judgement.refuses,
            "found": described(told.judgement),
        },
        "cache": {
            "key": _text(told.key), "outcome": told.outcome, "forward": told.forward,
            "answer": _storing_facts(status, told.storing), "stored_now": stored,
        },
        "origin": None if told.answer is None or route is None else _origin_facts(route, request),
        "answer": None if told.answer is None else [
            [_text(name), _text(value)] for name, value in told.answer.items()
        ],
    }  # fmt: skip


def _step_facts(step: "Step", limit: RateLimitSettings | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"stage": step.stage, "passes": step.status is None, "reason": step.reason}
    if step.status is not None:
        facts |= {"status": step.status, "fields": _told_fields(step)}
    return facts if limit is None else facts | {"limit": asdict(limit) | _texts_of(limit)}


def _texts_of(limit: RateLimitSettings) -> dict[str, Any]:
    return {
        "methods": [_text(method) for method in limit.methods],
        "costs": {_text(method): cost for method, cost in limit.costs},
    }


def _storing_facts(status: int, storing: "Storing | None") -> dict[str, Any] | None:
    if storing is None:
        return None
    facts = asdict(storing) | {"vary": [_text(name) for name in storing.vary]}
    return {"status": status, "stored": storing.refusal is None} | facts


def _origin_facts(route: RouteSettings, request: Request) -> dict[str, Any]:
    origin = route.origin
    facts: dict[str, Any] = {"target": _target(route, request)}
    if isinstance(origin, DirectorySettings):
        return facts | {"directory": origin.path}
    if isinstance(origin, GroupSettings):
        facts |= {"group": origin.name, "balance": origin.balance}
    return facts | {"servers": [_server_facts(server) for server in _servers(origin)]}


def _server_facts(server: OriginSettings) -> dict[str, Any]:
    return {
        "url": server.url, "protocol": server.protocol, "weight": server.weight, "backup": server.backup,
        "connect_timeout_s": server.connect_timeout_s, "first_byte_timeout_s": server.first_byte_timeout_s,
        "idle_timeout_s": server.idle_timeout_s, "total_timeout_s": server.total_timeout_s,
    }  # fmt: skip


# For people


def _lines(
    request: Request, address: str, status: int, told: "Explanation", stored: dict[str, Any] | None
) -> Iterator[str]:
    yield f"{_text(request.method)} {_url(request)} from {address}"
    route = told.route
    if told.site is not None and route is not None:
        yield _line("site", told.site.name)
        yield _line("route", route.name)
    for step, limit in _with_limits(told):
        yield _line(step.stage, _step_words(step, limit, told))
        if step.stage == "waf" and told.judgement is not None:
            yield from (f"    {line}" for line in described(told.judgement))
    if told.key:
        yield _line("key", _text(told.key).replace("\0", " + "))
    if told.answer is None or route is None:
        return
    yield _line("stored now", _now_words(told, stored))
    if stored is not None:
        yield from (f"  {response_line(entry)}" for entry in stored["responses"])
    yield _line(f"if {status}", _storing_words(told))
    yield from _origin_lines(route, request)
    yield _line("then", "; ".join(_response_words(route)) or "nothing of the answer is changed by rule")
    yield "the client would get"
    yield from (f"    {_text(name)}: {_text(value)}" for name, value in told.answer.items())


def _line(subject: str, words: str) -> str:
    return f"  {subject:<20} {words}"


def _with_limits(told: "Explanation") -> "Iterator[tuple[Step, RateLimitSettings | None]]":
    """The steps, those of rate limits with their rules."""
    limits = iter(() if told.route is None else told.route.rate_limits)
    for step in told.steps:
        yield step, next(limits, None) if step.stage == "rate limit" else None


def _step_words(step: "Step", limit: RateLimitSettings | None, told: "Explanation") -> str:
    words = "passes" if step.status is None else f"answers {step.status}"
    if step.status == 0:
        words = "the connection is closed unread"
    words += f": {step.reason}" if step.reason else ""
    if limit is not None:
        words += f" ({_limit_words(limit)})"
    if step.stage == "waf" and told.route is not None and told.route.waf is not None and told.judgement:
        mode, threshold = "block" if told.route.waf.blocks else "log", told.route.waf.judge.threshold
        words += f" (score {told.judgement.score}, threshold {threshold}, mode {mode})"
        if told.judgement.refuses and not told.route.waf.blocks:
            words += "; mode block would refuse it"
    if step.stage == "cache" and told.outcome:
        words += f" ({told.outcome}{f', {told.forward}' if told.forward else ''})"
    fields = "".join(f"; {name}: {value}" for name, value in _told_fields(step).items())
    return words + fields


def _told_fields(step: "Step") -> dict[str, str]:
    """Those of a stage's answer that say what to do next."""
    found = {} if step.fields is None else {
        name: step.fields.get(name.lower().encode()) for name in ("Location", "Allow", "Retry-After")
    }  # fmt: skip
    return {name: _text(value) for name, value in found.items() if value is not None}


def _limit_words(limit: RateLimitSettings) -> str:
    most = f"{limit.burst} in {duration(limit.window_s)}" if limit.window_s else (
        f"{limit.rate:g}/s, burst {limit.burst}"
    )  # fmt: skip
    words = f"{limit.name}: {most} by {' and '.join(limit.key)}, action {limit.action}"
    if limit.methods:
        words += f", of {', '.join(map(_text, limit.methods))} alone"
    if limit.statuses:
        words += ", of answers " + ", ".join(f"{first}-{last}" for first, last in limit.statuses)
    return words


def _now_words(told: "Explanation", stored: dict[str, Any] | None) -> str:
    if not told.key:
        return "nothing: the cache is not asked"
    if stored is None:
        return "not known: no edge that runs could be asked"
    varies = f"varies by {', '.join(stored['vary'])}" if stored["vary"] else ""
    if stored["hit_for_miss"]:
        return "remembered as not storable: requests do not wait for each other"
    return varies or ("" if stored["responses"] else "nothing")


def _storing_words(told: "Explanation") -> str:
    storing = told.storing
    if storing is None:
        return "passes through, and is not stored"
    if storing.refusal is not None:
        return f"is not stored: {storing.refusal}"
    words = f"is stored, fresh for {duration(max(storing.fresh_s, 0))}"
    if storing.is_validated:
        words = "is stored, and used only after the origin was asked"
    for seconds, what in (
        (storing.stale_while_revalidate_s, "stale while it is revalidated"),
        (storing.stale_if_error_s, "stale if the origin fails"),
    ):
        words += f", then {duration(seconds)} {what}" if seconds else ""
    vary = f"; one for each {' and '.join(map(_text, storing.vary))}" if storing.vary else ""
    return f"{words}; kept for {duration(storing.keep_s)}{vary}"


def _origin_lines(route: RouteSettings, request: Request) -> Iterator[str]:
    origin, target = route.origin, _target(route, request)
    if isinstance(origin, DirectorySettings):
        yield _line("origin", f"the directory {origin.path}, for {target}")
        return
    if isinstance(origin, GroupSettings):
        yield _line("origin", f"group {origin.name}, balance {origin.balance}, for {target}")
    else:
        yield _line("origin", f"{origin.url}, for {target}")
    for server in _servers(origin):
        total = f", total {server.total_timeout_s:g} s" if server.total_timeout_s else ""
        backup = " (backup)" if server.backup else ""
        yield (
            f"    {server.url}{backup}: connect {server.connect_timeout_s:g} s, first byte "
            f"{server.first_byte_timeout_s:g} s, idle {server.idle_timeout_s:g} s{total}"
        )


def _response_words(route: RouteSettings) -> Iterator[str]:
    if route.cache.browser_ttl_s is not None:
        yield f"clients are told to keep it for {duration(route.cache.browser_ttl_s)}"
    if route.compression.codings:
        codings = ", ".join(route.compression.codings)
        yield f"compressed by {codings} from {route.compression.min_bytes} bytes on"
    if route.leaks is not None:
        yield f"looked through for leaks, mode {route.leaks.mode}"
    rules = route.response_headers
    if rules != HeaderSettings():
        yield f"fields: {len(rules.set)} set, {len(rules.add)} added, {len(rules.remove)} removed"


def _servers(origin: Origin) -> Sequence[OriginSettings]:
    if isinstance(origin, GroupSettings):
        return origin.servers
    return (origin,) if isinstance(origin, OriginSettings) else ()


def _target(route: RouteSettings, request: Request) -> str:
    """What the origin would be asked for."""
    if route.rewrite is None:
        return _text(request.path + (b"" if request.query is None else b"?" + request.query))
    try:
        rewrite = Rewrite(route.rewrite, (), Normalizer().normal_path)
        return _text(rewrite.target(request.path, request.query))
    except EdgeError as error:
        return f"nothing: {error.detail}"


def _url(request: Request) -> str:
    query = b"" if request.query is None else b"?" + request.query
    return _text(request.scheme + b"://" + request.host + request.path + query)


def _text(data: bytes) -> str:
    return data.decode("latin-1")
