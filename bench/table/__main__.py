"""What does an operation of the shared cache cost, beside a dict, LMDB and memcached in the same run?

CPU time, user and system, of all processes that take part (memcached's own included), divided by the
operations; every figure is the median of several rounds, the stores taking turns in each. Without a flag: the
table. --scale: a million objects in 2 GiB. --purge: a tag on 100,000 objects.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import peers
from bench.table import measure, native, purge, report, scale, stores
from bench.table.native import Native
from bench.table.report import IN_C, Result
from bench.table.rows import ROWS, SPECIALS, Row, Special
from bench.table.stores import Store


@contextlib.contextmanager
def opened(size_bytes: int) -> Iterator[list[Store]]:
    """All stores, empty; the segment of that size."""
    with contextlib.ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="edgecluster-table-", dir="/dev/shm"))
        )
        yield [
            stores.Shmcache(stack.enter_context(stores.segment(size_bytes))),
            stores.Dict(),
            stores.Lmdb(directory / "lmdb"),
            stack.enter_context(stores.memcached(directory)),
        ]


def measured(
    row: Row, subjects: Sequence[Store], core: Native, processes: int
) -> Iterator[tuple[str, float]]:
    """One round of one row: every store's cost."""
    if row.in_c:
        yield IN_C, measure.in_c(row, core, processes)
    for store in subjects:
        if row.in_python and hasattr(store, row.operation):
            yield store.name, measure.from_python(row, store, processes)


def run_rows(rows: Sequence[Row], processes: Sequence[int], rounds: int, core: Native) -> list[Result]:
    """All rows; those over the same bodies share the stores."""
    results = []
    for (_, size), group in itertools.groupby(rows, lambda row: (row.path, row.stored_bytes)):
        members = list(group)
        keys = measure.keys_of(max(members, key=lambda row: row.keys))
        samples: dict[tuple[Row, str, int], list[float]] = {}
        with opened(stores.FILLED_BYTES if size == stores.MEGA else stores.SEGMENT_BYTES) as subjects:
            for store in subjects:
                if size and any(hasattr(store, row.operation) for row in members if row.in_python):
                    store.put(keys, size)
            for _, row, count in itertools.product(range(rounds), members, processes):
                for store_name, ns in measured(row, subjects, core, count):
                    samples.setdefault((row, store_name, count), []).append(ns)
        for row in members:
            result = Result(row)
            for (of, store_name, count), values in samples.items():
                if of is row:
                    result.ns.setdefault(store_name, {})[count] = statistics.median(values)
            print(report.table([result], processes).partition("\n")[2].partition("\n")[2], flush=True)
            results.append(result)
    return results


def run_specials(only: str, rounds: int, core: Native) -> list[tuple[Special, float]]:
    """The measurements that are no loop over keys."""
    return [
        (special, statistics.median(core.special(special.command) for _ in range(rounds)))
        for special in SPECIALS
        if only in special.name
    ]


def run_table(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    rows = [row for row in ROWS if arguments.only in row.name]
    with native.built() as core:
        results = run_rows(rows, arguments.processes, arguments.rounds, core)
        extra = run_specials(arguments.only, arguments.rounds, core)
        memory = {size: core.memory(size) for size in (4, 32, 512)}
    record = stores.versions()
    said = ", ".join(f"{name} {value}" for name, value in record.items())
    print(f"\n{said} ({time.strftime('%F')}); median of {arguments.rounds} rounds")
    waits = ", ".join(f"{ns:.0f} ns in {size} MiB" for size, ns in memory.items())
    print(f"A read that waits for the one before takes {waits} of shared memory.\n")
    if results:
        print(report.table(results, arguments.processes), report.rates(results), "", sep="\n\n")
    if extra:
        print(report.specials(extra))
    if arguments.json is not None:
        measured_rows = [{"row": result.row.name, "ns": result.ns} for result in results]
        special_rows = [{"row": special.name, "ns": ns} for special, ns in extra]
        peers.dump(arguments.json, {"machine": record, "rows": measured_rows, "specials": special_rows})


def main() -> None:
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(prog="bench.table", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="figures per cell; the median counts")
    parser.add_argument("--only", default="", help="measure rows whose name contains this")
    parser.add_argument(
        "--processes", type=lambda text: [int(count) for count in text.split(",")], default=[1, 2, 4, 8, 16]
    )
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers here")
    parser.add_argument("--scale", action="store_true", help="a million objects in 2 GiB")
    parser.add_argument("--purge", action="store_true", help="a tag on 100,000 objects")
    arguments = parser.parse_args()
    if arguments.scale:
        scale.run(arguments.rounds)
    elif arguments.purge:
        purge.run()
    else:
        run_table(arguments)


if __name__ == "__main__":
    main()
