"""Field lines of one HTTP message: strict validation, look-up without per-field objects.

A native module: a request's header section is validated and indexed in one pass over its bytes,
and a Python object is made only for a field somebody asks for. The same validator serves HTTP/1.1
(`parse`), HTTP/2 and HTTP/3 (`of`). Names given to look-ups are lower-case bytes.
"""

from collections.abc import Iterable

class FieldError(ValueError):
    """A header section that must be refused; `args[0]` says which rule it breaks, in a few words."""

class TooManyFields(FieldError):
    """More field lines than allowed: a matter of size (431), not of grammar (400)."""

# Bits of Fields.mask: one per field the hot path has to know about.
HOST: int
CONNECTION: int
CONTENT_LENGTH: int
TRANSFER_ENCODING: int
EXPECT: int
UPGRADE: int
AUTHORIZATION: int
COOKIE: int
RANGE: int
IF_RANGE: int
IF_NONE_MATCH: int
IF_MODIFIED_SINCE: int
IF_MATCH: int
IF_UNMODIFIED_SINCE: int
CACHE_CONTROL: int
PRAGMA: int
ACCEPT_ENCODING: int
FORWARDED: int  # any of Forwarded, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP
CDN_LOOP: int  # CDN-Loop or Via
TE: int
TRAILER: int
SET_COOKIE: int
VARY: int
CONTENT_ENCODING: int

class Fields:
    """Ordered field lines. Names compare case-insensitively and keep the spelling they came with."""

    @staticmethod
    def parse(block: bytes, start: int = 0, *, max_fields: int = 128) -> Fields:
        """Field lines from `block[start:]`, which ends with the empty line (CRLF CRLF).

        Raises FieldError for whatever RFC 9112 5 or RFC 9110 5 forbids: a name that is no token,
        whitespace before the colon, obs-fold, a bare CR or LF, NUL or another control character in a
        value, more than `max_fields` lines (TooManyFields), more than one Host, conflicting or repeated
        Content-Length, a Content-Length that is not 1*18DIGIT, Content-Length with Transfer-Encoding.
        Bytes from 0x80 up (obs-text) are allowed in values.
        """
    @staticmethod
    def of(pairs: Iterable[tuple[bytes, bytes]] = ()) -> Fields:
        """The same rules for name/value pairs (HTTP/2, HTTP/3, and fields we make ourselves).

        A name beginning with ":" is no token: pseudo-fields have to be taken out before.
        """
    @staticmethod
    def trusted(block: bytes) -> Fields:
        """Wrap field lines that were validated before (a stored response): no scan until the first look-up.

        `block` is zero or more `Name: value CRLF` lines without the empty line.
        """
    @property
    def mask(self) -> int:
        """Which of the well-known fields are present: an OR of the bits above."""
    def get(self, name: bytes) -> bytes | None:
        """Value of the first line of that name, without surrounding whitespace."""
    def get_all(self, name: bytes) -> list[bytes]: ...
    def joined(self, name: bytes) -> bytes | None:
        """All values of that name as one list, joined with ", " (RFC 9110 5.3); None if absent."""
    def __contains__(self, name: bytes) -> bool: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool:
        """Always true: `if fields` asks whether there are Fields at all."""
    def items(self) -> list[tuple[bytes, bytes]]:
        """(name as spelled, value) in order."""
    def append(self, name: bytes, value: bytes) -> None:
        """Add a line at the end. Cheap: no scan, no rebuild. Name and value are trusted to be valid
        (only our own code calls it; anything that came from a peer has passed `parse` or `of`)."""
    def append_lines(self, lines: bytes) -> None:
        """Add ready-made `Name: value CRLF` lines at the end. As cheap as `append`."""
    def append_pieces(self, *pieces: bytes | int) -> None:
        """`append_lines` of the pieces joined, whole numbers in decimal digits."""
    def set(self, name: bytes, value: bytes) -> None:
        """Replace every line of that name by one; add it when absent. The line has the spelling given here."""
    def remove(self, *names: bytes) -> None:
        """Drop every line of the given names; absent ones are fine."""
    def encode_without(self, names: tuple[bytes, ...]) -> bytes:
        """`encode` of what `remove(*names)` would leave, in one pass and without changing anything."""
    def only(self, names: tuple[bytes, ...]) -> Fields:
        """The lines of the given names as fields of their own, in their order and as they are spelled."""
    def copy(self) -> Fields: ...
    def encode(self) -> bytes:
        """The lines as they go on the wire, each ended by CRLF, without the empty line."""
    def assemble(self, start: bytes, date: bytes, length: int, framing: bytes, body: bytes) -> bytes:
        """A whole message in one allocation: `start` (status line), the lines, `date` (a line) unless they have a
        Date already, Content-Length unless `length` is negative, `framing` (lines), the empty line, `body`."""

class Section:
    """A header or trailer section of HTTP/2 or HTTP/3, under the rules that hold for lines. Serves one after another."""

    taken: int  # bytes of all fields, kept or not
    too_large: bool  # more came than was to be kept
    def read(
        self, pairs: list[tuple[bytes, bytes]], trailers: bool, max_bytes: int, max_fields: int
    ) -> None:
        """Forget the section before, take this one. More than `max_bytes` in lines or `max_fields` is not kept."""
    def why(self) -> str | None:
        """Which rule the section breaks; None if it breaks none."""
    def fields(self) -> Fields:
        """What was taken, with Host from :authority where there is one, and Cookie in one line. Once."""

class LineError(ValueError):
    """A request line that must be refused."""

def read_head(
    data: bytes, start: int, seen: int, max_line: int, max_header: int, max_fields: int
) -> tuple[int, bytes, bytes, bytes, bytes | None, int, Fields] | None:
    """The HTTP/1 request head that begins at data[start], its fields checked as by `Fields.parse`.

    (end, method, target, path, query, minor version, fields): `path` and `query` are the target's parts
    around its first "?", whatever its form; the version is HTTP/1.0 or 1.1. None if the head is not
    complete; the bytes before data[seen] are known to hold no end. Raises LineError, FieldError, and
    OverflowError ("line" or "header") for a part longer than `max_line` or `max_header` bytes.
    """

def is_plain_path(path: bytes) -> bool:
    """Is the path its own normal form for `security.normalize`, by one look at its bytes?

    True only for visible ASCII that begins with a slash, without "%", backslash, "#" and "?", with no empty
    segment but the last, and none that begins with a dot. False says nothing: the path needs a closer look.
    """
