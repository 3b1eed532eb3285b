"""Bodies of requests as the values that are looked at: codings undone, then read by their content type.

Bounded in everything a client chooses: bytes, depth, arguments, parts. What cannot be read as what it says it
is, or only in part, is said so beside what could be read. Knows no rule.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from typing import Any

import brotli
import zstandard

from worker.fields import Fields
from worker.security.detect.objects import find_xml
from worker.security.waf.arguments import pairs
from worker.security.waf.multipart import Multipart
from worker.security.waf.xml_body import XmlText

EXCESS = "excess"  # more of something than is looked at
MALFORMED = "malformed"  # not what it says it is: others may read it as something else
XXE = "xml"  # the detector's

ARGUMENTS = 1000  # of a form
VALUES = 4000  # texts of a JSON document, beside short ones of letters and digits alone
PLAIN_BYTES = 16  # letters and digits up to here say nothing in any encoding
DEPTH = 64
PARTS = 256
CODINGS = 2  # around each other
MEMBERS = 64  # of a gzip body
BOMB = 100  # times its size: what a body must not unpack to, when that is more than is looked at
STEP_BYTES = 1024  # unpacked at once

Pairs = list[tuple[bytes, bytes]]


class Kind(Enum):
    """How a body is read."""

    FORM = "form"
    MULTIPART = "multipart"
    JSON = "json"
    JSON_LINES = "json-lines"
    XML = "xml"
    TEXT = "text"
    OPAQUE = "opaque"  # not looked at: pictures, archives, gRPC, what nobody reads as text


@dataclass(slots=True)
class Body:
    """What there is to look at."""

    content: bytes  # without codings; no more than is looked at
    arguments: Pairs = field(default_factory=list)
    others: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # variable, name, value
    faults: list[tuple[str, bytes, str]] = field(default_factory=list)  # rule, part, message

    def add_fault(self, rule: str, message: str, part: bytes = b"") -> None:
        self.faults.append((rule, part, message))


_TEXTS = frozenset((b"application/javascript", b"application/graphql", b"application/sql"))
_LINES = frozenset((b"application/x-ndjson", b"application/jsonl", b"application/json-seq"))
_FORMS = {b"application/x-www-form-urlencoded": Kind.FORM, b"multipart/form-data": Kind.MULTIPART}


def kind_of(fields: Fields) -> Kind:
    """By the content type; a body without one is read as text, since programs guess what it is."""
    media = (fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media in _FORMS:
        return _FORMS[media]
    if media in _LINES:
        return Kind.JSON_LINES
    if media.endswith((b"/json", b"+json")):
        return Kind.JSON
    if media.endswith((b"/xml", b"+xml")):
        return Kind.XML
    if not media or media.startswith((b"text/", b"multipart/")) or media in _TEXTS:
        return Kind.TEXT
    return Kind.OPAQUE


def read_body(fields: Fields, raw: bytes, limit: int, *, is_cut: bool) -> Body:
    """What `raw` says, which is all of the body unless it `is_cut`; `limit` bytes of it are looked at."""
    body, is_cut = _decoded(fields, raw, limit, is_cut)
    types = fields.get_all(b"content-type")
    content_type = types[0] if types else b""
    if len(types) > 1:
        body.add_fault(MALFORMED, "several content types")
    charset = _CHARSET.search(content_type)
    if charset is not None and _USUAL_CHARSET.fullmatch(charset[1]) is None:
        body.add_fault(MALFORMED, "a charset in which text is not what it looks like", charset[1])
    if body.content:
        _READERS[kind_of(fields)](body, content_type, is_cut)
    return body


_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([^\s\"';,]*)", re.IGNORECASE)
_USUAL_CHARSET = re.compile(rb"utf-?8|us-ascii|iso-8859-\d+|windows-125\d", re.IGNORECASE)


# Codings


def _decoded(fields: Fields, raw: bytes, limit: int, is_cut: bool) -> tuple[Body, bool]:
    """At most `limit` bytes. A coding we do not know leaves the body as it is."""
    names = [name.strip().lower() for name in (fields.joined(b"content-encoding") or b"").split(b",")]
    codings = [name for name in names if name in _CODINGS]
    body = Body(raw[:limit])
    is_cut = is_cut or len(raw) > limit
    if len(codings) > CODINGS:
        body.add_fault(EXCESS, f"more than {CODINGS} codings around each other")
        return body, is_cut
    for name in reversed(codings):
        try:
            content, consumed, is_whole = _CODINGS[name](body.content, limit + 1)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            body.add_fault(MALFORMED, f"cannot be read as {name.decode()}: {error}")
            break
        if len(content) > limit:
            is_cut = True
            if limit > BOMB * consumed:
                body.add_fault(EXCESS, f"unpacks to more than {BOMB} times its size")
        elif not is_whole and not is_cut:
            body.add_fault(MALFORMED, f"ends before its {name.decode()} does")
        body.content = content[:limit]
    return body, is_cut


# Each gives what is unpacked, up to `most` bytes, how much of `raw` it took, and whether that is all.
Unpacked = tuple[bytes, int, bool]


def _gzip(raw: bytes, most: int) -> Unpacked:
    return _inflated(raw, most, zlib.MAX_WBITS | 16)


def _deflate(raw: bytes, most: int) -> Unpacked:
    """As zlib wraps it, or bare, which some send under that name."""
    is_wrapped = len(raw) > 1 and raw[0] & 15 == 8 and int.from_bytes(raw[:2], "big") % 31 == 0
    return _inflated(raw, most, zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS)


def _inflated(raw: bytes, most: int, window: int) -> Unpacked:
    """Members may follow each other."""
    content, left = b"", raw
    for _ in range(MEMBERS):
        unpacker = zlib.decompressobj(window)
        content += unpacker.decompress(left, most - len(content))
        left = unpacker.unused_data
        if not left or len(content) >= most:
            return content, len(raw) - len(unpacker.unconsumed_tail) - len(left), unpacker.eof
    return content, len(raw) - len(left), False


def _brotli(raw: bytes, most: int) -> Unpacked:
    unpacker = brotli.Decompressor()
    content, at = b"", 0
    while at < len(raw) and len(content) < most:
        content += unpacker.process(raw[at : at + STEP_BYTES], output_buffer_limit=most - len(content))
        at += STEP_BYTES
    return content, min(at, len(raw)), unpacker.is_finished()


def _zstd(raw: bytes, most: int) -> Unpacked:
    """Of frames that end too early nobody tells."""
    source, unpacker = BytesIO(raw), zstandard.ZstdDecompressor(max_window_size=1 << 23)
    with unpacker.stream_reader(source, read_size=STEP_BYTES, read_across_frames=True) as reader:
        return reader.read(most), source.tell(), True


_CODINGS = {b"gzip": _gzip, b"x-gzip": _gzip, b"deflate": _deflate, b"br": _brotli, b"zstd": _zstd}


# By content type


def _form(body: Body, content_type: bytes, is_cut: bool) -> None:
    found, _ = pairs(body.content)
    if len(found) > ARGUMENTS:
        body.add_fault(EXCESS, f"more than {ARGUMENTS} arguments")
    body.arguments = found[:ARGUMENTS]


def _multipart(body: Body, content_type: bytes, is_cut: bool) -> None:
    read = Multipart(content_type, body.content, max_parts=PARTS)
    if is_cut and read.error is not None:
        read = _cut_multipart(content_type, body.content)
    odd = read.odd
    if read.error is not None and not is_cut:
        rule = EXCESS if read.error.startswith("more than") else MALFORMED
        body.add_fault(rule, f"multipart: {read.error}")
    elif odd.data_before or odd.data_after or odd.lf_line or odd.missing_semicolon or odd.header_folding:
        body.add_fault(MALFORMED, "multipart: others may see other parts in it")
    if read.error is not None:
        body.others.append(("REQUEST_BODY", b"", body.content))
    for part in read.parts:
        if part.filename:
            body.others += [("FILES", part.name, part.filename), ("FILES_NAMES", part.name, part.name)]
        else:
            body.arguments.append((part.name, part.value))


def _cut_multipart(content_type: bytes, content: bytes) -> Multipart:
    """The parts of a body whose end is missing, as far as they are there."""
    found = _BOUNDARY.search(content_type)
    delimiter = b"--" + (found[1] if found is not None else b"")
    end = b"\r\n" + delimiter + b"--\r\n"
    read = Multipart(content_type, content + end, max_parts=PARTS)
    if read.error is not None:  # cut within the head of a part
        read = Multipart(content_type, content[: max(0, content.rfind(delimiter))] + end, max_parts=PARTS)
    return read


_BOUNDARY = re.compile(rb"boundary\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)


class _Object(list[tuple[str, Any]]):
    """The members of an object in order, repeated names included."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def _json(body: Body, content_type: bytes, is_cut: bool) -> None:
    if not _read_json(body, is_cut=is_cut):
        body.arguments.clear()
        _strings(body, content_type, is_cut)
        if not is_cut:
            body.others.append(("REQUEST_BODY", b"", body.content))


