"""The cache's C with `tests/native/driver`, compiled without Python: quick to build and to run."""

import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import shmcache

SOURCES = Path(shmcache.__file__).parent
DRIVER = Path(__file__).parents[1] / "native" / "driver"
FLAGS = ["-O1", "-g", "-std=gnu11", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-DSHM_FAULTS"]
COMPILERS = 2  # at once


class Build:
    """The driver with fault points; a variant compiles only the files it changes."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler (cc): install gcc to run this test")
        self.compiler = compiler
        self.directory = directory
        self.sources = sorted([*SOURCES.glob("*.c"), *DRIVER.glob("*.c")])
        with ThreadPoolExecutor(COMPILERS) as pool:
            self.objects = dict(zip(self.sources, pool.map(self._compile, self.sources), strict=True))

    def driver(self, name: str, changed: Mapping[str, str] | None = None) -> Path:
        """The program, with the text of some files of shmcache changed; compiling it must succeed."""
        objects = dict(self.objects)
        for file, text in (changed or {}).items():
            copy = self.directory / f"{name}.{file}"
            copy.write_text(text)
            objects[SOURCES / file] = self._compile(copy)
        program = self.directory / name
        subprocess.run([self.compiler, *objects.values(), "-lpthread", "-o", program], check=True)
        return program

    def _compile(self, source: Path) -> Path:
        target = self.directory / (source.name + ".o")
        machine = ["-mcx16"] if platform.machine() == "x86_64" else []
        include = [f"-I{SOURCES}", f"-I{DRIVER}"]
        subprocess.run([self.compiler, *FLAGS, *machine, *include, "-c", source, "-o", target], check=True)
        return target


def run(program: Path, arguments: Sequence[str], timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the driver to its end; its output is in `stdout`."""
    return subprocess.run(
        [program, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s
    )
