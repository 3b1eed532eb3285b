"""multipart/form-data (RFC 7578) as a suspicious reader sees it: parts, and all that is odd about them.

What browsers never send and readers understand differently is reported by name (the MULTIPART_* variables),
so that rules can refuse it. Bounded in parts and in the size of a part's head.
"""

import re
from dataclasses import dataclass, field

MAX_HEAD_LINE = 4096


class MultipartError(ValueError):
    """The body cannot be read as parts; the message says why."""


@dataclass(slots=True)
class Part:
    """One part: a file if it has a file name."""

    name: bytes = b""
    filename: bytes = b""
    fields: dict[bytes, bytes] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)  # the head as sent, without line ends
    value: bytes = b""


@dataclass(slots=True)
class Oddities:
    """What rules can ask for, each by the variable MULTIPART_<name in upper case>."""

    boundary_quoted: bool = False
    boundary_whitespace: bool = False
    data_after: bool = False
    data_before: bool = False
    header_folding: bool = False
    invalid_header_folding: bool = False
    invalid_part: bool = False
    invalid_quoting: bool = False
    missing_semicolon: bool = False
    unmatched_boundary: bool = False
    crlf_line: bool = False  # not asked for by itself
    lf_line: bool = False
    error: bool = False

    def is_strict_error(self) -> bool:
        return any(
            (
                self.error, self.boundary_quoted, self.boundary_whitespace, self.data_before, self.data_after,
                self.header_folding, self.lf_line, self.missing_semicolon, self.invalid_quoting,
                self.invalid_part, self.invalid_header_folding,
            )
        )  # fmt: skip


_BOUNDARY = re.compile(rb"boundary\s*=", re.IGNORECASE)
_BOUNDARY_CHARACTERS = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")


