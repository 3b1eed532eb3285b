"""Patterns and what their matches become."""

import pytest

from worker.patterns import PatternError, Replacement, compiled, wildcard

REPLACED = [  # pattern, replacement, path -> before and behind the "?"
    pytest.param("^/a/(.*)$", "/b/$1", b"/a/x/y", (b"/b/x/y", None), id="a group"),
    pytest.param("^/(.*)/(.*)$", "/$2/$1", b"/a/b", (b"/b/a", None), id="two groups"),
    pytest.param("/a", "/b", b"/x/a/y", (b"/b", None), id="found anywhere, the whole path replaced"),
    pytest.param("^/a$", "/b", b"/ab", None, id="no match"),
    pytest.param("^/a(x)?", "/b$1", b"/a", (b"/b", None), id="a group that took no part"),
    pytest.param("^/a", "/b?", b"/a", (b"/b", b""), id="an empty query"),
    pytest.param("^/(.+)$", "/i?q=$1&r", b"/a&b=c;d+e", (b"/i", b"q=a%26b%3Dc%3Bd%2Be&r"),
                 id="data in a query"),
    pytest.param("^/(.+)$", "/$1$", b"/a", (b"/a$", None), id="a dollar that names no group"),
    pytest.param("^/(?i)ABC$", "/x", b"/abc", (b"/x", None), id="whatever the case"),
    pytest.param(wildcard("/a.b/*/c*"), "/$1-$2", b"/a.b/1/c2", (b"/1-2", None), id="wildcards"),
    pytest.param(wildcard("/a.b"), "/x", b"/aXb", None, id="a dot is a dot in a wildcard"),
    pytest.param(wildcard("/a/*"), "/x", b"/b/a/c", None, id="a wildcard is for the whole path"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "to", "path", "expected"), REPLACED)
def test_replacement(pattern: str, to: str, path: bytes, expected: object) -> None:
    assert Replacement(pattern, to)(path) == expected


@pytest.mark.parametrize(
    ("pattern", "to", "reason"),
    [
        ("(", "/", "missing"),
        ("(?=a)", "/", "invalid perl operator"),
        (r"(a)\1", "/", "invalid escape sequence"),
        ("ä", "/", "ASCII characters only"),
        ("(a)", "/$2", r"\$2 has no group: the pattern has 1"),
    ],
)
def test_what_means_nothing_is_refused(pattern: str, to: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        Replacement(pattern, to)


def test_time_is_linear_in_the_path() -> None:
    assert compiled("^(a+)+$").search(b"a" * 16000 + b"b") is None  # backtracking would take for ever


def test_thousands_of_patterns_are_one_look() -> None:
    joined = compiled("|".join(f"(?:{wildcard(f'/old/{n}/*')})" for n in range(5000)), groups=False)
    assert joined.search(b"/old/4999/x")
    assert joined.search(b"/new/4999/x") is None
