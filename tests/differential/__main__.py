"""`python -m tests.differential`: generated scripts at every proxy; who reuses what, who breaks a rule."""

import argparse
import sys
from pathlib import Path

from tests.differential.proxies import PROXIES
from tests.differential.run import run
from tests.differential.tally import report


def main() -> int:
    """Run and print the tables; 1 if edgecluster broke a rule, with the scripts that show it."""
    parser = argparse.ArgumentParser(prog="differential", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--scripts", type=int, default=None, help="so many, however long it takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--proxies", default=",".join(PROXIES), help="which; others than edgecluster are optional"
    )
    parser.add_argument(
        "--examples", type=Path, default=None, help="write two scripts for every difference here"
    )
    arguments = parser.parse_args()
    names = arguments.proxies.split(",")

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    tally = run(names, seed=arguments.seed, count=arguments.scripts, seconds=arguments.seconds, say=say)
    sys.stdout.write(report(tally, names) + "\n")
    for fault in tally.faults[:20]:
        sys.stdout.write(f"\nFAULT {fault}\n")
    if arguments.examples is not None:
        texts = [f"{key}\n" + "\n".join(shown) for key, shown in tally.examples.items()]
        arguments.examples.write_text("\n\n".join(texts) + "\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
