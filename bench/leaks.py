"""What it costs to look for leaks: CPU time per 64 KiB of clean text, beside gzip of the same text.

.venv/bin/python -m bench.leaks
"""

import json
import statistics
import zlib
from collections.abc import Callable
from time import process_time_ns

from worker.reasons import Leak
from worker.security.leaks.fetch import SLICE_BYTES
from worker.security.leaks.finder import finder
from worker.security.leaks.inspection import Inspection

SIZE = 64 * 1024
ROUNDS = 7
TIMES = 50


def html() -> bytes:
    items = (
        f'<div class="item" id="i{n}"><a href="/p/{n * 7919}?x=1">Product number {n}</a><p>12.{n % 100} EUR,'
        f" call +49 30 1234567 since 2026-01-02T10:11:12</p></div>\n"
        for n in range(1000)
    )
    return "".join(items).encode()[:SIZE]


def api() -> bytes:
    rows = [
        {"id": 1_700_000_000_000 + n, "name": f"user {n}", "score": n / 7, "email": f"u{n}@example.org"}
        for n in range(1500)
    ]
    return json.dumps(rows).encode()[:SIZE]


def inspect(text: bytes) -> None:
    inspection = Inspection(finder(frozenset(Leak)), 1 << 20)
    for start in range(0, len(text), SLICE_BYTES):
        inspection.feed(text[start : start + SLICE_BYTES], last=start + SLICE_BYTES >= len(text))
    assert not inspection.found


def cost_us(work: Callable[[], object]) -> float:
    """Median over the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begun_ns = process_time_ns()
        for _ in range(TIMES):
            work()
        rounds.append((process_time_ns() - begun_ns) / TIMES / 1000)
    return statistics.median(rounds)


def main() -> None:
    for name, text in (("HTML", html()), ("JSON", api())):
        ours = cost_us(lambda text=text: inspect(text))
        peer = cost_us(lambda text=text: zlib.compress(text, 5))
        print(f"{name}: {ours:.0f} us per 64 KiB ({ours * 16 / 1000:.2f} ms per MiB), gzip -5 {peer:.0f} us")


if __name__ == "__main__":
    main()
