"""libmodsecurity as the judge: on Debian's Core Rule Set both engines log the same rules."""

from pathlib import Path

import pytest

from tests.security.oracle import LEVELS, compare
from tests.support.modsecurity import is_installed

CRS = Path("/usr/share/modsecurity-crs/rules")


@pytest.mark.skipif(
    not (is_installed() and CRS.is_dir()), reason="libmodsecurity3 or modsecurity-crs is not installed"
)
@pytest.mark.timeout(400)  # compiling the patterns of a level takes long where cores are few
@pytest.mark.parametrize("level", LEVELS)
def test_the_same_rules_match_at_every_paranoia_level(level: int) -> None:
    found = compare(level, 150, seed=level, every_rule=True)
    assert found.requests == 150
    assert found.percent >= 98, (found.only_theirs, found.only_ours, found.examples)
