"""Field lines: what `Fields` takes means the same when it is written and read again, whatever was done to it.

Beside it stands a plain list of lines, to which the same is done.
"""

from tests.fuzz.take import Take
from worker.fields import FieldError, Fields, TooManyFields

SEEDS = (
    b"Host: example.org\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nX: \ty \r\n\r\n",
    b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nX-A: \xe4\r\nx-a: 2\r\n: \r\n A: b\r\n\r\n\1\2\3\4\5\6\7\1\2\3",
    b"Set-Cookie: a\r\nset-cookie: b\r\nVia: 1.1 x\r\nCDN-Loop: y\r\n\r\n\3a\0b\0\4\5",
)
WORDS = (
    b"\r\n", b"\n", b": ", b"Host", b"content-length", b"Transfer-Encoding", b"Connection", b"\x7f", b"\t",
    b"Cookie", b"vary", b"18446744073709551616",
)  # fmt: skip
NAMES = (b"host", b"x-a", b"cookie", b"content-length", b"date", b"set-cookie", b"nothing", b"x" * 70)
ACTIONS = 12

Lines = list[tuple[bytes, bytes]]


def check(data: bytes) -> None:
    block, mark, actions = data.partition(b"\r\n\r\n")
    block += mark
    try:
        fields = Fields.parse(block, max_fields=64)
    except TooManyFields:
        assert block.count(b"\n") > 64
        return
    except FieldError as error:
        assert error.args[0]
        return
    lines = _lines(block)
    _same(fields, lines)
    take = Take(actions)
    for _ in range(min(take.left, ACTIONS)):
        fields, lines = _act(take, fields, lines)
        _same(fields, lines)


def _lines(block: bytes) -> Lines:
    """What stands there, by a reading that knows nothing of the other."""
    lines = []
    for line in block.removesuffix(b"\r\n").split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        assert (
            colon
            and name
            and not name.strip(
                b"abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            )
        )
        assert not set(value) & {*range(9), *range(10, 32), 127}
        lines.append((name, value.strip(b" \t")))
    hosts = [value for name, value in lines if name.lower() == b"host"]
    lengths = [value for name, value in lines if name.lower() == b"content-length"]
    assert len(hosts) < 2 and len(lengths) < 2
    assert all(length.isdigit() and len(length) <= 18 for length in lengths)
    assert not lengths or all(name.lower() != b"transfer-encoding" for name, _ in lines)
    return lines


def _same(fields: Fields, lines: Lines) -> None:
    assert fields.items() == lines and len(fields) == len(lines)
    for wanted in NAMES:
        values = [value for name, value in lines if name.lower() == wanted]
        assert fields.get_all(wanted) == values
        assert fields.get(wanted) == (values[0] if values else None)
        assert fields.joined(wanted) == (b", ".join(values) if values else None)
        assert (wanted in fields) == bool(values)
    again = Fields.trusted(fields.encode())
    assert again.items() == lines and again.mask == fields.mask
    whole = fields.assemble(b"S\r\n", b"Date: d\r\n", 3, b"F: f\r\n", b"xyz")
    assert whole.startswith(b"S\r\n" + fields.encode())
    assert whole.endswith(b"Content-Length: 3\r\nF: f\r\n\r\nxyz")
    assert (b"Date: d\r\n" in whole.removeprefix(b"S\r\n" + fields.encode())) != (b"date" in fields)


def _act(take: Take, fields: Fields, lines: Lines) -> tuple[Fields, Lines]:
    kind = take.below(9)
    name = take.pick(NAMES)
    if kind == 0:
        fields.append(name, b"appended")
        lines = [*lines, (name, b"appended")]
    elif kind == 1:
        fields.append_lines(b"X-A:  y\r\nCookie: z\r\n")
        lines = [*lines, (b"X-A", b"y"), (b"Cookie", b"z")]
    elif kind == 2:
        fields.append_pieces(b"Age: ", 2**63 - 1, b"\r\nX-A: ", -5, b"\r\n")
        lines = [*lines, (b"Age", b"9223372036854775807"), (b"X-A", b"-5")]
    elif kind == 3:
        fields.set(name, b"set")
        kept = [(key, value) for key, value in lines if key.lower() != name]
        at = next((at for at, (key, _) in enumerate(lines) if key.lower() == name), len(kept))
        lines = [*kept[:at], (name, b"set"), *kept[at:]]
    elif kind == 4:
        other = take.pick(NAMES)
        lines = [(key, value) for key, value in lines if key.lower() not in (name, other)]
        assert Fields.trusted(fields.encode_without((name, other))).items() == lines
        fields.remove(name, other)
    elif kind == 5:
        fields = fields.only((name, take.pick(NAMES)))
        lines = [line for line in fields.items() if line in lines]
    elif kind == 6:
        fields = fields.copy()
    elif kind == 7:
        copy = fields.copy()
        copy.append(b"x-a", b"in the copy")
        assert copy.items() == [*lines, (b"x-a", b"in the copy")]
    else:
        try:
            assert Fields.of(lines).items() == lines
        except FieldError:
            pass  # a second Host or the like was added
    return fields, lines
