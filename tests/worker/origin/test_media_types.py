"""The Content-Type of a file."""

import pytest

from worker.origin.media_types import media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b/STYLE.CSS", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.min.js", "text/javascript; charset=utf-8"),
        ("data.json", "application/json"),
        ("pic.webp", "image/webp"),
        ("logo.svg", "image/svg+xml"),
        ("font.woff2", "font/woff2"),
        ("code.wasm", "application/wasm"),
        ("backup.tar.gz", "application/gzip"),
        ("backup.tar.xz", "application/x-xz"),
        ("page.html.br", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.html/plain", "application/octet-stream"),
        ("what.is-this", "application/octet-stream"),
        ("data:text,x.html", "text/html; charset=utf-8"),
        ("what?.html", "text/html; charset=utf-8"),
        ("\udcff.txt", "text/plain; charset=utf-8"),
        ("", "application/octet-stream"),
    ],
)
def test_media_type(name: str, expected: str) -> None:
    assert media_type(name) == expected
