"""`python -m bench.hit_ratio`: traces through the real core and known policies; see bench/README.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.hit_ratio.replay import POLICIES, Misses, replay
from bench.hit_ratio.report import Cell, chart, provenance, table
from bench.hit_ratio.trace import RECIPES, Trace, make, open_trace

BENCH = Path(__file__).resolve().parents[1]


def _traces(arguments: argparse.Namespace, directory: Path) -> list[Trace]:
    """The files named, or the built-in recipes made into files."""
    if arguments.trace:
        return [open_trace(path.stem, path, arguments.requests) for path in arguments.trace]
    made = []
    for name, recipe in RECIPES.items():
        path = directory / f"{name}.bin"
        make(recipe, arguments.objects, arguments.requests).tofile(path)
        made.append(open_trace(name, path))
    return made


def _measure(traces: list[Trace], shares: list[float]) -> dict[Cell, Misses]:
    results: dict[Cell, Misses] = {}
    for trace in traces:
        for share in shares:
            for policy in POLICIES:
                misses = replay(policy, trace, int(trace.footprint * share))
                results[trace.name, share, policy] = misses
                print(
                    f"{trace.name} {share:.1%} {policy}: {misses.objects:.4f} / {misses.bytes:.4f}",
                    file=sys.stderr,
                )
    return results


def main() -> None:
    """Parse the flags, measure, write the table and the chart."""
    parser = argparse.ArgumentParser(prog="bench.hit_ratio", description=__doc__)
    parser.add_argument(
        "--trace", type=Path, action="append", help="a file in oracleGeneral format; repeatable"
    )
    parser.add_argument("--requests", type=int, default=1_000_000, help="so many of each trace")
    parser.add_argument("--objects", type=int, default=500_000, help="in the catalogue of a made trace")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.001, 0.01, 0.1], help="of the footprint"
    )
    parser.add_argument(
        "--out", type=Path, default=BENCH, help="directory for hit_ratio.md and hit_ratio.png"
    )
    arguments = parser.parse_args()
    where = provenance()  # of what is measured, not of what the tree has become meanwhile
    with tempfile.TemporaryDirectory() as directory:
        traces = _traces(arguments, Path(directory))
        results = _measure(traces, arguments.shares)
    measured = table(results, traces, arguments.shares)
    text = f"# Hit ratios\n\nObjects missed / bytes missed; {where}.\n\n{measured}"
    (arguments.out / "hit_ratio.md").write_text(text)
    chart(results, traces, arguments.shares, arguments.out / "hit_ratio.png")
    print(text)


if __name__ == "__main__":
    main()
