"""`python -m tests.fuzz.one NATIVE TARGET [option of libFuzzer]...`: one target under atheris, until it is
told to stop.

Ends with a traceback and the input when a promise is broken, and also when an input takes too much of the
processor's time: what the other processes of the machine do has no say in that.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from time import thread_time_ns

import atheris

from tests.fuzz.imports import watch
from tests.fuzz.target import load

LIMIT_NS = 2_000_000_000  # of one input; watched Python is several times as slow as what it is compiled to


def main() -> None:
    native, name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["worker", "cluster"]):
        watch(Path(native))
        target = load(name)
    atheris.Setup([name, *options], timed(target.check))
    atheris.Fuzz()


def timed(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The same check, that no input may keep busy for long."""

    def check_in_time(data: bytes) -> None:
        begin_ns = thread_time_ns()
        check(data)
        spent_ns = thread_time_ns() - begin_ns
        assert spent_ns < LIMIT_NS, f"{len(data)} bytes took {spent_ns / 1e9:.1f} s of the processor"

    return check_in_time


if __name__ == "__main__":
    main()
