"""A YAML file as a plain tree that remembers where everything stood.

Knows YAML, positions and `${ENV}`; nothing of what a setting means. It works on the composed nodes,
which carry an exact position for every key and value, so that one reading finds every fault.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from warnings import catch_warnings, simplefilter

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cluster.errors import UsageError

Location = tuple[str | int, ...]

_MERGE = "tag:yaml.org,2002:merge"
_ENV = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_ENV_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(slots=True)
class Place:
    """Where a value stands, and its keys and items: lines and columns count from 1."""

    line: int = 1
    column: int = 1
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    items: dict[str | int, "Place"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault: its position (0, 0 when it has none) and what is wrong."""

    line: int
    column: int
    message: str


@dataclass(slots=True)
class Document:
    """The content of one file. `tree` holds dicts, lists and scalars only."""

    tree: dict[str, object] = field(default_factory=dict)
    root: Place = field(default_factory=Place)
    problems: list[Problem] = field(default_factory=list)

    def place(self, location: Location) -> tuple[Place, str]:
        """The deepest written place on the way to `location`, and that way in words: "sites[0].origin".

        Steps that the file does not have are passed over: a short-hand (`origin: URL`) stands for the
        mapping it is short for.
        """
        place, words = self.root, ""
        for step in location:
            inner = place.items.get(step)
            if inner is None:
                continue
            place = inner
            words += f"[{step}]" if isinstance(step, int) else f".{step}" if words else step
        return place, words


def read(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """Parse the file. Syntax errors and an unreadable file raise UsageError; all else is in `problems`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no config file at {path}: check the path given to --config") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text ({error.reason})"
        raise UsageError(f"cannot read the config file {path}: {reason}") from None
    return parse(text, str(path), environment)


def parse(text: str, name: str, environment: Mapping[str, str] = os.environ) -> Document:
    """Parse YAML text; `name` is what messages call it."""
    yaml = YAML(typ="safe", pure=True)
    try:
        with catch_warnings():
            simplefilter("ignore", ReusedAnchorWarning)  # the later one holds, as YAML says
            node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        context = f" {error.context}" if error.context and error.context.startswith("while") else ""
        raise UsageError(f"{where}: not valid YAML: {error.problem}{context}") from None
    except YAMLError as error:
        raise UsageError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    builder = _Builder(yaml, environment)
    if node is None:
        return Document()
    tree, root = builder.build(node, ())
    if not isinstance(tree, dict):
        raise UsageError(f"{name}:{root.line}:{root.column}: expects a mapping such as 'sites: [...]'")
    return Document(tree, root, builder.problems)


class _Builder:
    """One walk over the composed nodes."""

    def __init__(self, yaml: YAML, environment: Mapping[str, str]) -> None:
        self.yaml = yaml
        self.environment = environment
        self.problems: list[Problem] = []

    def build(self, node: Node, above: tuple[Node, ...]) -> tuple[object, Place]:
        place = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        if any(node is outer for outer in above):
            self.fault(place, "an alias may not contain itself")
            return None, place
        if isinstance(node, MappingNode):
            return self.mapping(node, place, (*above, node)), place
        if isinstance(node, SequenceNode):
            items = [self.build(item, (*above, node)) for item in node.value]
            place.items = {index: item for index, (_, item) in enumerate(items)}
            return [value for value, _ in items], place
        assert isinstance(node, ScalarNode), node
        return self.scalar(node, place), place

    def mapping(self, node: MappingNode, place: Place, above: tuple[Node, ...]) -> dict[str, object]:
        tree: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            where = Place(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key_node.tag == _MERGE:
                self.merge(value_node, place, merged, above)
                continue
            if not isinstance(key_node, ScalarNode):
                self.fault(where, "a key must be a word")
                continue
            key = key_node.value
            if key in tree:
                self.fault(where, f"duplicate key '{key}': it was given at line {place.keys[key][0]} already")
                continue
            tree[key], place.items[key] = self.build(value_node, above)
            place.keys[key] = where.line, where.column
        return merged | tree

    def merge(self, node: Node, place: Place, merged: dict[str, object], above: tuple[Node, ...]) -> None:
        """`<<: *shared` (or a list of them): keys that this mapping does not give itself."""
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            tree, inner = self.build(source, above)
            if not isinstance(tree, dict):
                self.fault(inner, "'<<' expects a mapping")
                continue
            for key, value in tree.items():
                merged.setdefault(key, value)
                place.items.setdefault(key, inner.items[key])
                place.keys.setdefault(key, inner.keys[key])

    def scalar(self, node: ScalarNode, place: Place) -> object:
        if "${" in node.value:
            node = ScalarNode(node.tag, self.substitute(node.value, place), style=node.style)
            if node.style is None:  # unquoted: ${WORKERS} may be a number
                node.tag = self.yaml.resolver.resolve(ScalarNode, node.value, (True, False))
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if kind in ("str", "timestamp"):
            return str(node.value)
        if kind not in ("int", "float", "bool", "null"):
            self.fault(place, f"the tag '{node.tag}' means nothing here")
            return None
        try:
            value: object = self.yaml.constructor.construct_object(node)
        except (YAMLError, ValueError):
            self.fault(place, f"cannot read '{node.value}' as {kind}")
            return None
        return value

    def substitute(self, text: str, place: Place) -> str:
        """`${NAME}` and `${NAME:-default}` from the environment; `$${` stands for a literal `${`."""

        def replace(found: re.Match[str]) -> str:
            escape, inside, closed = found.groups()
            if escape:
                return found.group()[1:]
            name = _ENV_NAME.fullmatch(inside)
            if name is None or not closed:
                self.fault(place, f"cannot read '{found.group()}' (expects ${{NAME}} or ${{NAME:-default}})")
                return ""
            value = self.environment.get(name[1])
            if name[2] is not None:
                return value or name[2]
            if value is None:
                self.fault(
                    place,
                    f"the environment variable '{name[1]}' is not set; "
                    f"set it, or give a default: ${{{name[1]}:-default}}",
                )
            return value or ""

        return _ENV.sub(replace, text)

    def fault(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place.line, place.column, message))
