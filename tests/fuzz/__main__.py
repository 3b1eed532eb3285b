"""`python -m tests.fuzz`: every target under atheris for a while, or the named ones. What breaks is kept
and told.

A target runs in a process of its own, beside nothing else. Then all inputs that it found worth keeping are
run once more by the modules as they are compiled for the product. With `--sanitize` there is no guidance:
the same inputs, and blind mutants of them, by native modules under AddressSanitizer.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from tests.fuzz import native
from tests.fuzz.imports import ROOT
from tests.fuzz.target import NAMES, Target, load

OUT = ROOT / "build" / "fuzz"  # of every target its corpus and what broke it
HANG_S = 60  # of one input, by the clock; one.py counts the processor's time

_RUNS = re.compile(r"stat::number_of_executed_units: +(\d+)|^(\d+) inputs$", re.MULTILINE)


@dataclass(slots=True)
class Outcome:
    """What came of one target."""

    name: str
    runs: int
    kept: int
    wrong: str  # the last lines it said; empty if all was well


def main() -> int:
    """Run what was asked for, print the table; 1 if a target broke."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz targets: tests/fuzz/targets.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target; 600 unless given")
    parser.add_argument("--sanitize", action="store_true", help="under AddressSanitizer, without atheris")
    parser.add_argument("--input", type=Path, metavar="FILE", help="only this input, as it was kept")
    arguments = parser.parse_args()
    for name in arguments.targets:
        if name not in NAMES:
            parser.error(f"no target {name!r}: there are {', '.join(NAMES)}")
    if arguments.input is not None:
        for name in arguments.targets:
            load(name).check(arguments.input.read_bytes())
        return 0
    run = sanitized if arguments.sanitize else fuzzed
    outcomes = []
    for name in arguments.targets or NAMES:
        outcome = run(load(name), arguments.seconds)
        outcomes.append(outcome)
        sys.stdout.write(
            f"{name:20} {outcome.runs:10} runs  {outcome.runs / arguments.seconds:8.0f}/s  "
            f"{outcome.kept:6} kept  {'FAILED' if outcome.wrong else 'no finding'}\n{outcome.wrong}"
        )
        sys.stdout.flush()
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def fuzzed(target: Target, seconds: int) -> Outcome:
    """By atheris, then once more as compiled."""
    watched = OUT / "watched"
    if shutil.which("clang"):
        native.build(native.watching(), watched)
    corpus = seeded(target)
    words = OUT / target.name / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = (
        f"-max_total_time={seconds}", f"-timeout={HANG_S}", "-rss_limit_mb=2048", "-print_final_stats=1",
        f"-max_len={target.max_bytes}", f"-dict={words}", f"-artifact_prefix={OUT / target.name}/",
    )  # fmt: skip
    found = _run("tests.fuzz.one", str(watched), target.name, *options, str(corpus))
    if not found.wrong:
        found.wrong = _run("tests.fuzz.play", target.name, "0").wrong
    return Outcome(target.name, found.runs, sum(1 for _ in corpus.iterdir()), found.wrong)


def sanitized(target: Target, seconds: int) -> Outcome:
    """By native modules that know which bytes they may touch."""
    folder = OUT / "sanitized"
    native.build(native.ADDRESS, folder)
    corpus = seeded(target)
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = _run(
        "tests.fuzz.play", target.name, str(seconds), str(folder),
        LD_PRELOAD=library, PYTHONMALLOC="malloc", ASAN_OPTIONS="detect_leaks=0",
    )  # fmt: skip
    return Outcome(target.name, found.runs, sum(1 for _ in corpus.iterdir()), found.wrong)


def seeded(target: Target) -> Path:
    """The target's corpus, its seeds in it."""
    corpus = OUT / target.name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    return corpus


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _run(module: str, *arguments: str, **environment: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="latin-1",
    )
    runs = _RUNS.search(done.stdout)
    wrong = done.stdout[done.stdout.rfind("=== Uncaught") :][-4000:] if done.returncode else ""
    return Outcome("", int(runs[1] or runs[2]) if runs else 0, 0, wrong)


if __name__ == "__main__":
    sys.exit(main())
