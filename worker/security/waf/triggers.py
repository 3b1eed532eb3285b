"""What a value must hold for a transformation to change it: most transformations need not be run at all.

A value's traits follow from the kinds of bytes it holds; a transformation none of whose triggers is among
them returns the value as it is. Knows the transformations by name only.
"""

from array import array

from worker.security.waf import kinds
from worker.security.waf.kinds import Kinds, kinds_of

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


# By the bit of a trait: which kinds of bytes are it.
_KINDS = array(
    "Q",
    [
        kinds_of(*b"%+"),
        kinds_of(0x26),
        kinds_of(0x5C),
        kinds.HIGH,
        kinds_of(0),
        kinds_of(*b"\t\n\v\f\r "),
        kinds.UPPER,
        kinds_of(*b"\"'^,;"),
        kinds.COMMENT,
        kinds.PATH,
    ],
)


def traits(held: Kinds) -> int:
    """What of the triggers a value holds that has these kinds of bytes."""
    found = 0
    for bit in range(10):
        if held & _KINDS[bit]:
            found |= 1 << bit
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
