"""The judges of the WAF: rules found, exclusions applied, patterns kept, matches counted."""

import os
from pathlib import Path

import pytest

from cluster.config import load
from cluster.config.check import waf
from cluster.errors import BootError
from cluster.judges import KEPT, open_judges
from cluster.settings import ClusterSettings
from tests.support import patterns
from tests.support.contexts import make_context
from worker.security.waf.counts import OTHERS, RULES, RuleCounts
from worker.security.waf.judges import RulesError, read_rules, rule_files
from worker.settings import ExclusionSettings, JudgeSettings

RULE = "SecRule ARGS \"@contains %s\" \"id:%d,phase:2,pass,msg:'m',tag:'words',setvar:tx.anomaly_score=+5\"\n"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "crs"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules/b.conf").write_text(RULE % ("two", 2) + RULE % ("three", 3))
    (folder / "rules/a.conf").write_text(RULE % ("one", 1))
    return folder


def settings(tmp_path: Path, waf: str) -> ClusterSettings:
    (tmp_path / "state").mkdir(exist_ok=True)
    file = tmp_path / "edge.yaml"
    file.write_text(f"state_dir: state\nwaf: {waf}\nsites: [{{origin: http://127.0.0.1:9}}]\n")
    return load(file)


def test_of_a_folder_its_setup_comes_first_then_every_file_in_order(rules: Path) -> None:
    names = ["rules/a.conf", "rules/b.conf"]
    assert rule_files([str(rules)]) == [rules / name for name in names]
    (rules / "crs-setup.conf").write_text("")
    (rules / "0.conf").write_text("")
    assert rule_files([str(rules)]) == [rules / name for name in ("crs-setup.conf", "0.conf", *names)]
    (rules / "all.load").write_text("Include rules/*.conf\n")
    assert rule_files([str(rules)]) == [rules / "all.load"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=f"there is no {tmp_path}/none"):
        rule_files([str(tmp_path / "none")])
    with pytest.raises(RulesError, match=f"there are no rules in {tmp_path}"):
        rule_files([str(tmp_path)])


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), [1, 2, 3]),
        ((ExclusionSettings("2"),), [1, 3]),
        ((ExclusionSettings("2-3"),), [1]),
        ((ExclusionSettings("words"),), []),
        ((ExclusionSettings("words", "ARGS:q"),), []),
        ((ExclusionSettings("words", "ARGS:other"),), [1, 2, 3]),
        ((ExclusionSettings("1-2", "ARGS"),), [3]),
    ],
)
def test_exclusions_take_rules_or_variables_out(
    tmp_path: Path, rules: Path, exclude: tuple[ExclusionSettings, ...], left: list[int]
) -> None:
    items = ", ".join(f"{{rule: {one.rule}, variable: '{one.variable}'}}" for one in exclude if one.variable)
    items = items or ", ".join(one.rule for one in exclude)
    wanted = settings(tmp_path, f"{{rules: {rules}, exclude: [{items}]}}")
    patterns.lend(wanted.state_dir)
    [judges] = open_judges(wanted, RuleCounts()).values()
    for judge in (judges.loop, judges.thread):
        judgement = judge.of_head(make_context((b"Host", b"a"), query=b"q=one+two+three"))
        assert [found.rule for found in judgement.found] == [str(number) for number in left]
        assert judgement.score == 5 * len(left)


def test_an_exclusion_of_nothing_is_a_mistake(rules: Path) -> None:
    judge = JudgeSettings(rules=(str(rules),), exclude=(ExclusionSettings("wrods"),))
    with pytest.raises(RulesError, match="excludes 'wrods', and there is no rule, tag or detector"):
        read_rules(judge)


def test_bad_rules_are_told_by_file_and_line_and_fail_check_and_start(tmp_path: Path, rules: Path) -> None:
    (rules / "rules/c.conf").write_text("\nSecRule ARGS\n")
    wanted = settings(tmp_path, f"{{rules: {rules}}}")
    patterns.lend(wanted.state_dir)
    place = f"{rules}/rules/c.conf:2: "
    with pytest.raises(BootError, match=f"cannot use the WAF's rules: {place}"):
        open_judges(wanted, RuleCounts())
    first, _ = waf(wanted)
    assert (first.level, first.message.startswith(place)) == ("error", True)


def test_routes_with_the_same_judge_share_it_and_patterns_are_kept(tmp_path: Path) -> None:
    wanted = settings(tmp_path, "block")
    assert len(open_judges(wanted, RuleCounts())) == 1
    folder = tmp_path / "state/waf"
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for number in range(KEPT + 5):
        (folder / f"old-{number}.hs").write_bytes(b"")
        os.utime(folder / f"old-{number}.hs", (number, number))
    open_judges(wanted, RuleCounts())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # read, not made anew
    assert len(list(folder.iterdir())) == KEPT


def test_a_damaged_file_of_patterns_is_made_anew(tmp_path: Path) -> None:
    wanted = settings(tmp_path, "block")
    open_judges(wanted, RuleCounts())
    kept = {path: path.read_bytes() for path in (tmp_path / "state/waf").iterdir()}
    for path, whole in kept.items():
        path.write_bytes(whole[:-100])
    [judges] = open_judges(wanted, RuleCounts()).values()
    attack = make_context((b"Host", b"a"), query=b"id=1'+or+1=1--")
    assert judges.loop.of_head(attack).refuses
    assert {path: len(path.read_bytes()) for path in kept} == {path: len(kept[path]) for path in kept}


def test_matches_are_counted_by_rule_over_processes_and_their_successors() -> None:
    counts = RuleCounts()
    counts.add_rules(["sqli", "942100"])
    for member in (3, 4, 3):
        pid = os.fork()
        if pid == 0:
            count = counts.of(member)
            count("942100")
            count("unheard of")
            os._exit(0)
        os.waitpid(pid, 0)
    assert counts.totals() == {"942100": 3, OTHERS: 3}


def test_columns_are_bounded() -> None:
    counts = RuleCounts()
    counts.add_rules(str(number) for number in range(2 * RULES))
    count = counts.of(0)
    for number in (0, RULES - 2, RULES - 1, RULES):
        count(str(number))
    assert counts.totals() == {"0": 1, str(RULES - 2): 1, OTHERS: 2}
