"""One figure: a row, a store, a number of processes."""

from collections.abc import Callable
from random import Random

from bench.table.forked import Pass, ns_per_operation
from bench.table.native import Native
from bench.table.rows import Row
from bench.table.stores import Keys, Store

BUDGET_NS = 160_000_000  # of CPU time, per figure
LEAST_NS = 20_000_000  # of CPU time, per process: several of the scheduler's slices


def keys_of(row: Row) -> list[bytes]:
    """All keys of a row."""
    return [f"https://example.org/{row.path}/{number:06}.js".encode() for number in range(row.keys)]


def pass_keys(row: Row, operations: int, seed: int) -> list[bytes]:
    """The keys of one pass, made in the order of their use, so that finding them costs next to nothing."""
    order = list(range(row.keys))
    Random(seed).shuffle(order)
    numbers = [order[at % row.keys] for at in range(operations)]
    return [f"https://example.org/{row.path}/{number:06}.js".encode() for number in numbers]


def check(row: Row, store: Store, keys: Keys) -> None:
    """Every key has a body of the right length, so what is measured is hits."""
    for key in set(keys):
        if row.stored_bytes and len(store.read(key)) != row.stored_bytes:
            raise RuntimeError(f"{store.name} lost {key!r}")


def operation(row: Row, store: Store) -> Callable[[int], Pass]:
    """What a forked child does."""

    def make(member: int) -> Pass:
        store.join(member)
        keys = pass_keys(row, min(row.pass_operations, store.pass_operations), member)
        check(row, store, keys)
        run = getattr(store, row.operation)

        def once() -> int:
            run(keys)
            return len(keys)

        return once

    return make


def budget_ns(processes: int) -> int:
    """What each process spends."""
    return max(BUDGET_NS // processes, LEAST_NS)


def from_python(row: Row, store: Store, processes: int) -> float:
    """CPU nanoseconds per operation."""
    return ns_per_operation(
        operation(row, store), processes, budget_ns=budget_ns(processes), servers=store.servers
    )


def in_c(row: Row, native: Native, processes: int) -> float:
    """CPU nanoseconds per operation."""
    return native.operation(row.operation.replace("_", "-"), row.keys, processes, budget_ns(processes))
