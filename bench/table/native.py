"""The rows measured in C: builds `native/` with the core's own sources and runs it, once per figure."""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-O2", "-g0", "-std=gnu11", "-fno-strict-aliasing", "-Wall", "-Wextra"]  # those of setup.py
MACHINE = ["-mcx16"] if platform.machine() == "x86_64" else []
TIMEOUT_S = 300


class Native:
    """The compiled program; see native/rows.c for what it measures."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def operation(self, name: str, keys: int, processes: int, budget_ns: int) -> float:
        """CPU nanoseconds per operation; `budget_ns` is what each process spends, about."""
        return float(self._run(name, str(keys), str(processes), str(budget_ns // 1_000_000)))

    def special(self, name: str) -> float:
        """Nanoseconds of `wake`, `repair` or `reap`."""
        return float(self._run(name))

    def memory(self, mebibytes: int) -> float:
        """Nanoseconds of a read that waits for the one before, in that much shared memory."""
        return float(self._run("memory", str(mebibytes)))

    def scale(self, objects: int, size_bytes: int, rounds: int) -> dict[str, float]:
        """What it prints as `name value` lines."""
        lines = self._run("scale", str(objects), str(size_bytes), str(rounds)).splitlines()
        return {name: float(value) for name, value in (line.split() for line in lines)}

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._program), *arguments], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def built() -> Iterator[Native]:
    """Compile it, for as long as the block lasts."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("bench: no C compiler found; apt-get install gcc libxxhash-dev")
    ours = sorted((ROOT / "bench/table/native").glob("*.c"))
    core = sorted(path for path in (ROOT / "shmcache").glob("*.c") if path.name != "core.c")
    with TemporaryDirectory(prefix="edgecluster-table-") as directory:
        program = Path(directory) / "rows"
        sources = [str(path) for path in (*ours, *core)]
        command = [compiler, *FLAGS, *MACHINE, f"-I{ROOT / 'shmcache'}", *sources, "-lpthread", "-lm"]
        subprocess.run([*command, "-o", str(program)], check=True)
        yield Native(program)
