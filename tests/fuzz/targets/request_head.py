"""Heads of HTTP/1 requests: cut anywhere they are read alike, and what is taken is taken again when it is
written anew, as the same request.
"""

from tests.fuzz.take import Take
from worker.errors import EdgeError
from worker.fields import FieldError, Fields, LineError, read_head
from worker.protocol import head

SEEDS = (
    b"\7GET /a?b=c HTTP/1.1\r\nHost: Example.org:80\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n",
    b"\1POST http://u@[::1]:8080/x HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    b"\2OPTIONS * HTTP/1.1\r\nHost: a.\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\n\r\n0\r\n\r\n",
    b"\0\x16\x03\x01",
    b"\3\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost:\r\n\r\n",
)
WORDS = (
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: ", b"\r\n\r\n", b"\n", b"http://",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"GET ", b"[::", b"]", b"xn--", b"..", b"%", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b":",
    b"@", b"?", b"#", b"\x80", b"\x0b", b"PRI * HTTP/2.0",
)  # fmt: skip

SECOND = head.SecondReader()
MAX_LINE, MAX_HEADER, MAX_FIELDS = 256, 1024, 16

Head = tuple[int, bytes, bytes, bytes, bytes | None, int, Fields]


def check(data: bytes) -> None:
    take = Take(data)
    step = take.below(9)
    data = take.rest()
    head.may_begin(data or b"x"), head.is_tls(data), head.empty_lines(data, 0)
    outcome = _read(data, 0)
    if step:
        _cut(data, step, outcome)
    if not isinstance(outcome, str) and outcome is not None:
        _judge(data, outcome)


def _read(data: bytes, seen: int) -> Head | str | None:
    """The head, None if it is not all there, or why it is refused."""
    try:
        return read_head(data, 0, seen, MAX_LINE, MAX_HEADER, MAX_FIELDS)
    except LineError:
        line = data[: data.find(b"\r\n")]
        assert head.REQUEST_LINE.match(data) is None
        assert head.line_error(line).status in (400, 505)
        return "line"
    except (FieldError, OverflowError) as error:
        return str(error.args[0])


def _cut(data: bytes, step: int, whole: Head | str | None) -> None:
    """Does it come to the same, piece by piece?"""
    for end in range(step, len(data) + step, step):
        outcome = _read(data[:end], max(end - step, 0))
        if outcome is not None:
            break
    else:
        outcome = None
    if isinstance(outcome, str) or outcome is None or isinstance(whole, str) or whole is None:
        assert outcome == whole
    else:
        assert outcome[:-1] == whole[:-1] and outcome[-1].items() == whole[-1].items()


def _judge(data: bytes, found: Head) -> None:
    end, method, target, path, query, minor, fields = found
    assert head.REQUEST_LINE.match(data) is not None and data[:end].endswith(b"\r\n\r\n")
    assert target == path + (b"" if query is None else b"?" + query) and b"?" not in path
    assert len(fields) <= MAX_FIELDS and minor in (0, 1)
    again = b"%b %b HTTP/1.%d\r\n%b\r\n" % (method, target, minor, fields.encode())
    assert again == data[:end]
    try:
        host = head.normal_authority(fields.get(b"host") or b"", b"http")
        assert head.normal_authority(host, b"http") == host
        if not path.startswith(b"/"):
            path, query, authority = head.split_target(method, target, b"http")
            assert path.startswith((b"/", b"*")) and b"?" not in path
            if authority is not None:
                head.normal_authority(authority, b"http")
        chunked = head.is_chunked(fields, minor)
        length = head.content_length(fields, 2**40)
        assert not (chunked and b"content-length" in fields)
        SECOND.check(data[:end], chunked or length > 0)
    except EdgeError as error:
        assert error.status in (400, 413, 421, 501)
