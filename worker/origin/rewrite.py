"""What a route asks its origin for in place of the client's URL, and the way back for what the answer names.

Only the origin sees the rewritten path: cache key, log and gates keep the client's, and references to the
origin's own addresses become references into the client's URL space before anything is stored.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.patterns import Replacement
from worker.reasons import Fault, Side
from worker.settings import RewriteSettings

_DOT_SEGMENT = re.compile(rb"/(?:\.|%2[Ee]){1,2}(?:/|%2[Ff]|\Z)")
_ABSOLUTE = re.compile(rb"(?:(https?):)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PATH = re.compile(rb"([^?#]*)(.*)", re.DOTALL)
_REFRESH = re.compile(rb"(\s*\d+\s*[;,]\s*url\s*=\s*[\"']?)([^\"']*)(.*)", re.IGNORECASE | re.DOTALL)
_PORT = re.compile(rb":\d+\Z")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class Rewrite:
    """The mapping of one route, both ways.

    `addresses` are the scheme://host:port under which the origin may name itself, `normal_path` gives the one
    spelling of a path, or raises EdgeError for what has none.
    """

    def __init__(
        self, settings: RewriteSettings, addresses: Iterable[str], normal_path: Callable[[bytes], bytes]
    ) -> None:
        self.host = None if settings.host is None else settings.host.encode("ascii")
        self._strip = settings.strip_prefix.rstrip(b"/")
        self._add = settings.add_prefix.rstrip(b"/")
        self._paths = [Replacement(pattern, to) for pattern, to in settings.paths]
        self._normal_path = normal_path
        self._schemes: set[bytes] = set()
        self._names: set[bytes] = set()
        for address in addresses:
            scheme, _, authority = address.lower().encode("ascii").partition(b"://")
            self._schemes.add(scheme)
            for name in filter(None, (authority, self.host)):
                short = name.removesuffix(_DEFAULT_PORTS[scheme])
                self._names |= {short, short if _PORT.search(short) else short + _DEFAULT_PORTS[scheme]}
        self._hosts = {_PORT.sub(b"", name) for name in self._names}
        self._maps_cookies = settings.cookies

    def target(self, path: bytes, query: bytes | None) -> bytes:
        """What to ask the origin for; `path` is in normal form, and so is the result.

        Raises EdgeError 400 when a replacement has made a path that has no normal form, or one with a dot
        segment: it would lead out of where the rule points.
        """
        if path == b"*":  # OPTIONS of the server as a whole
            return path
        if self._strip and _is_under(path, self._strip):
            path = path[len(self._strip) :] or b"/"
        for replacement in self._paths:
            replaced = replacement(path)
            if replaced is not None:
                path, added = replaced
                query = added if query is None else query if not added else added + b"&" + query
                if _DOT_SEGMENT.search(path):
                    raise EdgeError(400, Side.CLIENT, Fault.BAD_REQUEST, "rewritten path with a dot segment")
                path = self._normal_path(path)
                break
        path = self._add + path
        return path if query is None else path + b"?" + query

    def map_back(self, fields: Fields, scheme: bytes) -> None:
        """Make what an answer's fields name the client's; `scheme` is that of the client's request."""
        for name in (b"location", b"content-location"):
            value = fields.get(name)
            if value is not None:
                fields.set(name.title(), self.reference(value, scheme))
        refresh = _REFRESH.fullmatch(fields.get(b"refresh") or b"")
        if refresh is not None:
            fields.set(b"Refresh", refresh[1] + self.reference(refresh[2], scheme) + refresh[3])
        if self._maps_cookies:
            cookies = fields.get_all(b"set-cookie")
            if cookies:
                fields.remove(b"set-cookie")
                for cookie in cookies:
                    fields.append(b"Set-Cookie", self.cookie(cookie))

    def reference(self, value: bytes, scheme: bytes) -> bytes:
        """A reference into the origin as a path of the client's; any other as it is.

        It is of the origin if it begins with a slash, or names the origin and its scheme or the client's.
        """
        absolute = _ABSOLUTE.fullmatch(value)
        if absolute is None:
            return (self._outward(value) or value) if value.startswith(b"/") else value
        named, authority, rest = absolute.groups()
        if named is not None and named.lower() not in (*self._schemes, scheme):
            return value
        if authority.lower() not in self._names:
            return value
        # One slash: two would begin the name of a host.
        return self._outward(b"/" + rest.lstrip(b"/")) or value

    def _outward(self, reference: bytes) -> bytes | None:
        """The client's spelling of the origin's path, with what follows it; None if it has none."""
        match = _PATH.fullmatch(reference)
        assert match is not None, "matches everything"
        path, rest = match.groups()
        if self._add:
            if not _is_under(path, self._add):
                return None
            path = path[len(self._add) :]
        elif self._strip and _is_under(path, self._strip):
            return reference  # an origin that knows where it is mounted
        return bytes(self._strip + path or b"/") + bytes(rest)

    def cookie(self, value: bytes) -> bytes:
        """A Set-Cookie value whose Path is the client's, without a Domain that is the origin's."""
        pair, *attributes = value.split(b";")
        if pair.lstrip().startswith(b"__Host-"):  # is for the path "/" by definition
            return value
        kept = [pair]
        for attribute in attributes:
            name, _, text = (part.strip() for part in attribute.partition(b"="))
            if name.lower() == b"domain" and text.lstrip(b".").lower() in self._hosts:
                continue
            if name.lower() == b"path" and text.startswith(b"/"):
                attribute = b" Path=" + (self._outward(text) or text)
            kept.append(attribute)
        return b";".join(kept)


class RewritingFetch:
    """A fetch stage that asks for what `rewrite` says. Sets origin_target and origin_host of the context."""

    def __init__(self, fetch: Callable[..., Awaitable[Response]], rewrite: Rewrite) -> None:
        self._fetch = fetch
        self._rewrite = rewrite

    async def __call__(self, ctx: Context, *how: Any, **more: Any) -> Response:
        request = ctx.request
        ctx.origin_target = self._rewrite.target(request.path, request.query)
        ctx.origin_host = self._rewrite.host
        response = await self._fetch(ctx, *how, **more)
        self._rewrite.map_back(response.fields, request.scheme)
        return response


def _is_under(path: bytes, prefix: bytes) -> bool:
    """Is the path the prefix, or below it?"""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")
