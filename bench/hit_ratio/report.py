"""The table and the chart of what was measured."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from bench.hit_ratio.replay import CORE, DESIGN, POLICIES, Misses
from bench.hit_ratio.trace import Trace

mpl.use("Agg")

Cell = tuple[str, float, str]  # trace, share of its footprint, policy
Results = Mapping[Cell, Misses]

STYLES: dict[str, tuple[str, str, float]] = {  # colour (Okabe and Ito's, told apart by everyone), line, width
    CORE: ("#000000", "-", 2.6),
    DESIGN: ("#E69F00", "--", 2.0),
    "LRU": ("#999999", "-", 1.2),
    "S3-FIFO": ("#0072B2", "-", 1.2),
    "SIEVE": ("#56B4E9", "-", 1.2),
    "ARC": ("#009E73", "-", 1.2),
    "GDSF": ("#D55E00", "-", 1.2),
    "Belady": ("#CC79A7", ":", 1.4),
    "BeladySize": ("#882255", ":", 1.4),
}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def provenance() -> str:
    """Where and when: one line."""
    software = f"kernel {platform.release()}, Python {platform.python_version()}"
    return f"commit {_commit()}, {_processor()}, {software}, {datetime.now(UTC).date()}"


def _cell(results: Results, trace: str, share: float, policy: str) -> str:
    misses = results[trace, share, policy]
    text = f"{misses.objects:.3f} / {misses.bytes:.3f}"
    return f"**{text}**" if policy == CORE else text


def _points(results: Results, trace: str, share: float) -> str:
    core, design = results[trace, share, CORE], results[trace, share, DESIGN]
    return f"{100 * (core.objects - design.objects):+.2f} / {100 * (core.bytes - design.bytes):+.2f}"


def table(results: Results, traces: Sequence[Trace], shares: Sequence[float]) -> str:
    """Markdown: a section per trace, a row per policy, `objects missed / bytes missed` per size."""
    lines = []
    for trace in traces:
        lines += [
            f"### {trace.name}",
            "",
            f"{trace.requests:,} requests, {trace.objects:,} objects of {trace.footprint / 1e9:.1f} GB.",
            "",
            "| policy | " + " | ".join(f"{share:.1%}" for share in shares) + " |",
            "|---|" + "---|" * len(shares),
        ]
        for policy in POLICIES:
            cells = (_cell(results, trace.name, share, policy) for share in shares)
            lines.append(f"| {policy} | " + " | ".join(cells) + " |")
        cells = (_points(results, trace.name, share) for share in shares)
        lines += [f"| *{CORE} over {DESIGN}, points* | " + " | ".join(cells) + " |", ""]
    return "\n".join(lines)


def chart(results: Results, traces: Sequence[Trace], shares: Sequence[float], path: Path) -> None:
    """A PNG: a column per trace, objects missed above, bytes missed below, a line per policy."""
    figure, axes = pyplot.subplots(
        2, len(traces), figsize=(3.1 * len(traces) + 0.6, 6.6), sharex=True, sharey="row", squeeze=False
    )
    for column, trace in enumerate(traces):
        for row, kind in enumerate(("objects", "bytes")):
            axis = axes[row][column]
            for policy, (colour, line, width) in STYLES.items():
                missed = [100 * getattr(results[trace.name, share, policy], kind) for share in shares]
                front = 3 if policy == CORE else 2
                axis.plot(shares, missed, line, color=colour, linewidth=width, label=policy, zorder=front)
            axis.set_xscale("log")
            axis.set_xticks(shares, [f"{share:.1%}" for share in shares])
            axis.minorticks_off()
            axis.grid(axis="y", alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0][column].set_title(trace.name)
        axes[1][column].set_xlabel("cache size, of the footprint")
    axes[0][0].set_ylabel("requests missed, %")
    axes[1][0].set_ylabel("bytes missed, %")
    figure.suptitle("Hit ratio of the real core beside known policies (lower is better)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
