"""What a value is when it is no attack but speaks of one: sentences, or a whole piece of code as people show
it to one another. Such a value weakens what was found in it, and never excuses it alone.

Knows nothing of attacks and nothing of where the value came from.
"""

import re
from itertools import islice

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
_PLAIN_WORDS = re.compile(rb"(?:^|\s)[a-z]{2,}[,.]?\s[a-z]{2,}[,.]?\s[a-z]{2,}", re.IGNORECASE)

_PROMPT = (
    rb"^[ \t]*(?:```\w*\s+|[$#%>]\s+|\d+\.\s+`?|[-*]\s+`|[\w.-]+@[\w.-]+[:~\w/.-]*[$#]\s|[\w-]+=?[#>]\s)?"
)
_COMMAND_LINE = re.compile(
    _PROMPT
    + rb"(?:#!\s*/|(?:sudo|apt|apt-get|yum|dnf|brew|pip3?|npm|npx|yarn|git|docker|kubectl|helm|make|cmake|"
    rb"cargo|go|"
    rb"tar|ps|cat|ls|cd|cp|mv|rm|mkdir|echo|export|curl|wget|find|grep|awk|sed|ssh|scp|rsync|ping|dig|psql|"
    rb"mysql|systemctl|journalctl|df|du|chmod|chown|for|while|if|export|python3?|node|php|ruby|"
    rb"perl|openssl|ffmpeg|head|tail|sort|kill|nohup|env|conda|terraform|ansible|vagrant|"
    rb"\[)\s+\S)",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    rb"^\s*(?:(?:--|#)[^\n]*\n\s*)*(?:[\w-]+=?[#>]\s+)?(?:select\s+(?:distinct\s+|top\s+\d+\s+|"
    rb"all\s+)?(?:\*|[\w\"`.\[]|count)|"
    rb"insert\s+into\s|update\s+[\w.\"`\[\]]+\s+(?:\w+\s+)?set\s|delete\s+from\s|merge\s+into\s|"
    rb"replace\s+into\s|"
    rb"(?:create|alter|drop|truncate)\s+(?:or\s+replace\s+|temp(?:orary)?\s+|unique\s+|global\s+)*"
    rb"(?:table|view|index|database|schema|function|procedure|trigger|user|role|sequence|type|extension)\s|"
    rb"with\s+(?:recursive\s+)?\w+\s*(?:\([^)]*\)\s*)?as\s*\(|explain\s|grant\s+\w|revoke\s+\w|begin\b|"
    rb"declare\s|proc\s+sql\b|do\s+\$\$|use\s+\w+;|set\s+\w+\s*=|show\s+\w)",
    re.IGNORECASE,
)
_LINES = 3  # make a document
_FIRST_LINE = 12  # bytes, with a space among them, make one of two


def is_talk(value: bytes) -> bool:
    """Are there sentences in it?"""
    words = [found[0].lower() for found in islice(_BOUND.finditer(value[:LONGEST_BYTES]), 20)]
    return len(words) >= BINDING_WORDS and not _ALSO_NAMES.issuperset(words)


def is_spoken(value: bytes) -> bool:
    """Is it talk, or has it at least three plain words in a row?"""
    return is_talk(value) or _PLAIN_WORDS.search(value[:LONGEST_BYTES]) is not None


def is_document(value: bytes) -> bool:
    """Has it lines, as a program, a letter or a listing has?"""
    lines = [line for line in value[:LONGEST_BYTES].splitlines() if line.strip()]
    return len(lines) >= _LINES or (
        len(lines) > 1 and len(lines[0]) >= _FIRST_LINE and b" " in lines[0].strip()
    )


def is_command_line(value: bytes) -> bool:
    """Does it begin as what one types into a shell, or keeps in a script?"""
    return _COMMAND_LINE.match(value[:LONGEST_BYTES]) is not None


def is_statement(value: bytes) -> bool:
    """Is it SQL from its first word on, and no piece of it?"""
    return _STATEMENT.match(value[:LONGEST_BYTES]) is not None
