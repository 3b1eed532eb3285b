"""The WAF's compiled patterns, lent to the state directories of tests: to make them takes 2.5 s of CPU.

A test that shows how they are made and kept borrows none.
"""

from pathlib import Path

_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """Lend from there; until then every state directory gets patterns of its own."""
    global _folder
    _folder = folder


def lend(state_dir: Path) -> None:
    """Have an edge on `state_dir`, which has no patterns yet, find those there that others have compiled."""
    kept = state_dir / "waf"
    if _folder is not None and not kept.exists():
        kept.symlink_to(_folder)
