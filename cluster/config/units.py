"""The spellings a configuration may use for sizes, durations, rates, addresses and names.

Each parser takes what stood in the file or on the command line and gives the number or record the
settings hold. A value it cannot mean raises ValueError with the reason alone: where it stood and
what was expected is added by whoever knows.
"""

import math
import re
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TypeGuard
from urllib.parse import SplitResult, unquote, urlsplit

from worker.security.waf.words import VARIABLES, unknown
from worker.settings import DirectorySettings, ListenerSettings, Network, OriginSettings

SIZE_UNITS = {
    "b": 1,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
DURATION_UNITS = {
    "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0,
}  # fmt: skip
DEFAULT_PORTS = {"http": 80, "https": 443}

_KEY_PARTS = ("address", "asn", "country", "host", "path", "method")
_NUMBER_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*([A-Za-z]+)")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def size(value: object) -> int:
    """Bytes of '512MiB', '64KB', '1.5G': KB is 1000, KiB and K are 1024. Only 0 may come without a unit."""
    if value == 0 and not isinstance(value, bool):
        return 0
    found = _NUMBER_UNIT.fullmatch(_text(value, "512MiB"))
    if found is None:
        raise ValueError("not a number with a unit")
    number, unit = found.groups()
    factor = SIZE_UNITS.get(unit.lower())
    if factor is None:
        raise ValueError(f"unknown unit '{unit}'")
    return int(float(number) * factor)


def duration(value: object) -> float:
    """Seconds of '30s', '5m', '250ms', '1h30m'. Only 0 may come without a unit."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    text = _text(value, "30s")
    pieces = _NUMBER_UNIT.findall(text)
    if not pieces or _NUMBER_UNIT.sub("", text).strip():
        raise ValueError("not a number with a unit")
    return math.fsum(float(number) * _duration_unit(unit) for number, unit in pieces)


def statuses(value: object) -> str:
    """A final status code (200 to 599), or a class of them: 404 or "404" or "5xx" -> "404", "5xx"."""
    text = str(value).lower()
    if type(value) not in (int, str) or not re.fullmatch(r"[2-5](?:[0-9]{2}|xx)", text):
        raise ValueError("is no status from 200 to 599 and no class of them")
    return text


def rate(value: object) -> float:
    """Tokens per second of '10/s', '600/m', '5/10s'."""
    found = _RATE.fullmatch(_text(value, "10/s"))
    if found is None:
        raise ValueError("not a number per time")
    amount, span, unit = found.groups()
    seconds = float(span or 1) * _duration_unit(unit)
    if not float(amount) or not seconds:
        raise ValueError("would let nothing pass")
    return float(amount) / seconds


def per_window(value: object) -> tuple[int, int]:
    """(100, 600) of '100/10m': how many in how many whole seconds."""
    found = _RATE.fullmatch(_text(value, "100/10m"))
    if found is None:
        raise ValueError("not a number per time")
    amount, span, unit = found.groups()
    seconds = float(span or 1) * _duration_unit(unit)
    if not amount.isdecimal() or not 1 <= int(amount) <= 262_143:
        raise ValueError("a window grants a whole number from 1 to 262143")
    if seconds != int(seconds) or not 1 <= seconds <= 2**20:
        raise ValueError("a window has whole seconds, from 1s to 12 days")
    return int(amount), int(seconds)


def key_part(value: object) -> str:
    """'address', or 'header:X-Api-Key'."""
    kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    named = kind in ("header", "cookie", "query")
    if named != bool(name) or not (named or (kind in _KEY_PARTS and not colon)):
        raise ValueError("nothing that requests could be counted by")
    return f"{kind}:{name}" if named else kind


def network(value: object) -> Network:
    """An address or a CIDR block; an address alone is the block that holds only it."""
    if not isinstance(value, str):
        raise ValueError("not an address")
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        wider = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("not an IP address or CIDR block") from None
    raise ValueError(f"has bits set to the right of its mask; did you mean '{wider}'?")


def asn(value: object) -> int:
    """The number of an autonomous system (RFC 6793): 64500, "64500" or "AS64500"."""
    text = str(value).upper().removeprefix("AS") if type(value) in (int, str) else ""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 32):
        raise ValueError("not the number of an autonomous system")
    return int(text)


def country(value: object) -> str:
    """A code of two letters (ISO 3166-1), in upper case."""
    if value is False:  # how YAML reads Norway
        raise ValueError("that is what YAML makes of NO: write it in quotes, 'NO'")
    if not (isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha()):
        raise ValueError("not a code of two letters")
    return value.upper()


def listener(value: object) -> ListenerSettings:
    """'http://127.0.0.1:8080', 'https://[::]:443', 'http://*:80' (every IPv4 address), 'http://localhost:80'.

    Port 0 is any free one.
    """
    parts, host, port = _split(value)
    if parts.path not in ("", "/"):
        raise ValueError("a listener takes every path: leave the path out")
    host = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(host, host)
    try:
        host = str(ip_address(host))
    except ValueError:
        raise ValueError(f"'{host}' is not a numeric address; for all of them, use 0.0.0.0 or [::]") from None
    return ListenerSettings(parts.scheme, host, port)


def serving_listener(value: object) -> ListenerSettings:
    """A listener's URL, or {url: URL, proxy_protocol: true}."""
    if not isinstance(value, dict):
        return listener(value)
    for key in value:
        if key not in ("url", "proxy_protocol"):
            raise ValueError(f"has no key '{key}', but 'url' and 'proxy_protocol'")
    expected = value.get("proxy_protocol", False)
    if not isinstance(expected, bool):
        raise ValueError("'proxy_protocol' is true or false")
    return replace(listener(value.get("url")), proxy_protocol=expected)


def origin_address(value: object) -> OriginSettings | DirectorySettings:
    """Scheme, host and port of an origin URL, or a directory; every other setting at its default."""
    if is_directory(value):
        return DirectorySettings(directory(value))
    return server_address(value)


def server_address(value: object) -> OriginSettings:
    """Scheme, host and port of a server's URL; every other setting at its default."""
    parts, host, port = _split(value)
    if parts.path not in ("", "/"):
        raise ValueError("paths are passed on as they come: leave the path out")
    if host == "*":
        raise ValueError("an origin needs a name or an address")
    if port == 0:
        raise ValueError("an origin needs a port")
    return OriginSettings(parts.scheme, host_name(host), port)


def directory(value: str) -> str:
    """The path of 'file:///var/www/site', '/var/www/site', './public' or '~/public'; it may be relative."""
    if not value.startswith("file:"):
        return value
    parts = urlsplit(value)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("a file URL names no host and an absolute path: write it like file:///var/www/site")
    if parts.query or parts.fragment:
        raise ValueError("takes no query or fragment: write ? as %3F and # as %23")
    return unquote(parts.path)


def is_directory(value: object) -> TypeGuard[str]:
    """Does an origin written like this mean files of this machine?"""
    return isinstance(value, str) and (value == "." or value.startswith(("file:", "/", "./", "../", "~")))


def file_name(value: object) -> str:
    """The name of a file within a directory."""
    if not isinstance(value, str) or not value or "/" in value or value.startswith("."):
        raise ValueError("not the name of a file that is served: no slash, no dot at its beginning")
    return value


def resolver(value: object) -> str:
    """'127.0.0.1', '192.0.2.1:5353', '::1', '[::1]:53': the numeric address of a DNS server, and its port."""
    if not isinstance(value, str):
        raise ValueError("not an address")
    host, port = value, "53"
    if value.count(":") == 1 or "]:" in value:
        host, _, port = value.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"'{host}' is not a numeric address") from None
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"'{port}' is not a port")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def host_name(value: object) -> str:
    """A host name (lower-case, A-labels) or an IP address, without port."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a host name")
    try:
        return str(ip_address(value.strip("[]")))
    except ValueError:
        pass
    try:
        name = value.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        raise ValueError("not a host name") from None
    if ":" in name or "/" in name:
        raise ValueError("a host name alone: no scheme, port or path")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("not a host name")
    return name


def host_pattern(value: object) -> str:
    """A host name, '*.example.org' for any one label before it, or '*' for any host."""
    if isinstance(value, str) and value.startswith("*."):
        return "*." + host_name(value[2:])
    return "*" if value == "*" else host_name(value)


def waf_rule(value: object) -> str:
    """What names rules of the WAF: 942100, '942100-942199', a tag, a detector."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_./ -]+", text):
        raise ValueError("names no rule")
    return text


