"""`python -m tests.soak`: the long run by hand: a worker killed every 200 ms for a minute, under load."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.soak import kill_workers


def main() -> int:
    """Run, print what happened; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="soak", description=kill_workers.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecluster-soak-") as directory:
        outcome = kill_workers.run(
            Path(directory) / "state", seconds=arguments.seconds, every_s=arguments.every, seed=arguments.seed
        )
    report = outcome.report
    sys.stdout.write(
        f"kills                {outcome.kills}\n"
        f"requests             {report.requests}, of them hits {report.hits}\n"
        f"slot back after      median {statistics.median(outcome.back_s):.3f} s, "
        f"longest {max(outcome.back_s):.3f} s\n"
        f"broken connections   {len(report.broken_ports)}, "
        f"of workers not killed {len(outcome.innocent_breaks)}\n"
        f"refused connects     {report.refused}\n"
        f"wrong bodies         {len(report.wrong_bodies)}\n"
        f"other statuses       {len(report.bad_statuses)}\n"
        f"audit faults         {len(outcome.audit)}\n"
        f"hits at the end      {outcome.late_hits} of {outcome.late_requests}\n"
    )
    wrong = outcome.innocent_breaks or report.wrong_bodies or report.bad_statuses or outcome.audit
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
