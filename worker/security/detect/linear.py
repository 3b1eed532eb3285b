"""Patterns of attacks, by RE2: time linear in the value whatever it holds, so that nobody can choose a slow
one.

Case does not count in them, and "." stands for any byte.
"""

from typing import Any

import re2

Pattern = Any  # re2 has no types: `search(bytes)` gives a match or None, `pattern` is the source


def linear(pattern: bytes) -> Pattern:
    """The pattern; groups do not capture."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.dot_nl = True
    options.never_capture = True
    options.log_errors = False
    return re2.compile(pattern, options)


def first(pattern: Pattern, value: bytes) -> bytes | None:
    """The beginning of the first match; None if there is none."""
    found = pattern.search(value)
    return None if found is None else found[0][:100]