def waf_variable(value: object) -> str:
    """A variable of rules, perhaps one of its members: 'args:comment' -> 'ARGS:comment'."""
    if not isinstance(value, str):
        raise ValueError("not a variable")
    variable, colon, name = value.partition(":")
    if variable.upper() not in VARIABLES:
        raise ValueError(unknown("variable", variable, VARIABLES))
    if (colon and not re.fullmatch(r"[A-Za-z0-9_.$@\[\]*/-]+", name)) or name.startswith("/"):
        raise ValueError("must name one member: letters, digits and _ . $ @ [ ] * / -")
    return variable.upper() + colon + name


def show_size(size_bytes: int) -> str:
    """A readable spelling in binary units: 268435456 -> '256MiB', 1500 -> '1.5KiB'."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = SIZE_UNITS[unit.lower()]
        if size_bytes >= factor:
            return (
                f"{size_bytes // factor}{unit}"
                if size_bytes % factor == 0
                else f"{size_bytes / factor:.1f}{unit}"
            )
    return f"{size_bytes}B"


def _text(value: object, example: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"has no unit, write it like {example}")
    if not isinstance(value, str):
        raise ValueError("not a number with a unit")
    return value.strip()


def _duration_unit(unit: str) -> float:
    seconds = DURATION_UNITS.get(unit.lower())
    if seconds is None:
        raise ValueError(f"unknown unit '{unit}'")
    return seconds


def _split(value: object) -> tuple[SplitResult, str, int]:
    """An http(s) URL's parts, host (lower-case, without brackets) and port."""
    if not isinstance(value, str):
        raise ValueError("not a URL")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("takes no user name, query or fragment")
    if not host:
        raise ValueError("has no host")
    return parts, host, DEFAULT_PORTS[parts.scheme] if port is None else port
