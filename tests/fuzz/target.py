"""What is fuzzed: every module in `targets`. A target says what must hold for all inputs, not only for good
ones.

It has `SEEDS`, inputs that mean something, and `check(data)`, which raises for an input that breaks a
promise (AssertionError) or the code (anything else). It may have `WORDS`, which its language is made of,
and `MAX_BYTES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent / "targets"
MAX_BYTES = 4096

NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.py")))


@dataclass(frozen=True, slots=True)
class Target:
    """One of them."""

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    max_bytes: int


def load(name: str) -> Target:
    """The target of that name, and with it the code it is about."""
    module = import_module(f"tests.fuzz.targets.{name}")
    return Target(
        name,
        module.check,
        module.SEEDS,
        getattr(module, "WORDS", ()),
        getattr(module, "MAX_BYTES", MAX_BYTES),
    )
