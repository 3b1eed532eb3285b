"""What a value is when it is no attack but speaks of one: sentences, notes, titles, searches. Such a value
weakens what was found in it, and never excuses it alone.

Knows nothing of attacks and nothing of where the value came from.
"""

import re
from itertools import islice

from worker.security.detect.whole import is_record

LONGEST_BYTES = 2048  # looked at: whoever talks, does so from the beginning

# Words that sentences are held together by, and that neither SQL nor a shell has.
_BINDING = (
    rb"(?:the|a|an|to|of|for|with|without|you|your|that|that's|this|these|it|its|it's|be|are|was|were|does|"
    rb"doesn't|why|use|uses|how|my|me|can|can't|could|should|would|when|what|which|who|have|has|had|will|"
    rb"won't|"
    rb"they|their|our|we|so|instead|rather|because|only|every|each|both|but|after|before|than|there|about|"
    rb"always|never|also|just|needs?|means?|looks?|inside|don't|i'm|i|if|is|in|on|at|by|"
    rb"der|die|das|und|ist|nicht|ein|eine|f\xc3\xbcr|mit|auf|le|la|les|un|une|est|pour|avec|et|dans|que|el|"
    rb"los|es|con|por|il|di|che|een|het)"
)
# Between two words, or behind one at the end of a sentence.
_BOUND = re.compile(
    rb"(?:(?<=[a-z\xa0-\xff`'\"\)] )|(?<=[,;:.!?] )|^)"
    + _BINDING
    + rb"(?=,? [\"'`({$<]*[\w\xa0-\xff]|[.?!]$)",
    re.IGNORECASE,
)
BINDING_WORDS = 2  # make a sentence
_ALSO_NAMES = {b"a", b"i", b"if", b"is", b"in", b"on", b"at", b"by", b"use", b"when"}  # and words of SQL

# Letters of Chinese, Japanese, Korean and Thai, which have no spaces between their words.
_UNSPACED = re.compile(rb"(?:[\xe3-\xed][\x80-\xbf]{2}|\xe0[\xb8\xb9][\x80-\xbf]){6}")
# Words as any text has them: letters between spaces, but for what a sentence has for punctuation.
_PLAIN_WORD = re.compile(
    rb"(?<![^\s(\"'`,.:;])[a-z\x80-\xff]{2,}(?:['-][a-z\x80-\xff]+)*(?=[\s,.:;!?)\"'`]|$)", re.IGNORECASE
)
_WORDS = re.compile(
    rb"(?:^|[\s\"'`(])[a-z\x80-\xff][a-z\x80-\xff'-]*[,:;.]?\s(?:\d+\s)?[\"'`(]?[a-z\x80-\xff]{2,}",
    re.IGNORECASE,
)  # two
_FIRST_WORD = re.compile(rb"([a-z]{3,}) \S", re.IGNORECASE)
_SET_OFF = re.compile(
    rb"(?<![a-z\x80-\xff])[a-z\x80-\xff]{2,}[,:;]?\s\(?`[^`\n]+`(?:[.,:;!?)]*\s+[a-z`(=>/+\x80-\xff-]|"
    rb"[.,:;!?)]+$)",
    re.IGNORECASE,
)
_THREE_WORDS = re.compile(rb"(?:^|\s)[a-z]{2,}[,.]?\s[a-z]{2,}[,.]?\s[a-z]{2,}", re.IGNORECASE)
_PAIR = re.compile(rb"[a-z\x80-\xff]{2}[,:;.]? [a-z\x80-\xff]{2}", re.IGNORECASE)  # in every value with words
_BETWEEN_WORDS = {b" ", b", ", b": ", b"; ", b". "}
PAIRS = 2  # of plain words, one behind the other: statements and commands have one at most
# What stands beside names in statements, commands and programs.
_SAID_BY_MACHINES = frozenset(
    b"select insert update delete drop create alter truncate union all distinct from where into values set "
    b"and or not xor null is in like between as on by group order having limit offset asc desc join left "
    b"right inner outer cross table database case when then else end exists if exec execute declare waitfor "
    b"delay time begin cast convert rlike regexp div mod char concat user version sleep benchmark substring "
    b"procedure analyse column row rows only fetch first top percent "
    b"identified with immediate advanced options reconfigure to grant public get stop start "
    b"process list do for while "
    b"cat ls echo find grep wget curl ping whoami uname sh bash nc rm mv cp chmod net type dir cmd "
    b"powershell copy del sort head tail kill date docker kubectl systemctl wmic run "
    b"return function var let const true false this new import require print eval static public void int "
    b"string class sys dual system entity doctype element".split()
)
# How messages of commits, and titles of what people report to one another, begin.
_NOTE = re.compile(
    rb"[a-z][a-z0-9_/.-]{1,20}(?:\([\w ./-]+\))?!?: [\w`<'\"$]\S*\s\S|\[[\w ]{2,20}\]\s+\S|"
    rb"(?:Re|Fwd|AW|Bug|Question|Note|TODO|FIXME|Warning|Error):\s|"
    rb"(?:[Aa]dd|[Aa]llow|[Aa]void|[Bb]ump|Change|Check|Clean|Convert|Create|Delete|Disable|Disallow|"
    rb"Document|"
    rb"[Dd]on't|Drop|Enable|Ensure|Escape|Extract|[Ff]ix(?:ed|es)?|[Hh]andle|Harden|Ignore|Implement|Improve|"
    rb"Introduce|Keep|Make|Move|[Pp]revent|Quote|[Rr]efactor|Refuse|Reject|[Rr]emove|[Rr]ename|[Rr]eplace|"
    rb"Restrict|[Rr]evert|Rewrite|Run|Sanitize|Set|Simplify|Skip|Split|Stop|Strip|Support|Switch|Test|Treat|"
    rb"[Uu]pdate|[Uu]pgrade|[Uu]se|Using|Validate|Warn|Work around|Wrap)\s+[\w`'\"<$({/]"
)


