"""The operators of SecLang: does this value match, and what of it?

An operator is prepared once per argument and then called per value. It gives None for "no", else the groups
it captured (the whole match first; nothing for operators that only compare). Negation is the rule's
business.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

from worker.networks import NetworkMap
from worker.security.waf import pcre
from worker.security.waf.pcre import Groups

Match = Callable[[bytes], Groups | None]

MATCHED: Groups = ()  # a match of which nothing is captured


class OperatorError(ValueError):
    """An argument that means nothing to its operator; the message says why."""


# What looks into a value for attacks by its own reading of it. Filled by `use_detectors`, once per process.
_detectors: dict[str, Callable[[bytes], object]] = {}


def use_detectors(is_sqli: Callable[[bytes], object], is_xss: Callable[[bytes], object]) -> None:
    """Say who answers @detectSQLi and @detectXSS: each gives something true for an attack.

    Without it both never match.
    """
    _detectors.update(sqli=is_sqli, xss=is_xss)


def prepare(name: str, argument: bytes, folder: Path) -> Match:
    """The operator `name` (lower case) for one argument; files it names are relative to `folder`.

    Raises OperatorError.
    """
    if name in _FROM_FILES:
        return _FROM_FILES[name](file_lines(folder / argument.decode("latin-1").strip()))
    return _PREPARED[name](argument)


def file_lines(path: Path) -> list[bytes]:
    """The entries of a list file: neither empty lines nor comments. Raises OperatorError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise OperatorError(f"{str(path)!r} is no name of a file") from None
    return [line for line in lines if line and not line.lstrip().startswith(b"#")]


# Text


def _rx(argument: bytes) -> Match:
    try:
        return pcre.compiled(argument.decode("latin-1"))
    except pcre.PatternError as error:
        raise OperatorError(str(error)) from None


_HEX_IN_PHRASE = re.compile(rb"\|([0-9A-Fa-f\s]*)\|")


def phrases_of(argument: bytes) -> list[bytes]:
    """The phrases of @pm, separated by white space; |41 42| are bytes in hexadecimal."""
    try:
        return _HEX_IN_PHRASE.sub(lambda found: bytes.fromhex(found[1].decode()), argument).split()
    except ValueError:
        raise OperatorError(
            f"an odd number of hexadecimal digits in {argument.decode('latin-1')!r}"
        ) from None


def _pm(argument: bytes) -> Match:
    return _any_phrase(phrases_of(argument))


def _any_phrase(phrases: list[bytes]) -> Match:
    """One linear search for all of them, without case."""
    if not phrases:
        return lambda value: None
    joined = b"|".join(re.escape(phrase) for phrase in phrases).decode("latin-1")
    found = _rx_caseless(joined)

    def match(value: bytes) -> Groups | None:
        groups = found(value)
        return None if groups is None else groups[:1]

    return match


def _rx_caseless(pattern: str) -> Match:
    return pcre.compiled(pattern, caseless=True)


def _streq(argument: bytes) -> Match:
    return lambda value: MATCHED if value == argument else None


def _contains(argument: bytes) -> Match:
    return lambda value: MATCHED if argument in value else None


def _contains_word(argument: bytes) -> Match:
    if not argument:
        return lambda value: MATCHED
    word = re.compile(rb"(?<![0-9A-Za-z_])" + re.escape(argument) + rb"(?![0-9A-Za-z_])")
    return lambda value: None if word.search(value) is None else MATCHED


def _begins_with(argument: bytes) -> Match:
    return lambda value: MATCHED if value.startswith(argument) else None


def _ends_with(argument: bytes) -> Match:
    return lambda value: MATCHED if value.endswith(argument) else None


def _within(argument: bytes) -> Match:
    return lambda value: MATCHED if value in argument else None


# Numbers


_NUMBER = re.compile(rb"[\t\n\v\f\r ]*([+-]?\d+)")


def number_of(value: bytes) -> int:
    """The whole number a value begins with; 0 if it begins with none."""
    found = _NUMBER.match(value)
    return 0 if found is None else int(found[1][:20])


def _eq(argument: bytes) -> Match:
    limit = number_of(argument)
    return lambda value: MATCHED if number_of(value) == limit else None


