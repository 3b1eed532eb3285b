"""One request (and its response) as the variables that rules look at.

Owns what each variable is made of, bounded in everything a client chooses; knows no rule. Names and values
are as libmodsecurity 3 makes them, because the Core Rule Set is written for that.
"""

import time
from dataclasses import dataclass

from worker.security.waf.arguments import pairs
from worker.security.waf.json_body import JsonError
from worker.security.waf.json_body import arguments as json_arguments
from worker.security.waf.multipart import Multipart
from worker.security.waf.percent import decoded
from worker.security.waf.xml_body import XmlText

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a request is looked at; more of anything is an error that rules can see."""

    arguments: int = 1000
    depth: int = 64
    parts: int = 256
    budget_ns: int = 25_000_000  # CPU time for one request


class HttpRequest:
    """What is inspected: the request as the client sent it. Read-only by convention."""

    __slots__ = ("address", "body", "fields", "method", "port", "target", "unique_id", "version")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: tuple[tuple[bytes, bytes], ...],
        body: bytes = b"",
        address: str = "",
        port: int = 0,
        unique_id: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target  # b"/a?b=c"
        self.version = version  # b"1.1"
        self.fields = fields
        self.body = body
        self.address = address
        self.port = port
        self.unique_id = unique_id


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What is inspected of an answer."""

    status: int
    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


