"""`python -m tests.fuzz.play TARGET SECONDS [NATIVE]`: a target's corpus, then blind mutants of it until
the time is over.

By the modules as they are compiled for the product; NATIVE is a folder of native ones to take in their
place.
"""

import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path

from tests.fuzz import native
from tests.fuzz.imports import ROOT
from tests.fuzz.mutate import mutants
from tests.fuzz.target import load


def main() -> None:
    name, seconds, *folder = sys.argv[1:]
    if folder:
        _take_native(Path(folder[0]))
    target = load(name)
    corpus = [path.read_bytes() for path in sorted((ROOT / "build" / "fuzz" / name / "corpus").iterdir())]
    until = time.monotonic() + float(seconds)
    for number, data in zip(count(), mutants(corpus, target.words, seed=time.time_ns())):
        if number >= len(corpus) and time.monotonic() > until:
            sys.stdout.write(f"{number} inputs\n")
            return
        try:
            target.check(data)
        except BaseException:
            sys.stdout.write(f"the input: {data!r}\n")
            raise


def _take_native(folder: Path) -> None:
    """Load these before anybody asks for the others; in their order, for some need others."""
    for module in native.MODULES:
        spec = spec_from_file_location(module, folder / f"{module.replace('.', '/')}.so")
        assert spec is not None and spec.loader is not None
        sys.modules[module] = loaded = module_from_spec(spec)
        spec.loader.exec_module(loaded)


if __name__ == "__main__":
    main()
