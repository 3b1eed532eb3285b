"""`python -m bench`: the whole edge beside its peers. See bench/README.md."""

import argparse
from pathlib import Path

from bench import edge


def main() -> None:
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(prog="bench", description=edge.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs per server and row; the median counts")
    parser.add_argument("--seconds", type=int, default=2, help="length of one run")
    parser.add_argument("--only", default="", help="measure rows whose name contains this")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers here")
    arguments = parser.parse_args()
    edge.run(arguments.rounds, arguments.seconds, arguments.only, arguments.json)


if __name__ == "__main__":
    main()
