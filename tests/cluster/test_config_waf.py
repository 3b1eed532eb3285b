"""The `waf` section: short and long forms, what routes take over from their site, and what is refused."""

from pathlib import Path

import pytest

from cluster.config import Flags, json_schema, load
from cluster.errors import UsageError
from cluster.judges import waf_words
from worker.settings import ExclusionSettings, JudgeSettings, WafSettings

SITE = "sites: [{origin: http://127.0.0.1:9, routes: [{prefix: /a, waf: %s}]}]\n"


def wafs(tmp_path: Path, text: str, flags: Flags | None = None) -> list[WafSettings | None]:
    file = tmp_path / "edge.yaml"
    file.write_text(text)
    [site] = load(file, flags or Flags()).worker.sites
    return [route.waf for route in sorted(site.routes, key=lambda route: route.prefix)]


def test_without_a_word_of_it_it_logs(tmp_path: Path) -> None:
    assert wafs(tmp_path, "sites: [{origin: http://127.0.0.1:9}]\n") == [WafSettings()]
    assert not WafSettings().blocks


@pytest.mark.parametrize("mode", ["off", "false", "{mode: off}"])
def test_off_is_none(tmp_path: Path, mode: str) -> None:
    assert wafs(tmp_path, SITE % mode) == [WafSettings(), None]


def test_the_innermost_place_decides_key_by_key_and_exclusions_add_up(tmp_path: Path) -> None:
    text = (
        "waf: {mode: block, rules: [crs, /more.conf], threshold: 7, exclude: [xss]}\n"
        "sites:\n"
        "  - origin: http://127.0.0.1:9\n"
        "    waf: {paranoia: 2, exclude: [942100]}\n"
        "    routes:\n"
        "      - prefix: /a\n"
        "        waf:\n"
        "          {threshold: 9, exclude: [{rule: attack-sqli, variable: 'args:q'}], body_limit: 4KiB,\n"
        "           body_wait: 2s, over_limit: refuse}\n"
        "      - {prefix: /b, waf: log}\n"
    )
    rules = (str(tmp_path / "crs"), "/more.conf")
    shared = (ExclusionSettings("xss"), ExclusionSettings("942100"))
    site = JudgeSettings(7, 2, rules, shared)
    route = JudgeSettings(9, 2, rules, (*shared, ExclusionSettings("attack-sqli", "ARGS:q")))
    assert wafs(tmp_path, text) == [
        WafSettings(site, blocks=True),
        WafSettings(route, blocks=True, body_bytes=4096, body_wait_s=2.0, refuses_rest=True),
        WafSettings(site),
    ]


def test_a_flag_wins_over_the_top_of_the_file(tmp_path: Path) -> None:
    blocking, off = wafs(tmp_path, "waf: {mode: log, threshold: 6}\n" + SITE % "off", Flags(waf="block"))
    assert blocking == WafSettings(JudgeSettings(threshold=6), blocks=True)
    assert off is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("waf: blok", "bad value 'blok' for 'waf' (expects off, log or block)"),
        ("waf: {mode: on}", "bad value 'on' for 'waf.mode' (expects off, log or block)"),
        ("waf: {treshold: 5}", "unknown key 'treshold' in 'waf'; did you mean 'threshold'?"),
        ("waf: {paranoia: 5}", "must be at most 4"),
        ("waf: {exclude: [sqly]}", "no detector is named 'sqly': there are agent, command, excess,"),
        ("waf: {exclude: [{rule: xss, variable: ARG}]}", "unknown variable 'ARG'"),
        ("waf: {exclude: [{rule: xss, variable: 'ARGS:/a/'}]}", "must name one member"),
    ],
)
def test_mistakes_are_told_with_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        wafs(tmp_path, f"{text}\nsites: [{{origin: http://127.0.0.1:9}}]\n")
    assert message in str(error.value)
    assert f"{tmp_path / 'edge.yaml'}:1:" in str(error.value)


@pytest.mark.parametrize(
    ("top", "route", "words"),
    [
        ("off", "off", ""),
        ("block", "block", "waf blocks"),
        ("log", "off", "waf only logs ('waf: block' or --waf block enforces it)"),
        ("log", "block", "waf partly blocks, partly only logs ('waf: block' or --waf block enforces it)"),
    ],
)
def test_the_ready_line_says_what_it_does(tmp_path: Path, top: str, route: str, words: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"waf: {top}\n" + SITE % route)
    assert waf_words(load(file).worker) == words


def test_editors_are_told_the_short_form() -> None:
    short, _ = json_schema()["$defs"]["Waf"]["anyOf"]
    assert short["enum"] == ["off", "log", "block", False]
