"""What each variable of a request is made of."""

import pytest

from worker.security.waf.transaction import HttpRequest, HttpResponse, Limits, Transaction


def transaction(
    target: bytes = b"/", *fields: tuple[bytes, bytes], body: bytes = b"", limits: Limits | None = None
) -> Transaction:
    request = HttpRequest(b"POST", target, b"1.1", fields, body, "192.0.2.1", 1234)
    return Transaction(request, limits or Limits())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("REQUEST_METHOD", b"POST"),
        ("REQUEST_PROTOCOL", b"HTTP/1.1"),
        ("REQUEST_LINE", b"POST /a%20b/c.php?x=%41 HTTP/1.1"),
        ("REQUEST_URI", b"/a b/c.php?x=A"),
        ("REQUEST_URI_RAW", b"/a%20b/c.php?x=%41"),
        ("REQUEST_FILENAME", b"/a b/c.php"),
        ("REQUEST_BASENAME", b"c.php"),
        ("QUERY_STRING", b"x=%41"),
        ("REMOTE_ADDR", b"192.0.2.1"),
        ("ARGS_COMBINED_SIZE", b"2"),
        ("REQUEST_BODY", b""),
    ],
)
def test_the_request_line_as_variables(name: str, expected: bytes) -> None:
    assert transaction(b"/a%20b/c.php?x=%41").scalar(name) == expected


def test_a_target_in_absolute_form_is_its_path() -> None:
    assert transaction(b"http://example.org/a?b").scalar("REQUEST_URI") == b"/a?b"


def test_cookies_are_split_and_not_decoded() -> None:
    found = transaction(b"/", (b"Cookie", b"a=1; b=%41=2;;  c; =d  ")).collections["REQUEST_COOKIES"]
    assert found == [(b"a", b"1"), (b"b", b"%41=2"), (b"c", b"")]


@pytest.mark.parametrize(
    ("content_type", "body", "arguments"),
    [
        (b"application/x-www-form-urlencoded", b"a=1+2", [(b"a", b"1 2")]),
        (
            b"multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
            [(b"a", b"1")],
        ),
    ],
)
def test_the_content_type_chooses_the_reader_of_the_body(
    content_type: bytes, body: bytes, arguments: list[tuple[bytes, bytes]]
) -> None:
    found = transaction(b"/?q=0", (b"Content-Type", content_type), body=body)
    found.read_body()
    assert found.collections["ARGS"] == [(b"q", b"0"), *arguments]
    assert found.collections["ARGS_GET"] == [(b"q", b"0")]
    assert found.collections["ARGS_POST"] == arguments
    assert found.scalar("REQUEST_BODY") == body


def test_files_of_a_form_have_names_sizes_and_heads() -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="t.txt"'
    found = transaction(
        b"/",
        (b"Content-Type", b"multipart/form-data; boundary=x"),
        body=b"--x\r\n" + head + b"\r\n\r\n123\r\n--x--\r\n",
    )
    found.read_body()
    assert found.collections["FILES"] == [(b"f", b"t.txt")]
    assert found.collections["FILES_NAMES"] == [(b"f", b"f")]
    assert found.collections["FILES_SIZES"] == [(b"f", b"3")]
    assert found.collections["MULTIPART_PART_HEADERS"] == [(b"f", head)]
    assert found.scalar("FILES_COMBINED_SIZE") == b"3"
    assert found.scalar("MULTIPART_STRICT_ERROR") == b"0"


@pytest.mark.parametrize("processor", [b"JSON", b"XML", b"MULTIPART", b"LATEX"])
def test_a_body_that_cannot_be_read_is_an_error_rules_can_see(processor: bytes) -> None:
    found = transaction(body=b"{")
    found.use_processor(processor)
    found.read_body()
    assert found.scalar("REQBODY_ERROR") == b"1"
    assert found.scalar("REQBODY_ERROR_MSG")
    assert found.scalar("REQBODY_PROCESSOR") == processor


def test_more_arguments_than_are_looked_at_are_an_error() -> None:
    found = transaction(b"/?" + b"a&" * 5, limits=Limits(arguments=3))
    found.read_body()
    assert len(found.collections["ARGS"]) == 3
    assert found.scalar("REQBODY_ERROR") == b"1"


def test_the_answer_as_variables() -> None:
    found = transaction()
    found.read_response(HttpResponse(404, b"1.1", ((b"Content-Type", b"text/html; charset=x"),)))
    found.read_response_body(b"gone")
    assert found.scalar("RESPONSE_STATUS") == b"404"
    assert found.scalar("RESPONSE_CONTENT_TYPE") == b"text/html"
    assert found.scalar("RESPONSE_BODY") == b"gone"
    assert found.collections["RESPONSE_HEADERS_NAMES"] == [(b"Content-Type", b"Content-Type")]
