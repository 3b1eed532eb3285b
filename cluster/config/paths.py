"""Where files are: what a configuration says of them, seen from where it stands, and the state directory."""

import os
from pathlib import Path


def default_state_dir() -> Path:
    """/var/lib/edgecluster for root, else $XDG_STATE_HOME/edgecluster or ~/.local/state/edgecluster."""
    if os.geteuid() == 0:
        return Path("/var/lib/edgecluster")
    home = os.environ.get("XDG_STATE_HOME", "")
    # The XDG Base Directory Specification has relative paths ignored.
    return (Path(home) if home.startswith("/") else Path.home() / ".local/state") / "edgecluster"


def absolute(path: str, base: Path) -> Path:
    """`path` seen from the directory `base`, with ~ expanded."""
    return Path(os.path.normpath(base / Path(path).expanduser()))
