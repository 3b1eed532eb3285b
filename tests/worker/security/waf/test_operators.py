"""The operators, as a table, and what is said about arguments that mean nothing."""

from pathlib import Path

import pytest

from worker.security.waf.operators import OperatorError, prepare


@pytest.mark.parametrize(
    ("name", "argument", "value", "matches"),
    [
        ("rx", b"a.b", b"axb", True),
        ("pm", b"one two", b"a TWO b", True),
        ("pm", b"a|0d 0a|b", b"a\r\nb", True),
        ("pm", b"one two", b"three", False),
        ("streq", b"a", b"a", True),
        ("streq", b"a", b"A", False),
        ("contains", b"b", b"abc", True),
        ("strmatch", b"b", b"abc", True),
        ("containsword", b"cat", b"a cat!", True),
        ("containsword", b"cat", b"concat", False),
        ("within", b"GET POST", b"POST", True),
        ("within", b"GET POST", b"", True),
        ("within", b"GET POST", b"PUT", False),
        ("beginswith", b"ab", b"abc", True),
        ("endswith", b"bc", b"abc", True),
        ("eq", b"5", b" 5x", True),
        ("eq", b"0", b"none", True),
        ("gt", b"5", b"6", True),
        ("gt", b"5", b"5", False),
        ("ge", b"5", b"5", True),
        ("lt", b"5", b"-6", True),
        ("le", b"5", b"6", False),
        ("ipmatch", b"192.0.2.0/24,::1", b"192.0.2.9", True),
        ("ipmatch", b"192.0.2.0/24,::1", b"::1", True),
        ("ipmatch", b"192.0.2.0/24", b"no address", False),
        ("validatebyterange", b"32-126,10", b"a\nb", False),
        ("validatebyterange", b"32-126", b"a\x7f", True),
        ("validateurlencoding", b"", b"%41%4", True),
        ("validateurlencoding", b"", b"%41", False),
        ("validateutf8encoding", b"", b"\xc0\xaf", True),
        ("validateutf8encoding", b"", "ä".encode(), False),
        ("unconditionalmatch", b"", b"", True),
        ("nomatch", b"", b"", False),
        ("rbl", b"dnsbl.example", b"192.0.2.1", False),
        ("geolookup", b"", b"192.0.2.1", False),
    ],
)
def test_an_operator_matches_or_not(name: str, argument: bytes, value: bytes, matches: bool) -> None:
    assert (prepare(name, argument, Path())(value) is not None) is matches


def test_only_searches_capture() -> None:
    assert prepare("rx", b"(a)(b)?", Path())(b"xa") == (b"a", b"a", None)
    assert prepare("pm", b"one two", Path())(b"Two") == (b"Two",)
    assert prepare("contains", b"a", Path())(b"a") == ()


def test_lists_are_read_from_files_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "words.data").write_bytes(b"# comment\n\n/etc/passwd\n  # another\nwin.ini\n")
    match = prepare("pmfromfile", b"words.data", tmp_path)
    assert match(b"a/ETC/passwd") == (b"/ETC/passwd",)
    assert match(b"comment") is None


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("rx", b"(", "not closed"),
        ("pm", b"a|4 1 4|", "odd number"),
        ("pmfromfile", b"none.data", "cannot read"),
        ("validatebyterange", b"1-x", "neither a byte nor a range"),
        ("validatebyterange", b"1-256", "not within 0-255"),
        ("ipmatch", b"300.0.0.1", "300.0.0.1"),
    ],
)
def test_an_argument_that_means_nothing_is_an_error(name: str, argument: bytes, message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        prepare(name, argument, Path())


def test_what_is_no_name_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no name of a file"):
        prepare("pmfromfile", b"a\0b", tmp_path)
