"""Cache keys: which requests may share one stored response.

The primary key is the target URI as the normalise gate spelled it; nothing an origin may tell apart is
merged. The variant key extends it by the request fields that the response's Vary named (RFC 9111 4.1). Key
parts are separated by NUL, which no valid target or field value can contain.
"""

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from urllib.parse import urlsplit

from worker.fields import Fields
from worker.message import Request

SERIAL_BYTES = 8
_LONGEST_VARIANT = 256  # a longer extension is replaced by its cryptographic digest
_REMEMBERED = 4096  # Accept-Encoding values whose reduction is remembered
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def cache_key(request: Request) -> bytes:
    """The primary key of the request's target; the same for GET and HEAD."""
    if request.query is None:
        return request.scheme + b"://" + request.host + request.path
    return request.scheme + b"://" + request.host + request.path + b"?" + request.query


def key_of_url(url: str) -> bytes:
    """The primary key of an absolute http or https URL whose path is spelled as the normalise gate spells it.

    Raises ValueError for anything else.
    """
    request = request_of_url(url)
    return cache_key(request)


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
    host = parts.netloc.lower()
    if scheme not in _DEFAULT_PORTS or not host or b"@" in host:
        raise ValueError(f"URL {url!r} is not of the form http://host/path or https://host/path")
    host = host.removesuffix(_DEFAULT_PORTS[scheme])
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


class Codings:
    """Accept-Encoding reduced to the codings we serve, so that browsers share variants.

    `served` is in our order of preference. Codings no client can get from here (deflate, compress...) do
    not split the cache; what is reduced is also what the origin is asked, so a stored variant
    suits everyone who has its key.
    """

    def __init__(self, served: Sequence[str]) -> None:
        self.served = tuple(name.encode("ascii").lower() for name in served)
        self._reduced: dict[bytes, bytes] = {}

    def reduce(self, fields: Fields) -> bytes:
        """The acceptable ones of our codings, best first, as a field value; b"" asks for identity."""
        value = fields.joined(b"accept-encoding")
        if value is None:
            return b""
        reduced = self._reduced.get(value)
        if reduced is None:
            if len(self._reduced) >= _REMEMBERED:  # clients choose these values: bound them
                self._reduced.clear()
            reduced = self._reduced[value] = self._reduce(value)
        return reduced

    def _reduce(self, value: bytes) -> bytes:
        qualities = _qualities(value)
        anything = qualities.get(b"*")
        identity = qualities.get(b"identity", 0.0 if anything == 0 else None)
        acceptable: list[tuple[float, int, bytes]] = []
        for order, name in enumerate(self.served):
            quality = qualities.get(name, anything)
            # A coding the client likes less than no coding at all is not worth a variant.
            if quality and quality >= (identity or 0):
                acceptable.append((-quality, order, name))
        names = [name for _, _, name in sorted(acceptable)]
        if identity == 0:
            names.append(b"identity;q=0")
        return b", ".join(names)


def _qualities(value: bytes) -> dict[bytes, float]:
    """Coding -> q-value (RFC 9110 12.4.2, 12.5.3); an unreadable q-value counts as 0, not acceptable."""
    qualities: dict[bytes, float] = {}
    for part in value.lower().split(b","):
        name, *parameters = (piece.strip() for piece in part.split(b";"))
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        qualities[b"gzip" if name == b"x-gzip" else name] = quality  # RFC 9110 8.4.1.3
    return qualities


def variant_key(
    primary: bytes, serial: bytes, names: Iterable[bytes], fields: Fields, codings: Codings
) -> bytes:
    """The key of the variant this request selects among those whose Vary is `names`.

    Accept-Encoding is reduced, every other field is taken as sent with its lines joined (RFC 9111 4.1); an
    absent field differs from an empty one. `names` must be sorted and hold no `*`.
    """
    values = bytearray()
    for name in names:
        if name == b"accept-encoding":
            values += b"\0=" + codings.reduce(fields)
        else:
            value = fields.joined(name)
            values += b"\0-" if value is None else b"\0=" + value
    if len(values) > _LONGEST_VARIANT:
        values = bytearray(b"\0#" + blake2b(values, digest_size=32).digest())
    return primary + b"\0" + serial + values


def encoding_variant_key(primary: bytes, serial: bytes, reduced: bytes) -> bytes:
    """`variant_key` for the one most common Vary, Accept-Encoding alone, cheap enough for every hit."""
    return primary + b"\0" + serial + b"\0=" + reduced
