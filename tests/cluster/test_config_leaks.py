"""`leaks` in a configuration file: its short and its long form, and what is wrong with others."""

from pathlib import Path

import pytest

from cluster.config import load
from cluster.errors import UsageError
from cluster.leaks import compile_leaks
from worker.reasons import Leak
from worker.security.leaks.finder import finder
from worker.settings import LeakSettings


def loaded(tmp_path: Path, leaks: str) -> LeakSettings | None:
    path = tmp_path / "edge.yaml"
    path.write_text(f"sites: [{{origin: 'http://127.0.0.1:8000', leaks: {leaks}}}]\n")
    [site] = load(path).worker.sites
    [route] = site.routes
    return route.leaks


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("off", None),
        ("false", None),
        ("log", LeakSettings("log")),
        ("mask", LeakSettings("mask")),
        ("replace", LeakSettings("replace")),
        ("{mode: off}", None),
        ("{mode: mask, kinds: card_number}", LeakSettings("mask", (Leak.CARD_NUMBER,))),
        (
            "{mode: log, kinds: [private_key, stack_trace], limit: 2MiB}",
            LeakSettings("log", (Leak.STACK_TRACE, Leak.PRIVATE_KEY), 2 * 1024**2),
        ),
        ("{mode: replace, hold: 8KiB, status: 404}", LeakSettings("replace", hold_bytes=8192, status=404)),
    ],
)
def test_what_is_said_and_meant(tmp_path: Path, said: str, meant: LeakSettings | None) -> None:
    assert loaded(tmp_path, said) == meant


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("hide", "off, log, mask or replace"),
        ("{mode: mask, kinds: [password]}", "stack_trace, sql_error"),
        ("{mode: replace, status: 200}", "a status from 400 to 599"),
        ("{kinds: [private_key]}", "mode"),
        ("{mode: mask, limit: 0}", "a size"),
    ],
)
def test_mistakes_are_told_with_what_is_expected(tmp_path: Path, said: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        loaded(tmp_path, said)


def test_what_is_looked_for_is_compiled_before_the_fork_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("sites: [{origin: 'http://a', leaks: {mode: log, kinds: [private_key, card_number]}}]\n")
    finder.cache_clear()
    compile_leaks(load(path).worker)
    assert finder.cache_info().misses == 1
    finder(frozenset({Leak.CARD_NUMBER, Leak.PRIVATE_KEY}))
    assert finder.cache_info().misses == 1
