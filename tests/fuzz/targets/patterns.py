"""Patterns written for PCRE, and the arguments of operators: what can be run is run the same way each time
and finds what is there; what cannot is an error that says why. No pattern takes long, whatever the value.
"""

import re
from pathlib import Path

from tests.fuzz.take import Take
from worker.security.waf.operators import OperatorError, number_of, prepare
from worker.security.waf.pcre import PatternError, compiled
from worker.security.waf.words import OPERATORS

SEEDS = (
    b"\0a(b)?[c-e]+\\d{2,3}|(?i:x)(?=y)\0abce12xy",
    b"\0(?<!a|bc)d(?#c)[[:alpha:]^]\\x{41}\\Q\0bcd ad",
    b"\0(?P<n>a)\\1++(?>b|c)*?$\0aab",
    b"\1one |41 42| two\0abtwo",
    b"\2192.0.2.0/24,::1\0 192.0.2.9",
    b"\3" + b"32-126,10\0a\n",
    b"\4GET POST\0POST",
)
WORDS = (
    b"(?:", b"(?=", b"(?!", b"(?<=", b"(?<!", b"(?>", b"(?i)", b"(?-i:", b")", b"|", b"*", b"+", b"?",
    b"{1,3}", b"{2,}", b"[^", b"]", b"[:alpha:]", b"\\d", b"\\W", b"\\b", b"\\x{", b"\\", b"\\1", b"^", b"$",
    b"\\z", b"\\Z", b"(?#", b"a-", b"\xe4", b"\\Q", b"\\p", b"(?P<a>", b"(?R)", b"{,9}", b"{99999}",
    b"\0aaaaaaaaaaaaaaaaaaaaaaaa", b"\\cA", b"\\0",
)  # fmt: skip
MAX_BYTES = 256

FROM_FILES = {"ipmatchf", "ipmatchfromfile", "pmf", "pmfromfile"}
OTHERS = ("pm", "ipmatch", "validatebyterange", "within", *sorted(OPERATORS - FROM_FILES - {"rx"}))
# Many repeats in a row beside look-around take polynomial time, which nobody bounds: they are left alone.
REPEATS = re.compile(rb"[*+?}]")


def check(data: bytes) -> None:
    take = Take(data)
    kind = take.below(len(OTHERS) + 1)
    argument, value = take.piece(), take.rest()
    if kind:
        _operator(OTHERS[kind - 1], argument, value)
        return
    if len(REPEATS.findall(argument)) > 6:
        return
    text = argument.decode("latin-1")
    try:
        search = compiled(text)
    except PatternError as error:
        assert str(error)
        return
    found = search(value)
    assert search(value) == found
    if found is not None:
        assert found[0] is not None and all(group is None or group in value for group in found)
        assert (
            search(value + b"\nz") is not None or b"$" in argument or b"\\" in argument or b"(?" in argument
        )
    try:
        compiled(text, caseless=True)(value)
    except PatternError:
        assert not text.isascii()  # letters whose case RE2 would fold


def _operator(name: str, argument: bytes, value: bytes) -> None:
    number_of(value)
    try:
        match = prepare(name, argument, Path("nowhere"))
    except OperatorError as error:
        assert str(error)
        return
    groups = match(value)
    assert groups is None or type(groups) is tuple
    assert match(value) == groups
