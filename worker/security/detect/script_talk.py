"""Does a value only show a script to people: in a sentence, set off by Markdown, in a log or a diff?

Knows nothing of where the value came from.
"""

import re

from worker.security.detect.talk import goes_on, has_words, is_note, is_talk, is_worded
from worker.security.detect.whole import is_record
from worker.security.detect.xss import LONGEST_BYTES, find

LONGEST_SAID = 2048  # bytes of sentences about a script

# Markup as a whole, with what a script between its tags says; handlers without a tag; what Markdown sets off.
_PIECE = re.compile(
    rb"<script\b[^<>]*>.*?</script\s*>|<!?/?[a-z%][^<>]*>?|&lt;|\bon\w+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|"
    rb"[^\s<>]+)|"
    rb"(?:javascript|data):\S*",
    re.IGNORECASE | re.DOTALL,
)
_INTRODUCED = re.compile(rb"[:(] ?[\"'`]?$")
_SET_OFF = re.compile(
    rb"(?:^|\n)(?:```|~~~)[\w+-]*\n.*?\n(?:```|~~~)|(?:^|(?<=[\s(]))`[^`\n]+`(?=[\s.,;:!?)]|$)", re.DOTALL
)
_ELSEWHERE = re.compile(rb"[\"'=(]\s*//|https?:", re.IGNORECASE)


def is_shown(value: bytes) -> bool:
    """Is it an entry of a log, code as Markdown sets it off, or a sentence about a script?"""
    value = value[:LONGEST_BYTES]
    if is_record(value):
        return True
    if b"`" in value or b"~~~" in value:
        rest = _SET_OFF.sub(b" ", value)
        if len(rest) < len(value) and find(rest) is None and (b"\n" in value or is_worded(rest)):
            return True
    return len(value) <= LONGEST_SAID and _is_spoken_of(value)


def _is_spoken_of(value: bytes) -> bool:
    """Do words go on around the script, or introduce it? One that asks anything of somebody else needs whole
    sentences on both sides: there are comments in which such a script is meant to run."""
    begin = _PIECE.search(value)
    if begin is None or begin.start() == 0:
        return False  # nothing is said before it
    before, behind = value[: begin.start()], b" ".join(_PIECE.split(value[begin.end() :]))
    if any(map(_ELSEWHERE.search, _PIECE.findall(value))):
        return is_talk(before) and is_talk(behind)
    introduced = _INTRODUCED.search(before) is not None and has_words(before, enough=1)
    return introduced or is_note(value) or goes_on(before, behind)
