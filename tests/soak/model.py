"""`python -m tests.soak.model`: the segment against its model for as long as you like, by hand.

Runs the state machine of tests/shmcache/test_model.py again and again, with longer examples than the tests
have time for, and prints how many examples and steps were run. A difference ends it with the shortest one.
"""

import argparse
import sys
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.shmcache.test_model import SegmentAgainstModel

EXAMPLES_AT_ONCE = 100


class Counted(SegmentAgainstModel):
    """The machine, counting."""

    examples = steps = 0

    @invariant()
    def one_more(self) -> None:
        Counted.steps += 1

    def teardown(self) -> None:
        Counted.examples += 1
        super().teardown()


def main() -> int:
    """Run for the time asked for; 1 if cache and model differed."""
    parser = argparse.ArgumentParser(prog="soak-model", description="The segment against its model.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--steps", type=int, default=100, help="the longest example")
    arguments = parser.parse_args()
    options = settings(
        max_examples=EXAMPLES_AT_ONCE,
        stateful_step_count=arguments.steps,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    until = time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        run_state_machine_as_test(Counted, settings=options)
    sys.stdout.write(f"examples {Counted.examples}\nsteps    {Counted.steps}\nno difference\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
