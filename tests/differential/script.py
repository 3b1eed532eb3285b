"""A script: what a client asks step by step, and what the origin answers in each step if it is asked.

The origin's answer belongs to the step and not to the number of its requests, so that proxies that ask more
or less often are still told the same. Every answer names its step, in `X-Served` and all over its body.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate

Line = tuple[str, str]

STEP_FIELD = "X-Step"  # of requests: tells the origin which step it is
SERVED_FIELD = "x-served"  # of answers with a body of their own: the step they were made in
VALIDATED_FIELD = "x-validated"  # of a 304: the step it was made in
PRIVATE_FIELD = "x-private"  # what a qualified private or no-cache names
HOP_FIELD = "x-hop"  # what Connection names

BLOCKS = 40
BLOCK = 8  # bytes; every one names the step


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the client."""

    method: str
    fields: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What the origin answers. A value `@N`, or `@N:rfc850`, is the HTTP-date N seconds from now."""

    status: int
    fields: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then ask; the origin answers `told`, or 304 or 206 if its own validators and a Range say so."""

    wait_s: float
    asked: Asked
    told: Told


Script = tuple[Step, ...]


def values(fields: Iterable[Line], name: str) -> list[str]:
    """The values of all lines of that name, which is in lower case."""
    return [value for found, value in fields if found.lower() == name]


def joined(fields: Iterable[Line], name: str) -> str | None:
    """All lines of a field as one value; None without any."""
    found = values(fields, name)
    return ", ".join(found) if found else None


def body_of(step: int) -> bytes:
    """The whole body made in that step."""
    return b"step%03d\n" % step * BLOCKS


def step_of(body: bytes) -> int | None:
    """The step a body, or any block of one, was made in; None if it says none."""
    at = body.find(b"step")
    digits = body[at + 4 : at + 7]
    return int(digits) if at >= 0 and digits.isdigit() else None


def rendered(fields: Iterable[Line], now_s: float) -> tuple[Line, ...]:
    """The lines with their dates filled in."""
    return tuple((name, _date(value, now_s) if value.startswith("@") else value) for name, value in fields)


def _date(value: str, now_s: float) -> str:
    offset, _, form = value[1:].partition(":")
    at_s = int(now_s) + int(offset)
    if not form:
        return formatdate(at_s, usegmt=True)
    formats = {
        "rfc850": "%A, %d-%b-%y %H:%M:%S GMT",
        "asctime": "%a %b %e %H:%M:%S %Y",
        "est": "%a, %d %b %Y %H:%M:%S EST",
    }
    return time.strftime(formats[form], time.gmtime(at_s))


def show(script: Script) -> str:
    """The script for a reader."""
    lines = []
    for number, step in enumerate(script):
        asked = "; ".join(f"{name}: {value}" for name, value in step.asked.fields)
        told = "; ".join(f"{name}: {value}" for name, value in step.told.fields)
        wait = f"after {step.wait_s} s " if step.wait_s else ""
        lines.append(f"  {number}. {wait}{step.asked.method} [{asked}]\n     -> {step.told.status} [{told}]")
    return "\n".join(lines)