def _read_json(body: Body, *, is_cut: bool) -> bool:
    """Whether the content is a JSON document; what is wrong with it is a fault, unless it is only cut."""
    try:
        document = _DECODER.decode(body.content.decode("utf-8-sig"))
        for path, value in _members("json", document, DEPTH, set()):
            if len(body.arguments) == VALUES:
                raise RecursionError
            body.arguments.append((path.encode("utf-8", "replace"), value.encode("utf-8", "replace")))
    except RecursionError:
        body.add_fault(EXCESS, f"JSON: nested more than {DEPTH} deep, or of more than {VALUES} values")
        return False
    except ValueError as error:
        if not is_cut:
            body.add_fault(MALFORMED, f"JSON: {error}")
        return False
    return True


def _members(path: str, value: Any, depth: int, names: set[str]) -> Iterator[tuple[str, str]]:
    """Names with all they lie in before a dot, each once, and values that are text; arrays have no names."""
    if depth == 0:
        raise RecursionError
    if isinstance(value, _Object):
        for name, member in value:
            inner = f"{path}.{name}"
            if inner not in names:
                names.add(inner)
                yield inner, ""
            yield from _members(inner, member, depth - 1, names)
    elif isinstance(value, list):
        for element in value:
            yield from _members(path, element, depth - 1, names)
    elif isinstance(value, str) and not (len(value) < PLAIN_BYTES and value.isalnum() and value.isascii()):
        yield path, value


