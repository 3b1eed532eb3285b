"""Imports for fuzzing: modules in the form that tells a fuzzer which way an input went.

Most of the hit path is compiled from Python, and a fuzzer sees nothing of it: here the Python is taken.
What is native in any case is taken from where `native` has built it to be watched, if it has.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]

# Native modules know their classes as C structs, which they have only when they are compiled.
COMPILED = frozenset({"worker.message", "worker.context"})


class WatchedFinder(MetaPathFinder):
    """Finds the modules of ours that have such a form."""

    def __init__(self, native: Path) -> None:
        """`native`: the folder of native modules built to be watched."""
        self._native = native

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("worker.") or fullname in COMPILED:
            return None
        place = fullname.replace(".", "/")
        for file in (self._native / f"{place}.so", ROOT / f"{place}.py"):
            if file.is_file():
                return spec_from_file_location(fullname, file)
        return None


def watch(native: Path) -> None:
    """From now on; before anything of ours is imported."""
    after = next(
        at for at, finder in enumerate(sys.meta_path) if getattr(finder, "__name__", "") == "PathFinder"
    )
    sys.meta_path.insert(after, WatchedFinder(native))
