"""The corpus as items: reads the folder `corpus`, knows its format and where in a request each kind is sent.
It says nothing about whether an item should be refused beyond the folder it lies in, and knows no detector.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

CORPUS = Path(__file__).parent / "corpus"
SETS = ("tuning", "judging")

RAW_QUERY = frozenset({"crlf", "mail"})
PATHS = frozenset({"scanner"})
XML = frozenset({"xxe"})
JSON = frozenset({"nosql", "prototype", "deserialise", "api"})
FORMS = frozenset({"nosql", "prototype"})
HEADERS = frozenset({"headers", "jndi", "shellshock"})


@dataclass(frozen=True)
class Item:
    """One value somebody sent: its set, whether an attack, its class, and where in a request it stood."""

    set: str
    attack: bool
    kind: str
    where: str
    value: str

    def fields(self) -> list[bytes]:
        """The texts a firewall would look at: what a server has after undoing the request's encoding once."""
        if self.where == "raw query":
            texts = [unquote_plus(self.value)]
        elif self.where == "json":
            texts = list(_leaves("", json.loads(self.value)))
        elif self.where == "form":
            texts = [part for pair in parse_qsl(self.value, keep_blank_values=True) for part in pair if part]
        else:
            texts = [self.value]
        return [text.encode("utf-8", "surrogatepass") for text in texts]


def items(name: str) -> list[Item]:
    """Every item of the set `name`, in the order of the files."""
    return [
        Item(name, side == "attack", path.stem, _where(path.stem, value), value)
        for side in ("attack", "harmless")
        for path in sorted((CORPUS / name / side).iterdir())
        for value in values(path)
    ]


def values(path: Path) -> list[str]:
    """The values of one file: a line each in `.txt`, parted by lines of one percent sign in `.blocks`."""
    text = path.read_text("utf-8").removesuffix("\n")
    return text.split("\n%\n") if path.suffix == ".blocks" else text.split("\n")


def _where(kind: str, value: str) -> str:
    """Where a value of this class is sent; JSON and forms are told by their shape, as classes mix them."""
    if kind in RAW_QUERY:
        return "raw query"
    if kind in JSON and value.startswith(("{", "[")) and _is_json(value):
        return "json"
    if kind in FORMS and "=" in value and not value.startswith(("'", '"', "{", "[$")) and " " not in value:
        return "form"
    if kind in PATHS:
        return "path"
    if kind in XML:
        return "xml"
    return "header" if kind in HEADERS else "query"


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _leaves(path: str, value: object) -> Iterator[str]:
    """The names of a JSON document's members, with all they lie in before a dot, and its scalar values."""
    if isinstance(value, dict):
        for name, inner in value.items():
            named = f"{path}.{name}" if path else name
            yield named
            yield from _leaves(named, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(path, inner)
    else:
        yield str(value)
