"""Gates that send clients elsewhere: to https, to a site's one host name, to where a path has moved.

Before the cache, so nothing is stored under what only leads elsewhere. A path comes in its normal form, and
what of it gets into Location cannot name another host than the rule does.
"""

import re
from collections.abc import Sequence

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.patterns import Replacement, compiled, wildcard
from worker.reasons import Fault, Side
from worker.response.scheme import is_secure
from worker.settings import RedirectSettings

_PORT = re.compile(rb":\d+\Z")


class CanonicalRedirect:
    """Leads to the one scheme and host of a site, by one redirect for both.

    `https_port` is that of the https listener, None: http may stay; `host` a name without port, None: any.
    """

    def __init__(self, https_port: int | None, host: bytes | None) -> None:
        self._upgrades = https_port is not None
        self._port = b"" if https_port in (None, 443) else f":{https_port}".encode()
        self._host = host

    def __call__(self, ctx: Context) -> Response | None:
        request = ctx.request
        upgrades = self._upgrades and not is_secure(ctx)
        if not upgrades and (self._host is None or self._host == request.host):
            return None
        asked = _PORT.sub(b"", request.host)
        if not upgrades and self._host == asked:
            return None
        if not request.path.startswith(b"/"):  # OPTIONS *
            return None
        host = self._host or asked
        if not host:
            raise EdgeError(400, Side.CLIENT, Fault.BAD_REQUEST, "no Host to redirect to")
        scheme = b"https" if upgrades or is_secure(ctx) else b"http"
        port = request.host[len(asked) :]
        if upgrades:
            port = self._port
        return _redirect(ctx, scheme + b"://" + host + port + request.path, None)


class AutomaticHttps:
    """Leads to https, by 308, who asks for one of `hosts`: those whose certificate clients trust.

    `plain` are the ports of our http listeners, `secure` that of https. A client that names another port than
    ours reaches us by one that is mapped to it, and finds https at its usual port. Paths below `exempt` stay,
    where authorities look for challenges, perhaps those of an origin; so does PURGE, which no browser sends.
    """

    def __init__(self, hosts: Sequence[bytes], plain: Sequence[int], secure: int, exempt: bytes) -> None:
        self._hosts = frozenset(hosts)
        self._plain = frozenset(b"%d" % port for port in plain)
        self._port = b"" if secure == 443 else b":%d" % secure
        self._exempt = exempt

    def __call__(self, ctx: Context) -> Response | None:
        request = ctx.request
        if is_secure(ctx):
            return None
        host = _PORT.sub(b"", request.host)
        if host not in self._hosts and b"*." + host.partition(b".")[2] not in self._hosts:
            return None
        path = request.path
        if path.startswith(self._exempt) or not path.startswith(b"/") or request.method == b"PURGE":
            return None
        asked = request.host[len(host) + 1 :] or b"80"
        port = self._port if asked in self._plain else b""
        return _redirect(ctx, b"https://" + host + port + path, 308)


class Redirects:
    """Paths that have moved: whole ones first, then patterns in their order. The query is kept."""

    def __init__(self, rules: Sequence[RedirectSettings]) -> None:
        self._whole: dict[bytes, tuple[Replacement, int | None]] = {}
        self._patterns: list[tuple[Replacement, int | None]] = []
        patterns: list[str] = []
        for rule in rules:
            pattern = rule.pattern if rule.path is None else wildcard(rule.path)
            assert pattern is not None, "a rule has a path or a pattern"
            moved = Replacement(pattern, rule.to), rule.status
            if rule.path is not None and "*" not in rule.path:
                self._whole.setdefault(rule.path.encode("ascii"), moved)
            else:
                self._patterns.append(moved)
                patterns.append(f"(?:{pattern})")
        # One look for all of them, so that the usual path, which matches none, costs the same for any number.
        self._any = compiled("|".join(patterns), groups=False) if patterns else None

    def __call__(self, ctx: Context) -> Response | None:
        path = ctx.request.path
        moved = self._whole.get(path)
        if moved is not None:
            return self._apply(ctx, *moved)
        if self._any is None or self._any.search(path) is None:
            return None
        answers = (self._apply(ctx, *moved) for moved in self._patterns)
        return next((answer for answer in answers if answer is not None), None)

    def _apply(self, ctx: Context, replacement: Replacement, status: int | None) -> Response | None:
        replaced = replacement(ctx.request.path)
        if replaced is None:
            return None
        location, added = replaced
        if location.startswith(b"/"):
            location = b"/" + location.lstrip(b"/")  # two slashes would begin the name of a host
        return _redirect(ctx, location if added is None else location + b"?" + added, status)


def _redirect(ctx: Context, location: bytes, status: int | None) -> Response:
    request = ctx.request
    if request.query is not None:
        location += (b"&" if b"?" in location else b"?") + request.query
    if status is None:
        status = 301 if request.method in (b"GET", b"HEAD") else 308
    return Response(status, Fields.trusted(b"Location: %b\r\n" % location), None, 0)