class Multipart:
    """The parts of one body. Read `error` (None if all was well): parts are there only without one."""

    def __init__(self, content_type: bytes, body: bytes, *, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.odd = Oddities()
        self.error: str | None = None
        self._max_parts = max_parts
        try:
            self._read(self._boundary(content_type), body)
        except MultipartError as error:
            self.odd.error = True
            self.error = str(error)
            self.parts = []

    # The boundary

    def _boundary(self, content_type: bytes) -> bytes:
        marks = _BOUNDARY.findall(content_type)
        if len(marks) > 1:
            raise MultipartError("several boundaries in Content-Type")
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise MultipartError("no boundary in Content-Type")
        if not content_type[len(b"multipart/form-data") : found.start()].lstrip().startswith(b";"):
            self.odd.missing_semicolon = True
        if found[0][8:-1]:
            self.odd.boundary_whitespace = True
        boundary = content_type[found.end() :]
        if boundary[:1].isspace():
            self.odd.boundary_whitespace = True
            boundary = boundary.lstrip()
        if boundary.startswith(b'"'):
            self.odd.boundary_quoted = True
            boundary, closed, rest = boundary[1:].partition(b'"')
            if not closed or rest.strip(b" \t;"):
                raise MultipartError("the quoted boundary is malformed")
        else:
            boundary = re.split(rb"[;\s]", boundary, maxsplit=1)[0]
        if not boundary or _BOUNDARY_CHARACTERS.fullmatch(boundary) is None:
            raise MultipartError("the boundary has characters it may not have")
        return boundary

    # The body

    def _read(self, boundary: bytes, body: bytes) -> None:
        delimiter = b"--" + boundary
        part: Part | None = None
        in_head = is_complete = False
        value: list[bytes] = []
        for line in _lines(body):
            if is_complete:
                if line.strip():
                    self.odd.data_after = True
                continue
            if line.startswith(delimiter):
                rest = line[len(delimiter) :].rstrip(b"\r\n")
                if rest in (b"", b"--") or not rest.strip(b" \t"):
                    self._finish(part, value)
                    self._note_line_end(line)
                    is_complete = rest == b"--"
                    part, in_head, value = (None if is_complete else Part()), True, []
                    continue
                if rest.startswith(b"--"):
                    self._finish(part, value)
                    raise MultipartError("characters behind the last boundary")
            if line.startswith(b"--") and part is not None:
                self.odd.unmatched_boundary = True
            if part is None:
                self.odd.data_before = True
            elif in_head:
                in_head = self._head_line(part, line)
            else:
                value.append(line)
        if body and not is_complete:  # for ModSecurity an error, but no "strict" one
            self.error = "no last boundary" if part is not None else "no boundary in the body"
            self.parts = []

    def _note_line_end(self, line: bytes) -> None:
        if line.endswith(b"\r\n"):
            self.odd.crlf_line = True
        elif line.endswith(b"\n"):
            self.odd.lf_line = True

    def _finish(self, part: Part | None, value: list[bytes]) -> None:
        if part is None:
            return
        part.value = b"".join(value)
        if part.value.endswith(b"\r\n"):
            part.value = part.value[:-2]
        elif part.value.endswith(b"\n"):
            part.value = part.value[:-1]
        if not part.name:
            self.odd.invalid_part = True
            return
        if len(self.parts) >= self._max_parts:
            raise MultipartError(f"more than {self._max_parts} parts")
        self.parts.append(part)

    # The head of a part

    def _head_line(self, part: Part, line: bytes) -> bool:
        """Whether the head goes on behind this line."""
        if b"\0" in line:
            raise MultipartError("a NUL in the head of a part")
        if len(line) > MAX_HEAD_LINE:
            raise MultipartError("a line in the head of a part is too long")
        self._note_line_end(line)
        text = line.rstrip(b"\r\n")
        if not text:
            self._disposition(part)
            return False
        if text[:1].isspace():
            self._fold(part, text)
            return True
        name, colon, content = text.partition(b":")
        if not colon or not name:
            raise MultipartError("a line without name or colon in the head of a part")
        name = name.lower()
        if name in part.fields:
            raise MultipartError("a field twice in the head of a part")
        part.fields[name] = content.lstrip(b" \t")
        part.lines.append(text)
        return True

    def _fold(self, part: Part, text: bytes) -> None:
        self.odd.header_folding = True
        if not part.lines:
            raise MultipartError("the head of a part begins with a continuation line")
        content = text.lstrip()
        if text[: len(text) - len(content)].strip(b" \t"):
            self.odd.invalid_header_folding = True
        name = next(reversed(part.fields))
        part.fields[name] += b" " + content
        part.lines[-1] += b" " + content

    def _disposition(self, part: Part) -> None:
        value = part.fields.get(b"content-disposition")
        if value is None:
            raise MultipartError("a part without Content-Disposition")
        for name, content in self._parameters(value):
            if b"'" in content:
                self.odd.invalid_quoting = True
            if name == b"name":
                if part.name:
                    raise MultipartError("a part with two names")
                part.name = content
            elif name == b"filename":
                if part.filename:
                    raise MultipartError("a part with two file names")
                part.filename = content
            else:
                raise MultipartError("an unknown parameter in Content-Disposition")
        if not part.name:
            raise MultipartError("a part without a name")
        if part.filename and b"filename=" not in value:
            raise MultipartError("a file name that other readers may not see")

    def _parameters(self, value: bytes) -> list[tuple[bytes, bytes]]:
        if not value.startswith(b"form-data"):
            raise MultipartError("Content-Disposition is not form-data")
        rest = value[9:].strip(b" \t")
        found = []
        while rest:
            match = _PARAMETER.match(rest)
            if match is None:
                raise MultipartError("Content-Disposition is malformed")
            quoted = match[2]
            if quoted is None:
                found.append((match[1], match[3]))
            else:
                quote = quoted[:1]
                if quote == b"'":
                    self.odd.invalid_quoting = True
                found.append((match[1], re.sub(rb"\\([\\" + quote + rb"])", rb"\1", quoted[1:-1])))
            rest = rest[match.end() :]
        return found


_QUOTED = rb""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_TOKEN = rb"""[^()<>@,;:\\"/\[\]?=\x00- \x7f-\xff]*"""
_PARAMETER = re.compile(
    rb";[ \t]*([^=\t ]+)[ \t]*=[ \t]*(?:(" + _QUOTED + rb")|(" + _TOKEN + rb"))[ \t]*(?=;|\Z)", re.DOTALL
)


def _lines(body: bytes) -> list[bytes]:
    """Lines end with LF; a CR alone ends none."""
    *whole, last = body.split(b"\n")
    lines = [piece + b"\n" for piece in whole]
    if last:
        lines.append(last)
    return lines
