"""docs/caching.md names tests for what it claims: each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`([a-z0-9_/]+)::(test_[a-z0-9_]+)`")


def test_every_test_that_the_table_names_is_there() -> None:
    files = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = NAMED.findall((ROOT / "docs/caching.md").read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not any(path.stem == f"test_{file}" and f"def {test}(" in text for path, text in files.items())
    ]
    assert named
    assert missing == []


def test_every_row_has_a_test_or_says_why_not() -> None:
    rows = [line for line in (ROOT / "docs/caching.md").read_text().splitlines() if line.startswith("| ")]
    silent = [
        row
        for row in rows
        if not NAMED.search(row)
        and not re.search(r"\*\*(?:not yet|differs)\*\*|not told|obsolete|^\| (?:Requirement|Key|---)", row)
    ]
    assert silent == []
