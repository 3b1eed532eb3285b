"""Patterns written for PCRE: each engine finds what PCRE would."""

import pytest

from worker.security.waf.pcre import OVERLAP, PIECE, PatternError, compiled


@pytest.mark.parametrize(
    ("pattern", "value", "groups"),
    [
        pytest.param(r"a(b)?(c)", b"xac", (b"ac", None, b"c"), id="groups"),
        pytest.param(r"a.c", b"a\nc", (b"a\nc",), id="dot-takes-newlines"),
        pytest.param(r"^b$", b"a\nb\nc", (b"b",), id="anchors-at-lines"),
        pytest.param(r"\Ab", b"a\nb", None, id="begin-of-value"),
        pytest.param(r"b\z", b"b\n", None, id="end-of-value"),
        pytest.param(r"b\Z", b"b\n", (b"b",), id="end-or-last-newline"),
        pytest.param(r"[\s]x", b"\vx", (b"\vx",), id="vertical-tab-is-space"),
        pytest.param(r"a\vb", b"a\x85b", (b"a\x85b",), id="vertical-space"),
        pytest.param(r"[[:alpha:]]+", b"12ab", (b"ab",), id="posix-class"),
        pytest.param(r"[]a]+", b"]a", (b"]a",), id="bracket-first"),
        pytest.param(r"[a-\d]+", b"-5", (b"-5",), id="hyphen-before-a-class"),
        pytest.param(r"a(?i)b|c", b"C", (b"C",), id="flag-lasts-over-the-bar"),
        pytest.param(r"(a(?i)b)c", b"aBC", None, id="flag-ends-with-its-group"),
        pytest.param(r"(?i)[^a]", b"A", None, id="negated-class-without-case"),
        pytest.param(r"(?i)\xe4", b"\xc4", None, id="no-case-beyond-ascii"),
        pytest.param(r"x{,3}", b"x{,3}", (b"x{,3}",), id="no-repeat"),
        pytest.param(r"\x{41}\102\cA", b"AB\x01", (b"AB\x01",), id="numbers"),
        pytest.param(r"(?<!a|bc)d", b"bcd ad d", (b"d",), id="look-behind-of-several-widths"),
        pytest.param(r"(?<=a|bc)d", b"d bcd", (b"d",), id="positive-look-behind"),
        pytest.param(r"(\w)\1", b"abb", (b"bb", b"b"), id="backreference"),
        pytest.param(r"a++b\++c", b"aab++c", (b"aab++c",), id="possessive"),
        pytest.param(r"(?>a|ab)c+", b"acc", (b"acc",), id="atomic"),
        pytest.param(r"(?<n>a)(?#note)b", b"ab", (b"ab", b"a"), id="names-and-notes"),
        pytest.param(r"[^\x00-\x7f]", b"a\xff", (b"\xff",), id="high-bytes"),
    ],
)
def test_the_first_match_is_what_pcre_finds(
    pattern: str, value: bytes, groups: tuple[bytes | None, ...] | None
) -> None:
    assert compiled(pattern)(value) == groups


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "a)", "[a", r"\y", "[z-a]", r"\x{100}", "(?R)", "a\\", "(?#",
        "(?<a\xe4>b)", "\\c\xdf", "\\c", "[a-", "[a-\\", "[^",
        "(?!x)(?:a+)+b", "(?!x)(?:a|aa)*b", "(?!x)(?:a?a?)*b", "(?!x)(?:a{1,2})*b",
    ],
)  # fmt: skip
def test_what_nobody_can_run_is_an_error_that_shows_the_pattern(pattern: str) -> None:
    with pytest.raises(PatternError):
        compiled(pattern)


def test_what_needs_backtracking_looks_at_long_values_in_pieces() -> None:
    search = compiled(r"(?!x)needle")
    assert search(b"a" * (3 * PIECE) + b"needle") == (b"needle",)
    assert search(b"a" * (PIECE - 3) + b"needle" + b"a" * OVERLAP) == (b"needle",)
    assert search(b"a" * (3 * PIECE)) is None


def test_what_cannot_be_decided_in_time_counts_as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.security.waf.pcre.BUDGET_NS", -1)
    search = compiled(r"(?!x)needle")
    assert search(b"a" * PIECE) is None  # one look is always had
    assert search(b"a" * 2 * PIECE) is not None


def test_patterns_that_explode_in_pcre_are_linear() -> None:
    assert compiled(r"(a+)+$")(b"a" * 65536 + b"b") is None
    assert compiled(r"^(([a-z])+.)+[A-Z]([a-z])+$")(b"a" * 65536) is None
    assert compiled(r"^(?:\s*+;\s*+a*)*+$")(b";" * 65536 + b"b") is None
