"""`waf`: what the web application firewall would say to a request, its rules, and folders of rules."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from cluster.cli.options import config_option, json_option
from cluster.cli.output import answer
from cluster.config import load
from cluster.errors import BootError, UsageError
from cluster.judges import held_against, judge_of
from worker.context import Client, Context
from worker.errors import EdgeError
from worker.fields import FieldError, LineError, read_head
from worker.judgement import Judgement
from worker.message import Request
from worker.routing import Routes
from worker.security.normalize import Normalizer
from worker.security.waf.gate import described
from worker.security.waf.judge import DETECTOR_IDS
from worker.security.waf.judges import RulesError, read_rules, survey
from worker.settings import JudgeSettings, RouteSettings, WafSettings

Command = TypeVar("Command", bound=Callable[..., object])

_BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,*/*;q=0.8",
}
_HEAD_BYTES = 1 << 20


@click.group("waf")
def waf() -> None:
    """Try the web application firewall, and look at its rules."""


def rules_options(command: Command) -> Command:
    """Whose rules are meant: those of a configuration, or of a folder."""
    for option in (
        click.option(
            "--rules", metavar="PATH", multiple=True, help="File or folder of rules, in place of a config."
        ),
        click.option("--paranoia", type=click.IntRange(1, 4), default=1, help="With --rules. [default: 1]"),
        config_option,
    ):
        command = option(command)
    return command


@waf.command("test")
@click.argument("target", metavar="FILE|URL")
@click.option("-H", "--header", "lines", metavar="LINE", multiple=True, help="A field, with a URL.")
@click.option("-d", "--data", metavar="TEXT", help="A body, with a URL; a form unless a field says else.")
@click.option("-X", "--method", metavar="METHOD", help="With a URL. [default: GET, with a body POST]")
@rules_options
@json_option
def waf_test(
    target: str,
    lines: tuple[str, ...],
    data: str | None,
    method: str | None,
    rules: tuple[str, ...],
    paranoia: int,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Say what is held against a request, and why. Nothing is sent anywhere.

    The request is that of a URL, or lies in a FILE as it goes over the wire: request line, fields, an empty
    line, body.

    Example: edgecluster waf test 'http://example.org/?id=1%27%20or%201=1--' --config edge.yaml
    """
    is_url = target.startswith(("http://", "https://"))
    request, body = of_url(target, lines, data, method) if is_url else of_file(target)
    try:
        Normalizer()(request)
    except EdgeError as error:
        raise BootError(f"it is no request for the WAF: {error.detail}") from None
    asked = _asked(request, config_path, rules, paranoia)
    if asked.waf is None:
        text = f"no WAF is asked: it is off for the route {asked.route}"
        answer(as_json, text, {"route": asked.route, "mode": "off", "refuses": False, "found": []})
        return
    judgement = judged(asked, request, body)
    mode = "block" if asked.waf.blocks else "log"
    threshold = asked.waf.judge.threshold
    found = [{**asdict(one), "part": one.part.decode("utf-8", "backslashreplace")} for one in judgement.found]
    facts = {"route": asked.route, "mode": mode, "refuses": judgement.refuses, "score": judgement.score}
    said = "is refused" if judgement.refuses else "passes"
    if judgement.refuses and not asked.waf.blocks:
        said = "would be refused in mode block, and passes in mode log"
    text = "\n".join(
        [
            f"it {said}: score {judgement.score}, threshold {threshold} (route {asked.route}, mode {mode})",
            *(f"  {line}" for line in described(judgement)),
        ]
    )
    answer(as_json, text, {**facts, "threshold": threshold, "found": found})


@waf.command("rules")
@rules_options
@json_option
def waf_rules(rules: tuple[str, ...], paranoia: int, config_path: Path | None, as_json: bool) -> None:
    """List the rules that requests are asked, and the detectors beside them."""
    every: list[dict[str, Any]] = [{"id": name, "phase": 0, "message": ""} for name in sorted(DETECTOR_IDS)]
    seen: set[str] = set()
    for judge in _judges(config_path, rules, paranoia):
        for rule in _read(judge).rules if judge.rules else ():
            if rule.logs and str(rule.id) not in seen:
                seen.add(str(rule.id))
                every.append(
                    {
                        "id": str(rule.id),
                        "phase": rule.phase,
                        "message": rule.message.text,
                        "severity": rule.severity,
                        "tags": rule.tags,
                    }
                )
    lines = [f"{one['id']:>12}  {_where(one['phase'])}  {one['message']}".rstrip() for one in every]
    answer(as_json, "\n".join(lines), {"rules": every})


