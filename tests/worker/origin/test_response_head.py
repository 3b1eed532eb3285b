"""Where an answer ends, whether its connection may live, and which fields survive."""

import pytest

from worker.origin.response_head import CHUNKED, UNTIL_CLOSE, HeadError, is_hopeless, read_head


def head(*lines: str, status: str = "HTTP/1.1 200 OK", to_head: bool = False):
    text = "".join(f"{line}\r\n" for line in (status, *lines, ""))
    return read_head(text.encode("latin-1"), to_head=to_head)


# RFC 9112 6.3
@pytest.mark.parametrize(
    ("status", "lines", "to_head", "size", "length"),
    [
        ("200 OK", ["Content-Length: 5"], False, 5, 5),
        ("200 OK", ["Content-Length: 0"], False, 0, 0),
        ("200 OK", ["Transfer-Encoding: Chunked"], False, CHUNKED, None),
        ("200 OK", [], False, UNTIL_CLOSE, None),
        ("200", ["Content-Length: 5"], False, 5, 5),
        ("404 ", ["Content-Length: 5"], False, 5, 5),
        ("999 Odd", ["Content-Length: 5"], False, 5, 5),
        ("205 Reset Content", ["Content-Length: 0"], False, 0, 0),
        ("200 OK", ["Content-Length: 5"], True, 0, 5),
        ("200 OK", ["Transfer-Encoding: chunked"], True, 0, None),
        ("200 OK", [], True, 0, None),
        ("304 Not Modified", ["Content-Length: 5"], False, 0, 5),
        ("304 Not Modified", [], False, 0, None),
        ("204 No Content", ["Content-Length: 5"], False, 0, None),
        ("204 No Content", [], False, 0, None),
        ("103 Early Hints", [], False, 0, None),
    ],
)
def test_framing(status, lines, to_head, size, length):
    found = head(*lines, status=f"HTTP/1.1 {status}", to_head=to_head)
    assert (found.size, found.length) == (size, length)


# RFC 9112 9.3
@pytest.mark.parametrize(
    ("version", "lines", "keep"),
    [
        ("1.1", ["Content-Length: 0"], True),
        ("1.1", ["Content-Length: 0", "Connection: close"], False),
        ("1.1", ["Content-Length: 0", "Connection: x, CLOSE"], False),
        ("1.1", ["Content-Length: 0", "Connection: keep-alive"], True),
        ("1.1", [], False),
        ("1.0", ["Content-Length: 0"], False),
        ("1.0", ["Content-Length: 0", "Connection: keep-alive"], True),
    ],
)
def test_persistence(version, lines, keep):
    assert head(*lines, status=f"HTTP/{version} 200 OK").keep is keep


# RFC 9112 6.1 and 6.2: none of these may announce a body; who does it all the same may send one.
@pytest.mark.parametrize(
    ("status", "line", "keep"),
    [
        ("204 No Content", "Content-Length: 5", False),
        ("204 No Content", "Content-Length: 0", True),
        ("204 No Content", "Transfer-Encoding: chunked", False),
        ("304 Not Modified", "Transfer-Encoding: chunked", False),
        ("304 Not Modified", "Content-Length: 5", True),
    ],
)
def test_an_answer_that_announces_a_body_it_cannot_have_is_the_last_of_its_connection(status, line, keep):
    assert head(line, status=f"HTTP/1.1 {status}").keep is keep


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_an_interim_answer_that_announces_a_body_is_refused(line):
    with pytest.raises(HeadError, match="interim answer"):
        head(line, status="HTTP/1.1 103 Early Hints")


def test_fields_of_this_hop_are_removed():
    lines = [
        "Connection: X-Private, keep-alive",
        "X-Private: 1",
        "Keep-Alive: timeout=15, max=100",
        "Proxy-Connection: x",
        "Upgrade: h2c",
        "Content-Length: 3",
        "Set-Cookie: a=b",
        "Set-Cookie: c=d",
    ]
    found = head(*lines)
    assert found.fields.items() == [(b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d")]
    assert found.idle_s == 15


def test_without_connection_only_the_fixed_names_are_removed():
    found = head("Content-Length: 3", "Keep-Alive: timeout=15", "ETag: x")
    assert found.fields.items() == [(b"ETag", b"x")]


@pytest.mark.parametrize(
    "start",
    [b"x", b"HTTP/2", b"http/1.1 200 OK", b"HTTP/1.1 200 OK\n", b"HTTP/1.1 a\r\n", b"\r\n", b"HTTP/1.1\r\n"],
)
def test_garbage_is_hopeless_from_the_start(start):
    assert is_hopeless(start)


def test_the_start_of_a_good_head_is_not():
    good = b"HTTP/1.1 200 OK\r\nA: b\r\n"
    assert not any(is_hopeless(good[:end]) for end in range(len(good) + 1))


def test_more_than_a_thousand_fields_are_refused():
    with pytest.raises(HeadError):
        head(*["A: b"] * 1025)
