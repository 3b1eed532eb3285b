"""A 2 GiB segment with a million small objects: what a get costs beside ten thousand, what an object takes.

Bodies of 100 to 700 bytes, log-uniform. Both segments have the same size and tables; gets go over all objects
in random order, which is the worst case, and by a Zipf law (0.9), which is what caches see.
"""

from bench.table import native

OBJECTS, SEGMENT_BYTES = 1_000_000, 2 << 30
PATTERNS = (
    ("10,000 objects, random", "few", ""),
    ("10,000 of the million, random", "few_of_many", "few"),
    ("1,000,000 objects, random", "many", "few"),
    ("10,000 objects, Zipf 0.9", "few_zipf", ""),
    ("1,000,000 objects, Zipf 0.9", "many_zipf", "few_zipf"),
)
PARTS = ("entry", "index", "ghosts", "head", "pages")
TARGET_RATIO, TARGET_BYTES, TARGET_WASTE_PERCENT = 1.5, 192, 15


def met(value: float, target: float) -> str:
    """The verdict."""
    return f"at most {target}: {'met' if value <= target else 'missed'}"


def costs(seen: dict[str, float]) -> list[str]:
    """What gets cost, and how many times as much as with 10,000 objects."""
    lines = ["| get copy in C | CPU ns | of 10,000 |", "|---|---|---|"]
    for name, of, beside in PATTERNS:
        grown = seen[of] / seen[beside] if beside else 0
        lines.append(
            f"| {name} | {seen[of]:.1f} | {f'{grown:.2f}, {met(grown, TARGET_RATIO)}' if grown else ''} |"
        )
    return lines


def room(seen: dict[str, float]) -> list[str]:
    """What an object takes beside its key and body."""
    lines = ["| per object | bytes |", "|---|---|", f"| key and body | {seen['stored']:.1f} |"]
    lines += [f"| {part} | {seen[part]:.1f} |" for part in PARTS]
    fixed, percent = sum(seen[part] for part in PARTS), seen["waste_percent"]
    lines.append(f"| overhead together | {fixed:.1f}, {met(fixed, TARGET_BYTES)} |")
    waste = f"{seen['waste']:.1f}, {percent:.1f} % of the chunks, {met(percent, TARGET_WASTE_PERCENT)} %"
    lines.append(f"| waste of the size classes | {waste} |")
    return lines


def run(rounds: int) -> dict[str, float]:
    """Measure and print."""
    with native.built() as core:
        seen = core.scale(OBJECTS, SEGMENT_BYTES, rounds)
    print(
        f"{seen['objects']:.0f} objects in {SEGMENT_BYTES >> 20} MiB, {seen['set']:.0f} ns CPU to store each;"
    )
    print(f"median of {rounds} rounds\n")
    print("\n".join([*costs(seen), "", *room(seen)]))
    return seen
