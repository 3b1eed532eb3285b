"""Cache keys: which requests may share one stored response.

The primary key is the target URI as the normalise gate spelled it; nothing an origin may tell apart is
merged, unless the rules of a route say so (`key_maker`), which may also add parts. The variant key extends
it by the request fields that the response's Vary named (RFC 9111 4.1). Key parts are separated by NUL, which
no valid target or field value can contain, and what precedes the first is the URL's own.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from worker.cache.negotiation import Negotiation
from worker.context import Client
from worker.fields import Fields
from worker.message import Request
from worker.settings import KeySettings

SERIAL_BYTES = 8
_LONGEST_VARIANT = 256  # a longer extension is replaced by its cryptographic digest
_HOST = re.compile(rb"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")
_TABLET = re.compile(rb"iPad|Tablet|Kindle|Silk|PlayBook")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class KeyMaker(Protocol):
    """Makes the primary keys of one route; without a client for what concerns a URL whoever asks for it."""

    def __call__(self, request: Request, client: Client | None = None) -> bytes: ...


def cache_key(request: Request, client: Client | None = None) -> bytes:
    """The primary key of the request's target; the same for GET and HEAD."""
    if request.query is None:
        return request.scheme + b"://" + request.host + request.path
    return request.scheme + b"://" + request.host + request.path + b"?" + request.query


def key_maker(rules: KeySettings, country: Callable[[Client], bytes] | None = None) -> KeyMaker:
    """What makes the primary keys of a route with these rules; `cache_key` itself where there are none.

    `country` tells where a client is; without it, or without a client, nobody knows.
    """
    return cache_key if rules == KeySettings() else _RuledKey(rules, country)


class _RuledKey:
    """Primary keys by the rules of a route: the URL with what counts of its query, then the other parts.

    The origin gets the request as it was sent. Parameter names are compared decoded, as the origin will read
    them; where parameters may be separated by ";", which some origins do and others do not, the query counts
    as it is. Without parameters that count there is no "?" in the key.
    """

    def __init__(self, rules: KeySettings, country: Callable[[Client], bytes] | None) -> None:
        self._query = rules.query == "all"
        self._sort = rules.sort_query
        self._drop, self._keep = _matcher(rules.drop), _matcher(rules.keep)
        self._as_sent = not (rules.sort_query or rules.drop or rules.keep)
        self._headers, self._cookies, self._device = rules.headers, rules.cookies, rules.device
        self._by_country, self._country = rules.country, country

    def __call__(self, request: Request, client: Client | None = None) -> bytes:
        key = request.scheme + b"://" + request.host + request.path
        query = request.query if self._query else None
        if query is not None and not self._as_sent and b";" not in query:
            query = b"&".join(self._counting(query)) or None
        if query is not None:
            key += b"?" + query
        parts = self._parts(request.fields, client)
        if len(parts) > _LONGEST_VARIANT:
            parts = b"\0#" + blake2b(parts, digest_size=32).digest()
        return key + parts

    def _counting(self, query: bytes) -> list[bytes]:
        """The parameters that count; those of one name stay in their order."""
        counting = [part for part in query.split(b"&") if part and self._counts(_name_of(part))]
        if self._sort:
            counting.sort(key=_name_of)
        return counting

    def _counts(self, name: bytes) -> bool:
        if self._keep is not None and self._keep.fullmatch(name) is None:
            return False
        return self._drop is None or self._drop.fullmatch(name) is None

    def _parts(self, fields: Fields, client: Client | None) -> bytes:
        parts = [fields.joined(name) for name in self._headers]
        if self._cookies:
            sent = _cookies(fields)
            parts += [sent.get(name) for name in self._cookies]
        if self._device:
            parts.append(device_class(fields))
        if self._by_country:
            known = None if client is None or self._country is None else self._country(client)
            parts.append(known or None)
        return b"".join(b"\0-" if part is None else b"\0=" + part for part in parts)


def _matcher(patterns: Sequence[bytes]) -> re.Pattern[bytes] | None:
    """What matches a name that is one of the patterns; None without any."""
    any_of = (b".*".join(map(re.escape, pattern.split(b"*"))) for pattern in patterns)
    return re.compile(b"|".join(any_of), re.DOTALL) if patterns else None