def is_talk(value: bytes) -> bool:
    """Are there sentences in it?"""
    if not value.isascii() and _UNSPACED.search(value[:LONGEST_BYTES]) is not None:
        return True
    words = [found[0].lower() for found in islice(_BOUND.finditer(value[:LONGEST_BYTES]), 20)]
    return len(words) >= BINDING_WORDS and not _ALSO_NAMES.issuperset(words)


def is_spoken(value: bytes) -> bool:
    """Is it talk, a note on a change, or words such as titles and searches have?"""
    return is_talk(value) or is_note(value) or has_words(value)


def is_worded(value: bytes) -> bool:
    """Is it spoken, a log, or has it three words in a row, be they of SQL or of a shell?"""
    value = value[:LONGEST_BYTES]
    return is_spoken(value) or is_record(value) or _THREE_WORDS.search(value) is not None


def is_search(value: bytes) -> bool:
    """Does it begin with a word of its own, which names what is looked for?"""
    found = _FIRST_WORD.match(value)
    return found is not None and found[1].lower() not in _SAID_BY_MACHINES


def is_note(value: bytes) -> bool:
    """Does it begin as the message of a commit, or a report?"""
    return _NOTE.match(value[:LONGEST_BYTES]) is not None


def has_words(value: bytes, enough: int = PAIRS) -> bool:
    """Are there enough words in a row that neither a statement nor a command nor a program has?"""
    if _PAIR.search(value[:LONGEST_BYTES]) is None:
        return False
    pairs, last = 0, -1
    for found in islice(_PLAIN_WORD.finditer(value[:LONGEST_BYTES]), 100):
        if found[0].lower() in _SAID_BY_MACHINES:
            last = -1
            continue
        if last >= 0 and value[last : found.start()] in _BETWEEN_WORDS:
            pairs += 1
            if pairs == enough:
                return True
        last = found.end()
    return False


def goes_on(before: bytes, behind: bytes) -> bool:
    """Does what is said before something go on behind it? An attack is a whole value, or its tail."""
    return (
        _WORDS.search(before) is not None
        and _WORDS.search(behind) is not None
        and is_spoken(before + b" " + behind)
    )


def is_set_off(value: bytes) -> bool:
    """Is there code between backticks, as in a sentence: words before it and a word or a stop behind it?"""
    return _SET_OFF.search(value[:LONGEST_BYTES]) is not None
