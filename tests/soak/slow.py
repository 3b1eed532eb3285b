"""Slow attacks while good clients are served: `scripts/soak-slow`.

slowhttptest attacks in each of its modes from one address, wrk asks from another: from ::1 and 127.0.0.1,
since neither can choose where it comes from. Half of wrk's requests are hits of the cache. The edge has room
for fewer connections than the attacker opens, so that it has to make room; good clients may not notice it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer

CONNECTIONS = 500  # per worker: fewer than the attacker opens
LARGE = 1024 * 1024
WAIT_S = 120.0

CONFIG = """
listen: [http://127.0.0.1:0, "http://[::1]:0"]
admin: http://127.0.0.1:0
limits: {{ connections: {connections}, header_timeout: 5s, body_timeout: 5s, send_timeout: 5s{more} }}
sites: [{{ origin: {origin} }}]
"""

# What slowhttptest is told, by mode: its own way of being slow.
MODES = {
    "slow headers": ["-H", "-i", "2", "-x", "24"],
    "slow body": ["-B", "-i", "2", "-s", "8192", "-x", "10"],
    "slow read": ["-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32", "-k", "3"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
}


@dataclass(slots=True)
class Outcome:
    """What became of one mode."""

    mode: str
    requests: int
    errors: int
    longest_ms: float
    rate: float
    opened: int  # by the attacker, as it says itself
    turned_away: dict[str, int]
    wrk: str


def page(request: Recorded) -> Step:
    if request.target == "/large":
        return answer(b"x" * LARGE, headers="Cache-Control: max-age=600")
    if request.target == "/miss":
        return answer(b"fresh", headers="Cache-Control: no-store")
    return answer(b"hello" * 200, headers="Cache-Control: max-age=600")


def run(edge: ConfiguredEdge, mode: str, directory: Path, *, seconds: int, attackers: int) -> Outcome:
    """Attack for so long, and ask all the while."""
    attacked, asked = edge.cluster.urls
    before = _turned_away(edge)
    script = directory / "paths.lua"
    script.write_text(
        "local n = 0\nrequest = function() n = n + 1\n"
        'return wrk.format("GET", n % 2 == 0 and "/miss" or "/hit") end\n'
    )
    attack = [
        "slowhttptest", *MODES[mode], "-c", str(attackers), "-r", str(attackers // 4), "-l", str(seconds),
        "-u", f"{attacked}/{'large' if mode in ('slow read', 'ranges') else 'form'}", "-p", "5",
    ]  # fmt: skip
    with _running(attack, directory / "attack.out") as out:
        wrk = subprocess.run(
            ["wrk", "-t1", "-c16", f"-d{seconds - 2}s", "--timeout", "5s", "--latency", "-s", script, asked],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    said = out.read_text(errors="replace")
    after = _turned_away(edge)
    errors = [
        int(number) for line in re.findall(r"Socket errors: (.*)", wrk) for number in re.findall(r"\d+", line)
    ]
    errors += [int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", wrk)]
    longest = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", wrk)
    assert longest is not None, wrk
    return Outcome(
        mode=mode,
        requests=_number(r"(\d+) requests in", wrk),
        errors=sum(errors),
        longest_ms=float(longest[1]) * {"us": 0.001, "ms": 1, "s": 1000}[longest[2]],
        rate=float((re.search(r"Requests/sec:\s+([\d.]+)", wrk) or ["", "0"])[1]),
        opened=_opened(said),
        turned_away={
            reason: after[reason] - before[reason] for reason in after if after[reason] > before[reason]
        },
        wrk=wrk,
    )


_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STATE = re.compile(r"(initializing|pending|connected|error|closed):\s+(\d+)")


def _opened(said: str) -> int:
    """How many connections slowhttptest says it has begun, in the last of its reports."""
    last = dict(_STATE.findall(_COLOUR.sub("", said)))
    return sum(map(int, last.values()))


@contextmanager
def _running(command: list[str], output: Path) -> Iterator[Path]:
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield output
        process.wait(WAIT_S)  # it ends by itself, and tells only then
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1])


def _turned_away(edge: ConfiguredEdge) -> dict[str, int]:
    with urlopen(f"{edge.cluster.admin_url}/metrics") as response:
        text = response.read().decode()
    found = re.findall(r'^edgecluster_turned_away_total{reason="([^"]+)"} (\d+)$', text, re.MULTILINE)
    return {reason: int(number) for reason, number in found}


def main() -> int:
    """Run, print what happened; 1 if a good client had an error."""
    parser = argparse.ArgumentParser(prog="soak-slow", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="of each mode")
    parser.add_argument("--attackers", type=int, default=2000, help="connections that slowhttptest opens")
    parser.add_argument("--per-address", type=int, default=0, help="limits: connections_per_address")
    arguments = parser.parse_args()
    for program in ("slowhttptest", "wrk"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed (Debian: apt install {program})")
    more = f", connections_per_address: {arguments.per_address}" if arguments.per_address else ""
    wrong = 0
    with ScriptedOrigin(page) as origin, tempfile.TemporaryDirectory(prefix="edgecluster-soak-") as directory:
        text = CONFIG.format(origin=origin.url, connections=CONNECTIONS, more=more)
        with configured_edge(Path(directory), text) as edge:
            for mode in MODES:
                outcome = run(
                    edge, mode, Path(directory), seconds=arguments.seconds, attackers=arguments.attackers
                )
                wrong += outcome.errors
                sys.stdout.write(
                    f"{outcome.mode:<13} attacker opened {outcome.opened}, "
                    f"good requests {outcome.requests} ({outcome.rate:.0f}/s), errors {outcome.errors}, "
                    f"longest {outcome.longest_ms:.0f} ms, turned away {outcome.turned_away}\n"
                )
                if outcome.errors:
                    sys.stdout.write(outcome.wrk)
                sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
