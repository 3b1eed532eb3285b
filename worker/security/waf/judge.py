"""What is held against a request: by rules of SecLang, by our own detectors, under one score.

Looks at requests in the one spelling that is forwarded. What values came to is remembered, because most
requests bring what others brought before. Decides no answer and reads nothing from the network.
"""

from collections.abc import Iterable

from worker.context import Context
from worker.fields import Fields
from worker.judgement import CLEAN, Found, Judgement
from worker.message import Request
from worker.security.detect.table import AGENT, CRITICAL, DETECTORS, PROBE, Detectors
from worker.security.waf.arguments import pairs
from worker.security.waf.bodies import EXCESS, MALFORMED, PLAIN_BYTES, Body
from worker.security.waf.engine import Engine
from worker.security.waf.memory import KEY_BYTES, Memory
from worker.security.waf.percent import decoded
from worker.security.waf.state import CLEAN as NO_MATCH
from worker.security.waf.state import Verdict
from worker.security.waf.transaction import HttpRequest, cookies
from worker.settings import ExclusionSettings, JudgeSettings

# What may be excluded beside rules and tags.
DETECTOR_IDS = frozenset((*(detector.id for detector in DETECTORS), PROBE.id, AGENT.id, EXCESS, MALFORMED))

QUERY_ARGUMENTS = 256  # of a query that are looked at
COOKIES = 256
LIGHT = 32  # arguments of a query, and half the semicolons of fields, that are judged in a moment
LIGHT_BYTES = 1024  # of a query, and a quarter of those of fields

REMEMBERED = 2048  # heads to which rules do not object; a full memory begins anew

# What is told of what a detector finds.
WORDS = {
    "sqli": "SQL injection",
    "xss": "script in what shall be text",
    "traversal": "a way to files nobody is meant to reach",
    "command": "a command of a shell",
    "template": "code of a template",
    "ssrf": "an address that makes the server ask itself or its neighbours",
    "nosql": "operators of a query for documents",
    "ldap": "a filter of a directory",
    "xpath": "a query for XML",
    "header": "lines of an HTTP answer",
    "mail": "lines of mail",
    "xml": "entities of XML from outside",
    "prototype": "pollution of prototypes",
    "lookup": "a lookup that loads code",
    "framework": "inner objects of a framework",
    "serialised": "serialised objects",
    "probe": "what scanners ask every site for",
    "agent": "the name of a scanner",
}

# Fields whose value is the address that is asked, or where the client has come from.
_OWN_URLS = (b"referer", b"origin", b"host")


