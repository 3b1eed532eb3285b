"""Who may import whom: one arrow between the packages, six floors inside the worker, and no circle."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cluster", "worker", "shmcache")

# Every floor of the worker may import the floors below it, its own floor only where that is said.
NOUNS = (
    "message", "errors", "reasons", "settings", "fields", "patterns", "addresses", "networks", "identity",
    "judgement", "digits", "nghttp2",
)  # fmt: skip
STAGES = ("protocol", "security", "cache", "origin", "response", "observe")
SHARED = (*NOUNS, "context", "pipeline", "tunnel", "upgrade")  # what a stage may know beside itself


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name; native ones by their Cython source, or by their
    declarations where those are all there is."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.p*")):
            if path.suffix in (".pxd", ".py", ".pyx"):  # of two that share a name the last one counts
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def resolve(name: str) -> str | None:
    """The longest prefix of a dotted name that is one of our modules."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def imported(module: str, path: Path) -> set[str]:
    """What of ours a module imports, wherever in the file and under whatever condition."""
    text = path.read_text()
    names: set[str] = set()
    if path.suffix != ".py":
        for match in re.finditer(
            r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", text, re.MULTILINE
        ):
            names.add(match[1] or match[2])
    else:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                    base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
                names.update(f"{base}.{alias.name}" for alias in node.names)
    ours = {resolve(name) for name in names if name.partition(".")[0] in PACKAGES}
    return {name for name in ours if name is not None and name != module}


IMPORTS = {module: imported(module, path) for module, path in MODULES.items()}


def may_import(module: str, other: str) -> bool:
    """The law. Only what is written here is allowed."""
    package, _, inside = module.partition(".")
    other_package, _, other_inside = other.partition(".")
    if PACKAGES.index(other_package) < PACKAGES.index(package):
        return False  # the arrow: cluster -> worker -> shmcache
    if package != "worker":
        return True
    part = inside.partition(".")[0]
    if other_package == "shmcache":
        return part not in NOUNS
    other_part = other_inside.partition(".")[0]
    if part in NOUNS:
        return other_part in NOUNS
    if part in STAGES:
        return other_part in SHARED or other_part == part
    if part == "context":
        return other_part in NOUNS
    if part == "geo":
        return other_part in (*NOUNS, "context")
    if part == "pipeline":
        return other_part in (*NOUNS, "context")
    if part == "tunnel":
        return other_part in NOUNS
    if part == "upgrade":
        return other_part in (*NOUNS, "context")
    if part == "routing":
        return other_part in SHARED
    if part == "start":
        return other_part in (*NOUNS, "geo")
    if part == "http3":
        return other_part in (*SHARED, "protocol", "observe", "start")
    if part == "compose":
        return other_part not in ("run", "http3")
    return part == "run"


def test_every_module_is_looked_at() -> None:
    assert {"worker.pipeline", "worker.fields", "shmcache.errors", "cluster.settings"} <= set(MODULES)
    assert "worker.context" in IMPORTS["worker.pipeline"]
    assert not may_import("worker.cache.lookup", "worker.origin.fetch")
    assert not may_import("shmcache.errors", "worker.errors")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    wrong = sorted(other for other in IMPORTS[module] if not may_import(module, other))
    assert not wrong, f"{module} may not import {', '.join(wrong)}"


def test_no_imports_go_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            pytest.fail("circle: " + " -> ".join([*way[way.index(module) :], module]))
        if module not in done:
            for other in sorted(IMPORTS[module]):
                visit(other, [*way, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])


def test_everything_is_packaged() -> None:
    """A folder that setuptools is not told of would be missing from an installed edgecluster."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert folders == listed