def _strings(body: Body, content_type: bytes, is_cut: bool) -> None:
    """Of what is JSON only in part, or several documents: all that stands in quotes."""
    for match in _STRING.finditer(body.content):
        if len(body.arguments) == VALUES:
            if not body.faults:
                body.add_fault(EXCESS, f"JSON: more than {VALUES} values")
            return
        try:
            text = json.loads(match[0])
        except ValueError:
            text = match[0].decode("utf-8", "replace").strip('"')
        body.arguments.append((b"json", text.encode("utf-8", "replace")))


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)


def _xml(body: Body, content_type: bytes, is_cut: bool) -> None:
    document = XmlText(body.content, max_depth=DEPTH)
    if document.error is not None and not is_cut:
        rule = EXCESS if document.error.startswith("nested") else MALFORMED
        body.add_fault(rule, f"XML: {document.error}")
    entity = find_xml(body.content)
    if entity is not None:
        body.add_fault(XXE, "", entity)
    body.others.append(("XML", b"/*", document.text))
    body.others += [("XML", b"//@*", value) for value in document.attributes]


def _text(body: Body, content_type: bytes, is_cut: bool) -> None:
    """JSON is recognised, because scripts send it as plain text to need no permission for it (CORS)."""
    if body.content.lstrip()[:1] in (b"{", b"["):
        as_json = Body(body.content)
        if _read_json(as_json, is_cut=is_cut):
            body.arguments = as_json.arguments
            return
    body.others.append(("REQUEST_BODY", b"", body.content))


def _opaque(body: Body, content_type: bytes, is_cut: bool) -> None:
    """Nothing of it is looked at."""


_READERS = {
    Kind.FORM: _form,
    Kind.MULTIPART: _multipart,
    Kind.JSON: _json,
    Kind.JSON_LINES: _strings,
    Kind.XML: _xml,
    Kind.TEXT: _text,
    Kind.OPAQUE: _opaque,
}
