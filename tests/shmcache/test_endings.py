"""The named numbers of leases are those of the C code."""

from enum import IntEnum

import pytest

from shmcache import Claim, Ending, core
from tests.support.regions import SOURCES


@pytest.mark.parametrize(("kind", "enum"), [(Claim, "lease_answer"), (Ending, "lease_ending")])
def test_the_names_are_those_of_the_header_and_stand_for_the_numbers_of_the_core(
    kind: type[IntEnum], enum: str
) -> None:
    listed = (SOURCES / "lease.h").read_text().partition(f"enum {enum} {{")[2].partition("}")[0]
    words = [line.partition("/*")[0] for line in listed.splitlines()]
    names = [word.strip().removeprefix("LEASE_") for word in "".join(words).split(",")]
    assert [member.name for member in kind] == names
    assert {member.name: member.value for member in kind} == {name: getattr(core, name) for name in names}
