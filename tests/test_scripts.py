"""The scripts: plain sh, and what they do about missing packages, with stand-ins for apt-get and sudo."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"] if path.is_file())

# Fails to install until the lists were fetched, as on a machine where that never happened.
APT_GET = """#!/bin/sh
echo "$*" >>"$CALLS"
case $1 in
update) : >"$CALLS.fetched" ;;
install) [ -e "$CALLS.fetched" ] || { echo "E: Unable to locate package"; exit 100; } ;;
esac
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_plain_sh(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    first = script.read_text().partition("\n")[0]
    assert (first == "#!/bin/sh") == bool(script.stat().st_mode & 0o111) == (script.name != "lib.sh")


def shell(
    tmp_path: Path, command: str, *, user: int, programs: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run `command` after lib.sh as that user with only these programs; also what apt-get was asked."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    programs = {"id": f"#!/bin/sh\necho {user}\n", **programs}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name in ("env", "mktemp", "rm", "tail"):
        os.symlink(f"/usr/bin/{name}", folder / name)
    done = subprocess.run(
        ["/bin/sh", "-c", f". {ROOT}/scripts/lib.sh; {command}"],
        env={"PATH": str(folder), "CALLS": str(calls)},
        text=True,
        capture_output=True,
        timeout=60,
    )
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_nothing_missing_needs_nothing(tmp_path: Path) -> None:
    done, calls = shell(tmp_path, "install_packages $(missing_commands id env)", user=1000, programs={})
    assert (done.returncode, done.stderr, calls) == (0, "", [])


def test_missing_commands_are_named(tmp_path: Path) -> None:
    done, _ = shell(tmp_path, "missing_commands id no-such-thing nor-this", user=0, programs={})
    assert done.stdout.split() == ["no-such-thing", "nor-this"]


def test_who_may_not_install_is_told_what_to_type(tmp_path: Path) -> None:
    programs = {"apt-get": APT_GET, "sudo": "#!/bin/sh\nexit 1\n"}  # sudo would ask for a password
    done, calls = shell(tmp_path, "install_packages wrk curl; echo went on", user=1000, programs=programs)
    assert done.returncode == 1
    assert "sudo apt-get install -y wrk curl\n" in done.stderr
    assert (done.stdout, calls) == ("", [])


def test_without_apt_the_names_are_told(tmp_path: Path) -> None:
    done, _ = shell(tmp_path, "install_packages wrk", user=0, programs={})
    assert done.returncode == 1
    assert "missing: wrk" in done.stderr


@pytest.mark.parametrize("user", [0, 1000])
def test_who_may_install_does_and_fetches_the_lists_first_if_need_be(tmp_path: Path, user: int) -> None:
    programs = {
        "apt-get": APT_GET,
        "sudo": '#!/bin/sh\n[ "$1" = -n ] || exit 1\nshift\nexec "$@"\n',
        "true": "#!/bin/sh\n",
    }
    done, calls = shell(tmp_path, "install_packages wrk; echo went on", user=user, programs=programs)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    install = "install -y -q --no-install-recommends wrk"
    assert calls == [install, "update -q", install]


def test_a_failed_installation_shows_why_and_stops(tmp_path: Path) -> None:
    broken = '#!/bin/sh\necho "E: no such package"\nexit 100\n'
    done, _ = shell(tmp_path, "install_packages wrk; echo went on", user=0, programs={"apt-get": broken})
    assert (done.returncode, done.stdout) == (1, "")
    assert "E: no such package" in done.stderr
    assert "could not install: wrk" in done.stderr
