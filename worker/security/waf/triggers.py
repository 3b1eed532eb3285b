"""What a value must hold for a transformation to change it: most transformations need not be run at all.

A value's traits are found once, cheaply; a transformation none of whose triggers is among them returns the
value as it is. Knows the transformations by name only.
"""

import re

PERCENT, AMPERSAND, BACKSLASH, HIGH, NUL, SPACE, UPPER, SHELL, COMMENT, PATH = (1 << bit for bit in range(10))
ALWAYS = -1  # changes anything, or nobody has thought about when it does not

_TRIGGERS = {
    "cmdline": SPACE | UPPER | SHELL | BACKSLASH,
    "compresswhitespace": SPACE,
    "cssdecode": BACKSLASH | NUL,
    "escapeseqdecode": BACKSLASH,
    "htmlentitydecode": AMPERSAND,
    "jsdecode": BACKSLASH,
    "lowercase": UPPER,
    "normalisepath": PATH,
    "normalisepathwin": PATH | BACKSLASH,
    "normalizepath": PATH,
    "normalizepathwin": PATH | BACKSLASH,
    "removenulls": NUL,
    "removewhitespace": SPACE | HIGH,
    "replacecomments": COMMENT,
    "replacenulls": NUL,
    "trim": SPACE,
    "trimleft": SPACE,
    "trimright": SPACE,
    "urldecode": PERCENT,
    "urldecodeuni": PERCENT,
    "utf8tounicode": HIGH | NUL,
}

_SPACES = re.compile(rb"[\t\n\v\f\r ]")
_UPPERS = re.compile(rb"[A-Z]")
_SHELL = re.compile(rb"[\"'^,;/(]")


def traits(value: bytes) -> int:
    """What of the triggers a value holds."""
    found = 0
    if b"%" in value or b"+" in value:
        found = PERCENT
    if b"&" in value:
        found |= AMPERSAND
    if b"\\" in value:
        found |= BACKSLASH
    if not value.isascii():
        found |= HIGH
    if b"\0" in value:
        found |= NUL
    if b"/*" in value:
        found |= COMMENT
    if b"." in value or b"//" in value:
        found |= PATH
    if _SPACES.search(value) is not None:
        found |= SPACE
    if _UPPERS.search(value) is not None:
        found |= UPPER
    if _SHELL.search(value) is not None:
        found |= SHELL
    return found


def effective(names: tuple[str, ...], found: int) -> tuple[str, ...]:
    """The transformations that may change a value with these traits, in their order.

    What follows one that may change the value is kept: nobody knows the traits of the result. Only after
    `lowercase` they are known.
    """
    kept = []
    for index, name in enumerate(names):
        if not found & _TRIGGERS.get(name, ALWAYS) and name in _TRIGGERS:
            continue
        kept.append(name)
        if name != "lowercase":
            return (*kept, *names[index + 1 :])
        found &= ~UPPER
    return tuple(kept)