def _name_of(parameter: bytes) -> bytes:
    name = parameter.partition(b"=")[0]
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name


def _cookies(fields: Fields) -> dict[bytes, bytes]:
    """Name -> value of the cookies sent (RFC 6265 4.2.1); of two with one name, both."""
    cookies: dict[bytes, bytes] = {}
    for line in fields.get_all(b"cookie"):
        for pair in line.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            cookies[name] = cookies[name] + b"; " + value if name in cookies else value
    return cookies


def device_class(fields: Fields) -> bytes:
    """b"mobile", b"tablet" or b"desktop": what kind of device the browser says it runs on.

    Sec-CH-UA-Mobile: ?1 is a phone. Else User-Agent: a phone's has "Mobi" in it, a tablet's "iPad",
    "Tablet", "Kindle", "Silk" or "PlayBook", or it has "Android" without "Mobi". Everything else, and who
    does not say, is a desktop.
    """
    if fields.get(b"sec-ch-ua-mobile") == b"?1":
        return b"mobile"
    agent = fields.get(b"user-agent") or b""
    if _TABLET.search(agent) is not None:
        return b"tablet"
    if b"Mobi" in agent:
        return b"mobile"
    return b"tablet" if b"Android" in agent else b"desktop"


def host_of(host: str, scheme: bytes) -> bytes:
    """A host, perhaps with a port, as keys of that scheme have it. Raises ValueError for anything else."""
    raw = host.lower().encode("ascii", "replace")
    if _HOST.fullmatch(raw) is None:
        raise ValueError(f"{host!r} is no host: write it as example.org or example.org:8080")
    return raw.removesuffix(_DEFAULT_PORTS[scheme])


def request_of_url(url: str) -> Request:
    """A GET for an absolute http or https URL, so that a URL and a request find the same key.

    The scheme and host become lower-case and the scheme's default port is dropped; a fragment is ignored.
    Raises ValueError for a URL that is relative, has no host or another scheme, or holds characters
    that no request target may hold.
    """
    try:
        raw = url.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError(f"URL {url!r} has characters outside ASCII: percent-encode them") from None
    if any(byte <= 0x20 or byte == 0x7F for byte in raw):
        raise ValueError(f"URL {url!r} has a space or control character: percent-encode it")
    parts = urlsplit(raw)
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or _HOST.fullmatch(parts.netloc.lower()) is None:
        raise ValueError(f"URL {url!r} is not of the form http://host/path or https://host/path")
    host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[scheme])
    path = parts.path or b"/"
    asked = b"?" in raw.partition(b"#")[0]
    query = parts.query if asked else None
    target = path + (b"" if query is None else b"?" + query)
    return Request(b"GET", scheme, host, target, path, query, b"1.1", Fields.of(()))


def vary_names(fields: Fields) -> tuple[bytes, ...]:
    """Lower-case names in Vary, sorted, each once; (b"*",) as soon as one member is `*` (RFC 9110 12.5.5)."""
    value = fields.joined(b"vary")
    if value is None:
        return ()
    names = {name for part in value.split(b",") if (name := part.strip().lower())}
    return (b"*",) if b"*" in names else tuple(sorted(names))


def new_serial() -> bytes:
    """What tells the variants of one vary record from those of an earlier, purged one."""
    return os.urandom(SERIAL_BYTES)


def variant_key(
    primary: bytes, serial: bytes, names: Iterable[bytes], fields: Fields, negotiation: Negotiation
) -> bytes:
    """The key of the variant this request selects among those whose Vary is `names`.

    Fields that are negotiated here are reduced, every other is taken as sent with its lines joined (RFC 9111
    4.1); an absent field differs from an empty one. `names` must be sorted and hold no `*`.
    """
    values = bytearray()
    for name in names:
        value = negotiation.value(name, fields)
        values += b"\0-" if value is None else b"\0=" + value
    if len(values) > _LONGEST_VARIANT:
        values = bytearray(b"\0#" + blake2b(values, digest_size=32).digest())
    return primary + b"\0" + serial + values


def encoding_variant_key(primary: bytes, serial: bytes, reduced: bytes) -> bytes:
    """`variant_key` for the one most common Vary, Accept-Encoding alone, cheap enough for every hit."""
    return primary + b"\0" + serial + b"\0=" + reduced
