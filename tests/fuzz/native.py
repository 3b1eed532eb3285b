"""Native modules built to be watched: by clang for a fuzzer that wants to know which way an input went, by
gcc with AddressSanitizer for whoever wants to know which bytes it touched. From the C that the ordinary
build has left.
"""

import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.imports import ROOT

GENERATED = ROOT / "build" / "cython"

# By module, what it is linked with.
MODULES = {
    "worker.fields": (),
    "worker.networks": ("worker/network_table.c",),
    "worker.protocol.stream": (),
    "worker.protocol.h2.session": ("-lnghttp2",),
    "worker.origin.h2.session": ("-lnghttp2",),
}

COVERAGE = "-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp,indirect-calls"
ADDRESS = ("gcc", "-O1", "-fsanitize=address", "-fno-omit-frame-pointer")


def watching() -> tuple[str, ...]:
    """The compiler for atheris, in whose libFuzzer a module finds what it reports to."""
    core = find_spec("atheris.core_with_libfuzzer")
    assert core is not None and core.origin is not None
    return "clang", "-O1", COVERAGE, core.origin


def build(compiler: tuple[str, ...], folder: Path) -> None:
    """Every module into `folder`, those that are newer there left alone. Raises CalledProcessError."""
    include = sysconfig.get_path("include")
    for module, linked in MODULES.items():
        place = module.replace(".", "/")
        source, built = GENERATED / f"{place}.c", folder / f"{place}.so"
        if built.is_file() and built.stat().st_mtime > source.stat().st_mtime:
            continue
        built.parent.mkdir(parents=True, exist_ok=True)
        flags = (
            "-g",
            "-std=gnu11",
            "-fno-strict-aliasing",
            "-fPIC",
            "-shared",
            "-w",
            "-Iworker",
            f"-I{include}",
        )
        command = [*compiler, *flags, str(source), *linked, "-o", str(built)]
        subprocess.run(command, cwd=ROOT, check=True)
