"""The results as Markdown: a line per row and store, with the ratios between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.table.rows import Row, Special

IN_C, OURS = "shmcache, C", "shmcache, Python"
PEERS = ("dict", "lmdb", "memcached")


@dataclass(slots=True)
class Result:
    """Median nanoseconds per operation, by store and number of processes."""

    row: Row
    ns: dict[str, dict[int, float]] = field(default_factory=dict)

    def alone(self, store: str) -> float:
        """With the fewest processes."""
        figures = self.ns[store]
        return figures[min(figures)]

    def spread(self, store: str) -> float:
        """The dearest number of processes against the fewest."""
        return max(self.ns[store].values()) / self.alone(store)

    def target(self, store: str) -> float:
        """Nanoseconds, 0 for none; peers have none."""
        return {IN_C: self.row.target_c_ns, OURS: self.row.target_python_ns}.get(store, 0)


def figure(ns: float) -> str:
    """Three digits or so, in nanoseconds."""
    return f"{ns:.1f}" if ns < 100 else f"{ns:,.0f}".replace(",", " ")


def ratio(value: float) -> str:
    """Against a peer: below 1 is cheaper than it."""
    return f"{value:.2f}" if value >= 0.01 else f"{value:.4f}"


def verdict(result: Result, store: str) -> str:
    """Target, and by how much it is missed."""
    target = result.target(store)
    if not target:
        return ""
    missed = result.alone(store) / target
    return f"{figure(target)}: " + ("met" if missed <= 1 else f"missed, {missed:.2f} of it")


def line(result: Result, store: str, processes: Sequence[int]) -> str:
    """One store's costs on one row."""
    costs = [figure(result.ns[store][count]) for count in processes]
    ours = store in (IN_C, OURS)
    ratios = [
        ratio(result.alone(store) / result.alone(peer)) if ours and peer in result.ns else ""
        for peer in PEERS
    ]
    cells = [result.row.name, store, *costs, f"{result.spread(store):.2f}", *ratios, verdict(result, store)]
    return "| " + " | ".join(cells) + " |"


def table(results: Sequence[Result], processes: Sequence[int]) -> str:
    """All rows."""
    head = ["CPU ns per operation", "store", *(f"{count} proc." for count in processes), "max ÷ 1 proc."]
    head += [*(f"÷ {peer}" for peer in PEERS), "target (1 process)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for result in results:
        lines += [line(result, store, processes) for store in (IN_C, OURS, *PEERS) if store in result.ns]
    return "\n".join(lines)


def rates(results: Sequence[Result]) -> str:
    """Bytes per second of the rows that move them."""
    return "\n".join(
        f"{result.row.name}: "
        + ", ".join(f"{store} {result.row.moved_bytes / result.alone(store):.1f} GB/s" for store in result.ns)
        for result in results
        if result.row.moved_bytes
    )


def specials(results: Sequence[tuple[Special, float]]) -> str:
    """The measurements that are no loop over keys."""
    lines = ["| measured in C | us | target us |", "|---|---|---|"]
    for special, ns in results:
        met = "met" if ns <= special.target_ns else f"missed, {ns / special.target_ns:.2f} of it"
        lines.append(f"| {special.name} | {ns / 1000:,.1f} | {special.target_ns / 1000:,.0f}: {met} |")
    return "\n".join(lines)
