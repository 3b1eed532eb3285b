"""A few hundred inputs for every target of scripts/fuzz, the same ones each time, so that none of them
rots.
"""

from itertools import islice

import pytest

from tests.fuzz.mutate import mutants
from tests.fuzz.target import NAMES, load

INPUTS = 400


@pytest.mark.parametrize("name", NAMES)
def test_a_few_hundred_inputs_break_no_promise(name: str) -> None:
    target = load(name)
    for data in islice(mutants(target.seeds, target.words, seed=1), INPUTS):
        try:
            target.check(data)
        except Exception as error:
            error.add_note(f"the input: {data!r}")
            raise