def _ge(argument: bytes) -> Match:
    limit = number_of(argument)
    return lambda value: MATCHED if number_of(value) >= limit else None


def _gt(argument: bytes) -> Match:
    limit = number_of(argument)
    return lambda value: MATCHED if number_of(value) > limit else None


def _le(argument: bytes) -> Match:
    limit = number_of(argument)
    return lambda value: MATCHED if number_of(value) <= limit else None


def _lt(argument: bytes) -> Match:
    limit = number_of(argument)
    return lambda value: MATCHED if number_of(value) < limit else None


# Addresses


def _ip_match(argument: bytes) -> Match:
    return _networks(argument.split(b","))


def _networks(lines: list[bytes]) -> Match:
    texts = [line.decode("latin-1").strip() for line in lines]
    try:
        read = [str(ip_network(text, strict=False)) for text in texts if text]
    except ValueError as error:
        raise OperatorError(str(error)) from None
    networks = NetworkMap([("\n".join(read).encode(), 1)])

    def match(value: bytes) -> Groups | None:
        try:
            packed = ip_address(value.decode("latin-1")).packed
        except ValueError:
            return None
        return MATCHED if networks.find(packed) else None

    return match


# Validity: these match what is not valid


def bytes_of_ranges(argument: bytes) -> set[int]:
    """The bytes of `1-9,32,65-90`. Raises OperatorError."""
    listed: set[int] = set()
    for part in argument.decode("latin-1").split(","):
        low, _, high = part.strip().partition("-")
        try:
            bounds = int(low), int(high or low)
        except ValueError:
            raise OperatorError(f"{part.strip()!r} is neither a byte nor a range of bytes") from None
        if not 0 <= bounds[0] <= bounds[1] <= 255:
            raise OperatorError(f"{part.strip()!r} is not within 0-255")
        listed.update(range(bounds[0], bounds[1] + 1))
    return listed


def _validate_byte_range(argument: bytes) -> Match:
    listed = bytes(sorted(bytes_of_ranges(argument)))
    return lambda value: MATCHED if value.translate(None, listed) else None


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _validate_url_encoding(argument: bytes) -> Match:
    return lambda value: MATCHED if 0x25 in value and _BAD_ESCAPE.search(value) else None


def _validate_utf8(argument: bytes) -> Match:
    def match(value: bytes) -> Groups | None:
        if value.isascii():
            return None
        try:
            value.decode()
        except UnicodeDecodeError:
            return MATCHED
        return None

    return match


# Attacks, by reading the value as what it may be


def _detector(kind: str) -> Callable[[bytes], Match]:
    def prepared(argument: bytes) -> Match:
        def match(value: bytes) -> Groups | None:
            detect = _detectors.get(kind)
            if detect is None or not value or value.isalnum():  # one word or number is no attack
                return None
            found = detect(value)
            if not found:
                return None
            return (found.encode(),) if isinstance(found, str) else MATCHED

        return match

    return prepared


def _always(argument: bytes) -> Match:
    return lambda value: MATCHED


def _never(argument: bytes) -> Match:
    return lambda value: None


_PREPARED: dict[str, Callable[[bytes], Match]] = {
    "beginswith": _begins_with,
    "contains": _contains,
    "containsword": _contains_word,
    "detectsqli": _detector("sqli"),
    "detectxss": _detector("xss"),
    "endswith": _ends_with,
    "eq": _eq,
    "ge": _ge,
    "geolookup": _never,
    "gt": _gt,
    "ipmatch": _ip_match,
    "le": _le,
    "lt": _lt,
    "nomatch": _never,
    "pm": _pm,
    "rbl": _never,
    "rx": _rx,
    "streq": _streq,
    "strmatch": _contains,
    "unconditionalmatch": _always,
    "validatebyterange": _validate_byte_range,
    "validateurlencoding": _validate_url_encoding,
    "validateutf8encoding": _validate_utf8,
    "within": _within,
}

_FROM_FILES: dict[str, Callable[[list[bytes]], Match]] = {
    "ipmatchf": _networks,
    "ipmatchfromfile": _networks,
    "pmf": _any_phrase,
    "pmfromfile": _any_phrase,
}
