"""The Content-Type of a file, told by its name alone and the same on every machine."""

import mimetypes
from functools import lru_cache

UNKNOWN = "application/octet-stream"

_NEWER = {  # than the Python that runs us, or sent otherwise than it says
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_COMPRESSED = {
    "br": UNKNOWN,
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}

_types = mimetypes.MimeTypes()  # what Python knows, without the files of the machine
for _suffix, _type in _NEWER.items():
    _types.add_type(_type, _suffix)


@lru_cache(maxsize=1024)
def media_type(name: str) -> str:
    """The media type, with a charset for text. A compressed file is what it is, not a coding of another."""
    _, *suffixes = name.rpartition("/")[2].lower().split(".")
    if not suffixes:
        return UNKNOWN
    kind, coding = _types.guess_type("x." + ".".join(suffixes[-2:]))
    if coding is not None:
        return _COMPRESSED.get(coding, UNKNOWN)
    if kind is None:
        return UNKNOWN
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
