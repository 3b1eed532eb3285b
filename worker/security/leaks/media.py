"""Which answers are looked at, by what their fields say of the body."""

import re
from enum import Enum

from worker.fields import CONTENT_ENCODING, Fields
from worker.message import Response

PROBED = 1024  # bytes of a body of no known type that tell whether it is a text

_TEXT = re.compile(
    rb"(?:text/|application/(?:json|javascript|x-javascript|ecmascript|xml|graphql|toml|yaml|x-yaml|sql|x-sh"
    rb"|x-httpd-php(?:-source)?|x-php|rtf|x-x509-[a-z-]+|x-pem-file|pkcs8|pgp-[a-z]+|x-ndjson|problem\+json"
    rb"|(?!grpc)[^;\s]+\+(?:json|xml|text|yaml))|image/svg\+xml)",
    re.IGNORECASE,
)
_LIVE = re.compile(
    rb"(?:text/event-stream|application/(?:x-ndjson|json-seq|stream\+json)|multipart/x-mixed-replace)",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(rb"(?:application/octet-stream|application/x-trash|\s*\Z)", re.IGNORECASE)
_WIDE = re.compile(rb"charset\s*=\s*\"?utf-?(?:16|32)", re.IGNORECASE)
_NO_BODY = frozenset({204, 205, 304})


class Media(Enum):
    """What a body is to us."""

    TEXT = 1
    LIVE = 2  # a text whose pieces are meant to arrive as they are sent
    UNKNOWN = 3  # its beginning tells whether it is a text
    CODED = 4  # may be a text, in a coding
    OTHER = 5


def media(response: Response) -> Media:
    """What its fields say."""
    if response.status < 200 or response.status in _NO_BODY:
        return Media.OTHER
    fields = response.fields
    kind = (fields.get(b"content-type") or b"").strip()
    if _LIVE.match(kind):
        found = Media.LIVE
    elif _TEXT.match(kind) and not _WIDE.search(kind):
        found = Media.TEXT
    elif _UNKNOWN.match(kind):
        found = Media.UNKNOWN
    else:
        return Media.OTHER
    return Media.CODED if _is_coded(fields) else found


def is_text(beginning: bytes) -> bool:
    """Is a body of no known type a text? One with a NUL byte is none."""
    return b"\0" not in beginning[:PROBED]


def _is_coded(fields: Fields) -> bool:
    if not fields.mask & CONTENT_ENCODING:
        return False
    codings = (fields.joined(b"content-encoding") or b"").lower().replace(b" ", b"").split(b",")
    return any(coding not in (b"identity", b"") for coding in codings)
