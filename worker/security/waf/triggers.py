"""What a value must hold for a transformation to change it: most transformations need not be run at all.

A value's traits are found once, cheaply; a transformation none of whose triggers is among them returns the
value as it is. Knows the transformations by name only.
"""

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


def _trait(code: int) -> int:
    """Of a single byte."""
    held = {
        PERCENT: code in b"%+",
        AMPERSAND: code == 0x26,
        BACKSLASH: code == 0x5C,
        HIGH: code > 0x7F,
        NUL: code == 0,
        SPACE: code in b"\t\n\v\f\r ",
        UPPER: 0x41 <= code <= 0x5A,
        SHELL: code in b"\"'^,;/(",
    }
    return sum(trait for trait, is_held in held.items() if is_held)


_TRAITS = bytes(map(_trait, range(256)))


def traits(value: bytes) -> int:
    """What of the triggers a value holds."""
    found = 0
    for code in value:
        found |= _TRAITS[code]
    if b"/*" in value:
        found |= COMMENT
    if b"." in value or b"//" in value:
        found |= PATH
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