class Transaction:
    """The variables, filled as far as the request has been read."""

    __slots__ = (
        "_combined", "_is_read", "_started", "body_processor", "collections", "limits", "request", "scalars",
        "tx", "writable",
    )  # fmt: skip

    def __init__(self, request: HttpRequest, limits: Limits) -> None:
        self.request = request
        self.limits = limits
        self.scalars: dict[str, bytes] = {}
        self.collections: dict[str, Pairs] = {}
        self.tx: dict[bytes, bytes] = {}  # the variables of the rules themselves; names in lower case
        self.writable: dict[str, dict[bytes, bytes]] = {"TX": self.tx}  # others once they are written
        self.body_processor = b""  # URLENCODED, MULTIPART, JSON, XML or none
        self._is_read = False
        self._combined = 0
        self._started = time.monotonic()
        self._read_line()
        self._read_fields()

    def scalar(self, name: str) -> bytes:
        """One value, empty if there is none."""
        found = self.scalars.get(name)
        if found is not None:
            return found
        if name == "DURATION":
            return b"%.6f" % (time.monotonic() - self._started)
        if name.startswith("FULL_REQUEST") and self._is_read:
            whole = self._whole()
            return whole if name == "FULL_REQUEST" else b"%d" % len(whole)
        return _time(name) if name.startswith("TIME") else b""

    # The head

    def _read_line(self) -> None:
        request = self.request
        target = request.target
        whole = decoded(target)
        path = whole.partition(b"?")[0]
        query = target.partition(b"?")[2]
        protocol = b"HTTP/" + request.version
        address = request.address.encode()
        self.scalars = {
            "REQUEST_METHOD": request.method,
            "REQUEST_PROTOCOL": protocol,
            "REQUEST_LINE": b" ".join((request.method, target, protocol)),
            "REQUEST_URI": _without_origin(whole),
            "REQUEST_URI_RAW": target,
            "REQUEST_FILENAME": path,
            "PATH_INFO": path,
            "REQUEST_BASENAME": basename(path),
            "QUERY_STRING": query,
            "REMOTE_ADDR": address,
            "REMOTE_HOST": address,
            "REMOTE_PORT": b"%d" % request.port,
            "UNIQUE_ID": request.unique_id,
            "URLENCODED_ERROR": b"0",
        }
        if query:
            self._add_form(query, "ARGS_GET", "ARGS_GET_NAMES")

    def _read_fields(self) -> None:
        fields = self.request.fields
        for name, value in fields:
            lower = name.lower()
            if lower == b"cookie":
                self._read_cookies(value)
            elif lower == b"content-type":
                self._choose_processor(value.lower())
            elif lower == b"host":
                self.scalars["SERVER_NAME"] = value.partition(b":")[0]
            elif lower == b"authorization":
                self.scalars["AUTH_TYPE"] = value.partition(b" ")[0]
        self.collections["REQUEST_HEADERS"] = list(fields)
        self.collections["REQUEST_HEADERS_NAMES"] = [(name, name) for name, _ in fields]

    def _read_cookies(self, value: bytes) -> None:
        for name, content in cookies(value):
            self.collections.setdefault("REQUEST_COOKIES", []).append((name, content))
            self.collections.setdefault("REQUEST_COOKIES_NAMES", []).append((name, name))

    def _choose_processor(self, content_type: bytes) -> None:
        if content_type.startswith(b"multipart/form-data"):
            self.use_processor(b"MULTIPART")
        elif content_type.startswith(b"application/x-www-form-urlencoded"):
            self.use_processor(b"URLENCODED")

    def use_processor(self, name: bytes) -> None:
        """Read the body as this: the content type's choice, or `ctl:requestBodyProcessor`."""
        self.body_processor = name
        self.scalars["REQBODY_PROCESSOR"] = name

    # Arguments

    def _add_form(self, text: bytes, values: str, names: str) -> None:
        found, broken = pairs(text)
        if broken:
            self.scalars["URLENCODED_ERROR"] = b"1"
        self._add_arguments(found, values, names)

    def _add_arguments(self, found: Pairs, values: str = "", names: str = "") -> None:
        """Where there are too many, the first of them; the body's error variables then say so."""
        if not found:
            return
        arguments = self.collections.setdefault("ARGS", [])
        room = self.limits.arguments - len(arguments)
        if len(found) > room:
            self._body_error(f"more than {self.limits.arguments} arguments")
            found = found[:room]
            if not found:
                return
        arguments += found
        named = [(name, name) for name, _ in found]
        self.collections.setdefault("ARGS_NAMES", []).extend(named)
        if values:
            self.collections.setdefault(values, []).extend(found)
            self.collections.setdefault(names, []).extend(named)
        for name, value in found:
            self._combined += len(name) + len(value)
        self.scalars["ARGS_COMBINED_SIZE"] = b"%d" % self._combined

    # The body

    def read_body(self) -> None:
        """Fill what is made of the body; before the rules of phase 2."""
        body = self.request.body
        self.scalars.setdefault("REQBODY_ERROR", b"0")
        self.scalars.setdefault("REQBODY_PROCESSOR_ERROR", b"0")
        if self.body_processor == b"URLENCODED":
            if body:
                self._add_form(body, "ARGS_POST", "ARGS_POST_NAMES")
        elif self.body_processor == b"MULTIPART":
            self._read_multipart(body)
        elif self.body_processor == b"JSON":
            self._read_json(body)
        elif self.body_processor == b"XML":
            self._read_xml(body)
        elif self.body_processor:
            self._body_error(f"unknown body processor {self.body_processor.decode('latin-1')}")
        if body:
            self.scalars["REQUEST_BODY"] = body
            self.scalars["REQUEST_BODY_LENGTH"] = b"%d" % len(body)
        self._is_read = True

    def _whole(self) -> bytes:
        head = b"".join([b"%b: %b\n" % pair for pair in self.request.fields])
        return head + b"\n\n" + self.request.body

    def _body_error(self, message: str) -> None:
        text = message.encode()
        self.scalars.update(
            REQBODY_ERROR=b"1",
            REQBODY_PROCESSOR_ERROR=b"1",
            REQBODY_ERROR_MSG=text,
            REQBODY_PROCESSOR_ERROR_MSG=text,
        )

    def _read_json(self, body: bytes) -> None:
        if not body:
            return
        try:
            found = json_arguments(body, max_depth=self.limits.depth, max_values=self.limits.arguments)
        except JsonError as error:
            self._body_error(f"JSON parsing error: {error}")
            return
        self._add_arguments(found)

    def _read_xml(self, body: bytes) -> None:
        document = XmlText(body, max_depth=self.limits.depth)
        if document.error is not None:
            self._body_error(f"XML parsing error: {document.error}")
        self.collections["XML"] = [
            (b"/*", document.text),
            *((b"//@*", value) for value in document.attributes),
        ]

    def _read_multipart(self, body: bytes) -> None:
        content_type = next((v for n, v in self.request.fields if n.lower() == b"content-type"), b"")
        read = Multipart(content_type, body, max_parts=self.limits.parts)
        self._multipart_flags(read)
        if read.error is not None:
            self._body_error(f"Multipart parsing error: {read.error}")
            return
        combined = 0
        fields: Pairs = []  # parts that are no files
        for part in read.parts:
            heads = self.collections.setdefault("MULTIPART_PART_HEADERS", [])
            heads += [(part.name, line) for line in part.lines]
            self.collections.setdefault("MULTIPART_NAME", []).append((part.name, part.name))
            if not part.filename:
                fields.append((part.name, part.value))
                continue
            combined += len(part.value)
            for variable, value in (
                ("MULTIPART_FILENAME", part.filename),
                ("FILES", part.filename),
                ("FILES_NAMES", part.name),
                ("FILES_SIZES", b"%d" % len(part.value)),
                ("FILES_TMP_CONTENT", part.value),
            ):
                self.collections.setdefault(variable, []).append((part.name, value))
        self._add_arguments(fields, "ARGS_POST", "ARGS_POST_NAMES")
        self.scalars["FILES_COMBINED_SIZE"] = b"%d" % combined

    def _multipart_flags(self, read: Multipart) -> None:
        odd = read.odd
        flags = {
            "BOUNDARY_QUOTED": odd.boundary_quoted,
            "BOUNDARY_WHITESPACE": odd.boundary_whitespace,
            "CRLF_LF_LINES": odd.crlf_line and odd.lf_line,
            "DATA_AFTER": odd.data_after,
            "DATA_BEFORE": odd.data_before,
            "FILE_LIMIT_EXCEEDED": False,
            "HEADER_FOLDING": odd.header_folding,
            "INVALID_HEADER_FOLDING": odd.invalid_header_folding,
            "INVALID_PART": odd.invalid_part,
            "INVALID_QUOTING": odd.invalid_quoting,
            "LF_LINE": odd.lf_line,
            "MISSING_SEMICOLON": odd.missing_semicolon,
            "STRICT_ERROR": odd.is_strict_error(),
            "UNMATCHED_BOUNDARY": odd.unmatched_boundary,
        }
        self.scalars.update({f"MULTIPART_{name}": b"1" if is_set else b"0" for name, is_set in flags.items()})

    # The response

    def read_response(self, response: HttpResponse) -> None:
        """Fill what is made of the answer's head; before the rules of phase 3."""
        self.scalars["RESPONSE_STATUS"] = b"%d" % response.status
        self.scalars["RESPONSE_PROTOCOL"] = b"HTTP/" + response.version
        self.scalars["STATUS_LINE"] = b"HTTP/%b %d" % (response.version, response.status)
        self.collections["RESPONSE_HEADERS"] = list(response.fields)
        self.collections["RESPONSE_HEADERS_NAMES"] = [(name, name) for name, _ in response.fields]
        for name, value in response.fields:
            if name.lower() == b"content-type":
                self.scalars["RESPONSE_CONTENT_TYPE"] = value.partition(b";")[0]

    def read_response_body(self, body: bytes) -> None:
        """Before the rules of phase 4."""
        self.scalars["RESPONSE_BODY"] = body
        self.scalars["RESPONSE_CONTENT_LENGTH"] = b"%d" % len(body)


def basename(path: bytes) -> bytes:
    """What follows the last slash or backslash."""
    return path[max(path.rfind(b"/"), path.rfind(b"\\")) + 1 :]


def cookies(value: bytes) -> Pairs:
    """Names and values of a Cookie field, undecoded (RFC 6265 4.2.1)."""
    found = []
    for pair in value.rstrip().split(b";"):
        name, _, content = pair.partition(b"=")
        name = name.lstrip()
        if name:
            found.append((name, content))
    return found


def _without_origin(target: bytes) -> bytes:
    """The path and query of a target in absolute form."""
    if target.startswith(b"/"):
        return target
    scheme, mark, rest = target.partition(b"://")
    slash = rest.find(b"/")
    return rest[slash:] if mark and slash >= 0 and b":" not in scheme else target


def _time(name: str) -> bytes:
    formats = {
        "TIME": "%H:%M:%S", "TIME_DAY": "%d", "TIME_EPOCH": "%s", "TIME_HOUR": "%H", "TIME_MIN": "%M",
        "TIME_MON": "%m", "TIME_SEC": "%S", "TIME_WDAY": "%w", "TIME_YEAR": "%Y",
    }  # fmt: skip
    return time.strftime(formats[name]).encode()
