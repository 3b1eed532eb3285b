"""What a value must hold for an operator to match it: where it is said not to match, it does not."""

import random
from pathlib import Path

import pytest

from worker.security.waf.kinds import COMMENT, DIGIT, HIGH, PATH, UPPER, kinds, kinds_of
from worker.security.waf.needs import NOTHING, needs
from worker.security.waf.operators import prepare

HERE = Path(__file__).parent
PIECES = [
    b"", b"a", b"Z", b"union", b"SELECT", b" ", b"\n", b"'", b'"', b"(", b")", b"/", b"..", b"//", b"/*",
    b"0", b"17", b"\0",
    b"\x7f", b"\xe4", b"\xc4", b"<", b"=", b"%", b"%zz", b"x", b"_", b"-", b"java.", b"\\",
]  # fmt: skip
OPERATORS = [
    ("rx", r"(?i)union\s+select"), ("rx", r"^$"), ("rx", r"a*"), ("rx", r"[^a-z]"), ("rx", r"\.\.|%2e"),
    ("rx", r"(?:java\.|'|\d{2,})x?"), ("rx", r"(?<!a)\("), ("rx", r"(?=.*<)x"), ("rx", r"\bunion\b|"),
    ("rx", "ä"), ("rx", r"(?i)[ä]"), ("rx", r"[\s\S]{3}\W"), ("rx", r"(x)?\1"), ("rx", r"[[:upper:]]"),
    ("rx", r"(?i:SELECT)"), ("pm", "union '|41| -x"), ("pm", "JAVA."), ("streq", "Z"),
    ("contains", "/*"), ("contains", ""),
    ("beginswith", "union"), ("endswith", ")"), ("strmatch", "="), ("validatebyterange", "1-255"),
    ("validatebyterange", "32-126"), ("validateurlencoding", ""), ("validateutf8encoding", ""),
    ("within", "union select"), ("eq", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "argument"), OPERATORS)
def test_a_value_without_what_is_needed_does_not_match(operator: str, argument: str) -> None:
    chance = random.Random(argument)
    match = prepare(operator, argument.encode("latin-1"), HERE)
    needed = needs(operator, argument, HERE)
    values = [b"".join(chance.choices(PIECES, k=chance.randrange(6))) for _ in range(2000)]
    assert not any(match(value) for value in values if needed and not needed & kinds(value))


@pytest.mark.parametrize(
    ("operator", "argument", "value"),
    [
        ("rx", r"[\n\r]+(?:set-)?cookie", b"page=1"), ("rx", r"\.([^.]+)$", b"a77"),
        ("rx", r"(?i)union.*?select", b"text"), ("pm", "wget curl/", b"plain"),
        ("validatebyterange", "1-255", b"no NUL"), ("validateurlencoding", "", b"a+b"),
        ("detectsqli", "", b"Word7"), ("detectxss", "", b"Word7"),
    ],
)  # fmt: skip
def test_most_values_need_not_be_asked_about(operator: str, argument: str, value: bytes) -> None:
    assert not needs(operator, argument, HERE) & kinds(value)


@pytest.mark.parametrize("pattern", [r"^$", r"a*", r"(?=x)", r"x|", r"(?!a)", r"(?:a|b?)"])
def test_what_may_match_without_any_byte_needs_nothing(pattern: str) -> None:
    assert needs("rx", pattern, HERE) == NOTHING


def test_files_of_phrases_are_read(tmp_path: Path) -> None:
    (tmp_path / "phrases").write_text("# a comment\n.htaccess\nid_rsa\n")
    needed = needs("pmfromfile", "phrases", tmp_path)
    assert needed & kinds(b".htaccess") and needed & kinds(b"/id_rsa") and not needed & kinds(b"hello")


def test_every_byte_has_a_kind_and_case_has_none_of_its_own() -> None:
    for code in range(256):
        assert kinds(bytes((code,))) & ~(UPPER | PATH) == kinds_of(code) != 0
    assert kinds_of(*b"AKZ") == kinds_of(*b"akz")
    assert kinds(b"7") == DIGIT and kinds(b"\xff") == HIGH and kinds(b"") == 0


def test_pairs_of_bytes_are_kinds_too() -> None:
    assert kinds(b"a/*") & COMMENT and not kinds(b"*/") & COMMENT
    assert kinds(b"a//b") & PATH and kinds(b".") & PATH and not kinds(b"/a/b") & PATH
