"""multipart/form-data: parts as they are, and every oddity by its name."""

import pytest

from worker.security.waf.multipart import Multipart

TYPE = b"multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
FILE = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="t.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nz\r\n"
)
END = b"--x--\r\n"


def read(body: bytes, content_type: bytes = TYPE, max_parts: int = 10) -> Multipart:
    return Multipart(content_type, body, max_parts=max_parts)


def test_parts_have_names_values_and_heads() -> None:
    found = read(PART + FILE + END)
    assert found.error is None
    assert [(part.name, part.filename, part.value) for part in found.parts] == [
        (b"a", b"", b"1"),
        (b"f", b"t.txt", b"z"),
    ]
    assert found.parts[1].lines[1] == b"Content-Type: text/plain"
    assert not found.odd.is_strict_error()


def test_a_value_keeps_its_lines() -> None:
    """libmodsecurity 3.0.9 loses them, and with them what an application sees."""
    found = read(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n\r\n2\n3\r\n' + END)
    assert found.parts[0].value == b"1\r\n\r\n2\n3"


@pytest.mark.parametrize(
    ("body", "content_type", "oddity"),
    [
        pytest.param(b"junk\r\n" + PART + END, TYPE, "data_before", id="before"),
        pytest.param(PART + END + b"junk", TYPE, "data_after", id="after"),
        pytest.param(PART + END, b'multipart/form-data; boundary="x"', "boundary_quoted", id="quoted"),
        pytest.param(PART + END, b"multipart/form-data; boundary= x", "boundary_whitespace", id="space"),
        pytest.param(PART + END, b"multipart/form-data boundary=x", "missing_semicolon", id="semicolon"),
        pytest.param((PART + END).replace(b"\r\n", b"\n"), TYPE, "lf_line", id="lf"),
        pytest.param(PART.replace(b'"a"', b"'a'") + END, TYPE, "invalid_quoting", id="single-quotes"),
        pytest.param(PART.replace(b"; name", b";\r\n name") + END, TYPE, "header_folding", id="folding"),
        pytest.param(PART.replace(b"; name", b";\r\n\v name") + END, TYPE, "invalid_header_folding", id="vt"),
    ],
)  # fmt: skip
def test_what_browsers_never_send_is_odd(body: bytes, content_type: bytes, oddity: str) -> None:
    found = read(body, content_type)
    assert (found.error, [part.name for part in found.parts]) == (None, [b"a"])
    assert getattr(found.odd, oddity)
    assert found.odd.is_strict_error()


def test_a_boundary_nobody_announced_is_reported() -> None:
    assert read(PART.replace(b"1", b"--y") + END).odd.unmatched_boundary


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(PART, TYPE, id="no-end"),
        pytest.param(b"junk", TYPE, id="no-boundary"),
        pytest.param(PART + END, b"multipart/form-data", id="no-parameter"),
        pytest.param(PART + END, b"multipart/form-data; boundary=x; boundary=y", id="two-boundaries"),
        pytest.param(PART + END, b"multipart/form-data; boundary=\x01", id="bad-boundary"),
        pytest.param(PART + b"--x--y\r\n", TYPE, id="behind-the-end"),
        pytest.param(PART.replace(b"Content-D", b"Content-\0D") + END, TYPE, id="nul"),
        pytest.param(PART.replace(b"Content-Disposition", b"X") + END, TYPE, id="no-disposition"),
        pytest.param(PART.replace(b'name="a"', b'name="a"; name="b"') + END, TYPE, id="two-names"),
        pytest.param(FILE.replace(b"t.txt", b't"; filename="u') + END, TYPE, id="two-file-names"),
        pytest.param(PART.replace(b"name", b"nom") + END, TYPE, id="unknown-parameter"),
        pytest.param(PART.replace(b'"a"', b'"a') + END, TYPE, id="open-quote"),
        pytest.param(PART.replace(b"form-data", b"attachment") + END, TYPE, id="no-form-data"),
        pytest.param(FILE.replace(b"Content-Type", b"Content-Disposition") + END, TYPE, id="field-twice"),
        pytest.param(FILE.replace(b"Content-Type:", b"Content-Type") + END, TYPE, id="no-colon"),
        pytest.param(b"--x\r\n a: b\r\n\r\n" + END, TYPE, id="fold-first"),
    ],
)
def test_what_cannot_be_read_as_parts_is_an_error_and_has_none(body: bytes, content_type: bytes) -> None:
    found = read(body, content_type)
    assert found.error is not None
    assert found.parts == []


def test_there_is_a_limit_of_parts() -> None:
    assert read(PART * 3 + END, max_parts=3).error is None
    assert read(PART * 4 + END, max_parts=3).error == "more than 3 parts"
