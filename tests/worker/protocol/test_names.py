"""Which name a client means."""

import pytest

from worker.protocol.names import choose

NAMES = {"a.test": 1, "*.a.test": 2, "www.a.test": 3}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("a.test", 1),
        ("A.Test.", 1),
        ("www.a.test", 3),
        ("x.a.test", 2),
        ("x.y.a.test", None),
        ("test", None),
        ("", None),
        ("b.test", None),
        (None, None),
    ],
)
def test_exact_before_wildcard_for_one_label(asked: str | None, found: int | None) -> None:
    assert choose(NAMES, asked) == found