class Judge:
    """Judges by one `JudgeSettings`. Not to be asked by two threads: a worker has one for each of its own.

    `engine` is None where there are no rules.
    """

    def __init__(self, settings: JudgeSettings, detectors: Detectors, engine: Engine | None = None) -> None:
        self._findings = detectors.findings
        self._findings_in_field = {b"user-agent": detectors.findings_in_agent} | dict.fromkeys(
            _OWN_URLS, detectors.findings_in_own_url
        )
        self._findings_in_path = detectors.findings_in_path
        self._engine = engine
        self._threshold = settings.threshold
        self._excluded = _excluded(settings.exclude)
        self._heads, self._paths, self._queries, self._values = Memory(), Memory(), Memory(), Memory()
        self._clean: set[tuple[object, ...]] = set()  # heads to which rules do not object either

    def of_head(self, ctx: Context, *, is_all: bool = True) -> Judgement:
        """Of line, fields, cookies and query. Unless they `is_all` there is, rules wait for the body."""
        judgement = self.of_light_head(ctx, is_all=is_all, most=None)
        assert judgement is not None
        return judgement

    def of_light_head(
        self, ctx: Context, *, is_all: bool = True, most: int | None = LIGHT
    ) -> Judgement | None:
        """The same, or None where there is so much of it that it would take more than a moment: arguments or
        cookies by the dozen (`most`), and bytes."""
        request = ctx.request
        block = request.fields.encode()
        engine = self._engine if is_all else None
        if engine is not None:
            key = (block, request.path, request.query, request.method, request.version, ctx.client.address)
            if key in self._clean:
                return CLEAN
        if most is not None and self._is_heavy(request, block, most):
            return None
        found = self._of_head(request, block)
        if engine is None or _is_excessive(found):
            return CLEAN if not found else self._judgement(found)
        verdict = engine.judge(http_request(ctx))
        if found or verdict is not NO_MATCH:
            return self._judgement(found, verdict)
        if len(block) <= KEY_BYTES:
            if len(self._clean) >= REMEMBERED:
                self._clean.clear()
            self._clean.add(key)
        return CLEAN

    def _is_heavy(self, request: Request, block: bytes, most: int) -> bool:
        query = request.query
        if query and (len(query) > LIGHT_BYTES or query.count(b"&") > most):
            if self._queries.get(query) is None:
                return True
        heavy = len(block) > 4 * LIGHT_BYTES or block.count(b";") > 2 * most
        return heavy and self._heads.get(block) is None

    def of_whole(self, ctx: Context, body: Body) -> Judgement:
        """Of a request with its body, or the beginning of that."""
        request = ctx.request
        found = self._of_head(request, request.fields.encode()) + self._of_body(body)
        if self._engine is None or _is_excessive(found):
            return CLEAN if not found else self._judgement(found)
        return self._judgement(found, self._engine.judge(http_request(ctx, body.content)))

    def _judgement(self, found: tuple[Found, ...], verdict: Verdict = NO_MATCH) -> Judgement:
        found = (
            *(
                Found(str(one.id), one.variable or "the request", one.part, one.message, one.score)
                for one in verdict.matched
            ),
            *found,
        )
        score = sum(one.score for one in found)
        refuses = verdict.intervention is not None or score >= self._threshold
        return Judgement(found, score, refuses) if found or refuses else CLEAN

    # By our own detectors

    def _of_head(self, request: Request, block: bytes) -> tuple[Found, ...]:
        found: tuple[Found, ...] | None = self._heads.get(block)
        if found is None:
            found = self._of_fields(request.fields)
            self._heads.put(block, found)
        path = request.path
        of_path: tuple[Found, ...] | None = self._paths.get(path)
        if of_path is None:
            of_path = self._of_path(path)
            self._paths.put(path, of_path)
        if of_path:
            found += of_path
        query = request.query
        if query:
            of_query: tuple[Found, ...] | None = self._queries.get(query)
            if of_query is None:
                of_query = self._of_query(query)
                self._queries.put(query, of_query)
            if of_query:
                found += of_query
        return found

    def _of_fields(self, fields: Fields) -> tuple[Found, ...]:
        found: list[Found] = []
        for name, value in fields.items():
            lower = name.lower()
            if lower == b"cookie":
                every = cookies(value)
                if len(every) > COOKIES:
                    message = f"more than {COOKIES} cookies"
                    self._add(EXCESS, "REQUEST_COOKIES", b"", b"", CRITICAL, found, message)
                for cookie, content in every[:COOKIES]:
                    self._look("REQUEST_COOKIES_NAMES", cookie, decoded(cookie), found)
                    self._look("REQUEST_COOKIES", cookie, decoded(content), found)
                continue
            findings = self._findings_in_field.get(lower)
            if findings is None:
                self._look("REQUEST_HEADERS", name, value, found)
                continue
            for finding in findings(value):
                self._add(finding.id, "REQUEST_HEADERS", name, finding.matched, finding.score, found)
        return tuple(found)

    def _of_path(self, path: bytes) -> tuple[Found, ...]:
        found: list[Found] = []
        for finding in self._findings_in_path(decoded(path)):
            self._add(finding.id, "REQUEST_FILENAME", b"", finding.matched, finding.score, found)
        return tuple(found)

    def _of_query(self, query: bytes) -> tuple[Found, ...]:
        found: list[Found] = []
        arguments, _ = pairs(query)
        if len(arguments) > QUERY_ARGUMENTS:
            self._add(EXCESS, "ARGS", b"", b"", CRITICAL, found, f"more than {QUERY_ARGUMENTS} arguments")
        self._look_at_arguments(arguments[:QUERY_ARGUMENTS], found)
        return tuple(found)

    def _of_body(self, body: Body) -> tuple[Found, ...]:
        found: list[Found] = []
        self._look_at_arguments(body.arguments, found)
        for variable, name, value in body.others:
            self._look(variable, name, value, found)
        for rule, part, message in body.faults:
            self._add(rule, "REQUEST_BODY", b"", part, CRITICAL, found, message)
        return tuple(found)

    def _look_at_arguments(self, arguments: list[tuple[bytes, bytes]], found: list[Found]) -> None:
        for name, value in arguments:
            self._look("ARGS_NAMES", name, name.removeprefix(b"json."), found)
            self._look("ARGS", name, value, found)

    def _look(self, variable: str, name: bytes, value: bytes, found: list[Found]) -> None:
        if len(value) < PLAIN_BYTES and (not value or value.isalnum()):
            return
        seen: tuple[tuple[str, bytes, int], ...] | None = self._values.get(value)
        if seen is None:
            seen = tuple([(finding.id, finding.matched, finding.score) for finding in self._findings(value)])
            self._values.put(value, seen)
        for rule, matched, score in seen:
            self._add(rule, variable, name, matched, score, found)

    def _add(
        self,
        rule: str,
        variable: str,
        name: bytes,
        part: bytes,
        score: int,
        found: list[Found],
        message: str = "",
    ) -> None:
        if not self._is_excluded(rule, variable, name):
            found.append(_found(rule, variable, name, part, score, message))

    def _is_excluded(self, rule: str, variable: str, name: bytes) -> bool:
        if not self._excluded or rule not in self._excluded:
            return False
        left_out = self._excluded[rule]
        return "" in left_out or variable in left_out or f"{variable}:{_text(name)}".lower() in left_out


def _is_excessive(found: tuple[Found, ...]) -> bool:
    """Is there more than is looked at? Then rules are not asked: it would take them too long."""
    return bool(found) and any(one.rule == EXCESS for one in found)


def http_request(ctx: Context, body: bytes = b"") -> HttpRequest:
    """The request in the one spelling that is forwarded; HTTP/2 and 3 have their authority as Host.

    HTTP/3 is called HTTP/2, whose semantics it has: the Core Rule Set knows no other version in which a body
    may come without Content-Length or Transfer-Encoding.
    """
    request = ctx.request
    fields = tuple(request.fields.items())
    if b"host" not in request.fields:
        fields = ((b"Host", request.host), *fields)
    target = request.path if request.query is None else request.path + b"?" + request.query
    address, port = ctx.client.address, ctx.client.port
    version = b"2" if request.version == b"3" else request.version
    return HttpRequest(request.method, target, version, fields, body, address, port, ctx.request_id)


def _excluded(exclusions: Iterable[ExclusionSettings]) -> dict[str, set[str]]:
    """By rule, the variables in which it is not asked; "": in none. Names of members are in lower case."""
    found: dict[str, set[str]] = {}
    for one in exclusions:
        variable, colon, name = one.variable.partition(":")
        found.setdefault(one.rule, set()).add(f"{variable}:{name}".lower() if colon else variable)
    return found


def _found(rule: str, variable: str, name: bytes, part: bytes, score: int, message: str = "") -> Found:
    return Found(
        rule, f"{variable}:{_text(name)}" if name else variable, part, message or WORDS.get(rule, rule), score
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