@waf.command("import")
@click.argument("paths", metavar="FOLDER...", nargs=-1, required=True)
@json_option
@click.pass_context
def waf_import(context: click.RichContext, /, paths: tuple[str, ...], as_json: bool) -> None:
    """Check a folder of rules: what is in it, and what of it is not understood.

    Ends with 0 when it can be used as it is: name it as `waf: {rules: FOLDER}` in the config then.
    """
    try:
        found = survey(paths)
    except RulesError as error:
        raise BootError(str(error)) from None
    rules = found.rules.rules if found.rules is not None else []
    phases = Counter(rule.phase for rule in rules)
    lines = [
        f"{found.files} files, {len(rules):,} rules, {found.settings} settings without effect here",
        *(f"  {_where(phase)}: {count}" for phase, count in sorted(phases.items())),
        *found.faults,
        f"{len(found.faults)} faults: it cannot be used so" if found.faults else "it can be used",
    ]
    facts = {
        "files": found.files, "rules": len(rules), "phases": {str(phase): n for phase, n in phases.items()},
        "settings": found.settings, "faults": found.faults, "usable": not found.faults,
    }  # fmt: skip
    answer(as_json, "\n".join(lines), facts)
    context.exit(1 if found.faults else 0)


_WHERE = {1: "head", 2: "body", 3: "answer's head", 4: "answer's body", 5: "logging"}


def _where(phase: int) -> str:
    return f"phase {phase} ({_WHERE[phase]})" if phase else "detector"


# The request


def of_url(
    url: str, lines: Sequence[str], data: str | None, method: str | None
) -> tuple[Request, bytes | None]:
    """What a browser would send for it."""
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    fields = {"Host": authority, **_BROWSER}
    body = None if data is None else data.encode()
    if body is not None:
        fields |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise UsageError(f"--header {line!r}: write it as 'Name: value'")
        known = next((one for one in fields if one.lower() == name.lower()), name)
        fields[known] = value.strip()
    method = method or ("GET" if body is None else "POST")
    head = f"{method} {slash + target or '/'} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in fields.items()
    )
    request, _ = _parsed(head.encode("utf-8", "surrogateescape") + b"\r\n", url)
    request.scheme = scheme.encode()
    return request, body


def of_file(name: str) -> tuple[Request, bytes | None]:
    """A request as it goes over the wire; its lines may end as text files' lines do."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}; give a file, or a URL") from None
    if b"\r\n\r\n" not in data:
        head, _, body = data.partition(b"\n\n")
        data = head.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
    return _parsed(data, name)


def _parsed(data: bytes, name: str) -> tuple[Request, bytes | None]:
    try:
        read = read_head(data, 0, 0, _HEAD_BYTES, _HEAD_BYTES, 1000)
    except (LineError, FieldError, OverflowError) as error:
        raise UsageError(f"{name}: not a request: {error.args[0] if error.args else 'bad line'}") from None
    if read is None:
        raise UsageError(f"{name}: not a request: its head does not end")
    end, method, target, path, query, minor, fields = read
    host = (fields.get(b"host") or b"").lower()
    request = Request(method, b"http", host, target, path, query, b"1.%d" % minor, fields)
    return request, data[end:] or None


# Who is asked


@dataclass(frozen=True, slots=True)
class Asked:
    """The route of a request, and its WAF."""

    route: str
    waf: WafSettings | None
    state_dir: Path | None = None


def _asked(request: Request, config_path: Path | None, rules: Sequence[str], paranoia: int) -> Asked:
    if config_path is None or rules:
        return Asked("any", WafSettings(_judge(rules, paranoia)))
    settings = load(config_path)
    route, _ = Routes(settings.worker.sites, lambda route: route, None).find(request)
    if not isinstance(route, RouteSettings):
        raise BootError(f"no site of {config_path} serves the host '{request.host.decode('latin-1')}'")
    return Asked(route.name, route.waf, settings.state_dir)


def _judges(config_path: Path | None, rules: Sequence[str], paranoia: int) -> list[JudgeSettings]:
    if config_path is None or rules:
        return [_judge(rules, paranoia)]
    routes = (route for site in load(config_path).worker.sites for route in site.routes)
    return list(dict.fromkeys(route.waf.judge for route in routes if route.waf is not None))


def _judge(rules: Sequence[str], paranoia: int) -> JudgeSettings:
    return JudgeSettings(rules=tuple(str(Path(path).absolute()) for path in rules), paranoia=paranoia)


def _read(judge: JudgeSettings) -> Any:
    try:
        return read_rules(judge)
    except RulesError as error:
        raise BootError(str(error)) from None


def judged(asked: Asked, request: Request, body: bytes | None) -> Judgement:
    """By the same judge that a worker asks."""
    assert asked.waf is not None
    ctx = Context(request, Client("127.0.0.1", 0, b"", ""), b"0" * 32, 0, 0.0)
    return held_against(judge_of(asked.waf.judge, asked.state_dir), asked.waf, ctx, body)
