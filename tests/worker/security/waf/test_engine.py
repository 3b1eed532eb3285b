"""Rules at work: chains, jumps, scores, controls, and what comes out."""

import pytest

from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.ruleset import build
from worker.security.waf.seclang import SecLangError
from worker.security.waf.state import State
from worker.security.waf.transaction import HttpRequest, HttpResponse, Limits

# Variables nobody reads are not kept; this one reads them all.
READER = '\nSecRule TX:/./ "@unconditionalMatch" "id:99999,phase:5,log"'


def inspected(
    rules: str,
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    body: bytes = b"",
    enforces: bool = False,
) -> State:
    engine = Engine(build(seclang.parse(rules + READER)), enforces=enforces)
    state = engine.inspect(HttpRequest(b"GET", target, b"1.1", fields, body, "192.0.2.1"))
    engine.finish(state)
    state.matched = [matched for matched in state.matched if matched.id != 99999]
    return state


def ids(state: State) -> list[int]:
    return [matched.id for matched in state.matched]


def tx(state: State, name: bytes) -> bytes | None:
    return state.transaction.tx.get(name)


def test_a_match_says_rule_variable_part_message_and_score() -> None:
    state = inspected(
        """SecRule ARGS "@rx b+" "id:7,phase:2,log,t:lowercase,severity:CRITICAL,tag:x,capture,\\
           msg:'in %{MATCHED_VAR_NAME}',logdata:'%{TX.0}',setvar:tx.anomaly_score_pl1=+5" """,
        b"/?q=aBBc",
    )
    (found,) = state.matched
    assert (found.id, found.variable, found.part, found.message) == (7, "ARGS:q", b"bb", "in ARGS:q")
    assert (found.data, found.severity, found.tags, found.score) == ("bb", "critical", ("x",), 5)


@pytest.mark.parametrize(
    ("rule", "target", "matches"),
    [
        ('ARGS:a "1"', b"/?A=1", True),
        ('ARGS:/^a/ "1"', b"/?ab=1", True),
        ('ARGS|!ARGS:a "1"', b"/?a=1", False),
        ('ARGS|!ARGS:/^a/ "1"', b"/?ab=1&c=1", True),
        ('&ARGS "@eq 2"', b"/?a&b", True),
        ('&ARGS:a "@eq 0"', b"/?b", True),
        ('ARGS:a "!@rx 1"', b"/?b=2", False),
        ('ARGS_NAMES "b"', b"/?b=2", True),
        ('REQUEST_URI "!@rx x"', b"/", True),
        ('ARGS "@streq %{REQUEST_METHOD}"', b"/?a=GET", True),
        ('ARGS "@rx ^%{tx.none}$"', b"/?a=", True),
        ('REMOTE_ADDR "@ipMatch 192.0.2.0/24"', b"/", True),
        ('RULE:id "@eq 1"', b"/", True),
    ],
)  # fmt: skip
def test_targets_choose_what_is_looked_at(rule: str, target: bytes, matches: bool) -> None:
    assert ids(inspected(f'SecRule {rule} "id:1,phase:2,log,pass"', target)) == ([1] if matches else [])


def test_a_chain_matches_as_a_whole_but_sets_variables_link_by_link() -> None:
    rules = """
        SecRule ARGS:a "1" "id:1,phase:2,log,chain,setvar:tx.first=1"
            SecRule ARGS:b "1" "setvar:tx.second=1"
    """
    half, whole = inspected(rules, b"/?a=1&b=2"), inspected(rules, b"/?a=1&b=1")
    assert (ids(half), tx(half, b"first"), tx(half, b"second")) == ([], b"1", None)
    assert (ids(whole), tx(whole, b"second")) == ([1], b"1")


def test_variables_are_set_per_matching_value() -> None:
    state = inspected('SecRule ARGS "1" "id:1,phase:2,setvar:tx.n=+2"', b"/?a=1&b=1&c=2")
    assert tx(state, b"n") == b"4"


def test_variables_can_be_set_changed_and_removed() -> None:
    state = inspected(
        """SecAction "id:1,phase:1,nolog,setvar:tx.a=5,setvar:tx.A=+%{tx.a},setvar:'tx.b=%{tx.a}-x',\\
           setvar:tx.c,setvar:tx.d=1,setvar:!tx.d,setvar:tx.e=-2" """
    )
    assert state.transaction.tx == {b"a": b"10", b"b": b"10-x", b"c": b"1", b"e": b"-2"}


def test_captures_are_there_for_the_rules_behind() -> None:
    rules = """
        SecRule ARGS:a "(x)(y)?(z)" "id:1,phase:2,nolog,capture"
        SecRule TX:3 "@streq z" "id:2,phase:2,log"
        SecRule &TX:2 "@eq 0" "id:3,phase:2,log"
    """
    assert ids(inspected(rules, b"/?a=xz")) == [2, 3]


def test_matched_variables_last_until_a_rule_does_not_match() -> None:
    rules = """
        SecRule ARGS "1" "id:1,phase:2,nolog,chain"
            SecRule MATCHED_VARS_NAMES "@streq ARGS:b" "log"
        SecRule MATCHED_VAR "@streq ARGS:b" "id:2,phase:2,log"
        SecRule ARGS "none" "id:3,phase:2,nolog"
        SecRule MATCHED_VAR "@streq " "id:4,phase:2,log"
    """
    assert ids(inspected(rules, b"/?a=1&b=1")) == [2, 4]


def test_multi_match_looks_at_every_form() -> None:
    rules = 'SecRule ARGS "%3c" "id:1,phase:2,log,{}t:urlDecodeUni,t:lowercase"'
    assert ids(inspected(rules.format(""), b"/?a=%253C")) == []
    assert ids(inspected(rules.format("multiMatch,"), b"/?a=%25253C")) == [1]


@pytest.mark.parametrize("jump", ["skip:1", "skipAfter:END"])
def test_rules_can_be_jumped_over(jump: str) -> None:
    rules = f"""
        SecAction "id:1,phase:2,nolog,{jump}"
        SecAction "id:2,phase:2,log"
        SecMarker END
        SecAction "id:3,phase:2,log"
    """
    assert ids(inspected(rules)) == [3]


@pytest.mark.parametrize(
    ("control", "left"),
    [
        ("ruleRemoveById=2", [3]),
        ("ruleRemoveById=2-3", []),
        ("ruleRemoveByTag=t", [3]),
        ("ruleRemoveTargetById=2;ARGS:a", [3]),
        ("ruleRemoveTargetById=2;ARGS", [3]),
        ("ruleRemoveTargetById=1-99999999999;ARGS", []),
        ("ruleRemoveTargetByTag=t;ARGS:a", [3]),
        ("ruleEngine=Off", []),
    ],
)
def test_a_rule_can_switch_others_off(control: str, left: list[int]) -> None:
    rules = f"""
        SecAction "id:1,phase:1,nolog,ctl:{control}"
        SecRule ARGS "1" "id:2,phase:2,log,tag:t"
        SecRule ARGS "1" "id:3,phase:2,log"
    """
    assert ids(inspected(rules, b"/?a=1")) == left


@pytest.mark.parametrize(
    ("directive", "left"),
    [
        ("SecRuleRemoveById 2", [3]),
        ("SecRuleRemoveByTag t", [3]),
        ("SecRuleRemoveByMsg one", [3]),
        ('SecRuleUpdateTargetById 2 "!ARGS:a"', [3]),
        ('SecRuleUpdateTargetByTag t "!ARGS"', [3]),
        ('SecRuleUpdateActionById 2 "nolog"', [3]),
    ],
)
def test_directives_can_change_rules_before_them(directive: str, left: list[int]) -> None:
    rules = f"""
        SecRule ARGS "1" "id:2,phase:2,log,tag:t,msg:'one'"
        SecRule ARGS "1" "id:3,phase:2,log"
        {directive}
    """
    assert ids(inspected(rules, b"/?a=1")) == left


def test_the_body_can_be_given_to_another_reader() -> None:
    rules = """
        SecRule REQUEST_HEADERS:Content-Type "json" "id:1,phase:1,nolog,ctl:requestBodyProcessor=JSON"
        SecRule ARGS:json.a "1" "id:2,phase:2,log"
    """
    assert ids(inspected(rules, b"/", (b"Content-Type", b"application/json"), body=b'{"a": 1}')) == [2]


def test_defaults_say_what_block_means() -> None:
    rules = 'SecDefaultAction "phase:2,nolog,deny,status:406"\nSecRule ARGS "1" "id:1,phase:2,block"'
    state = inspected(rules, b"/?a=1")
    assert state.intervention is not None
    assert (state.intervention.action, state.intervention.status, ids(state)) == ("deny", 406, [])
    passing = inspected(rules.replace("deny", "pass"), b"/?a=1")
    assert passing.intervention is None


def test_a_denial_ends_the_pass_only_when_it_is_enforced() -> None:
    rules = 'SecAction "id:1,phase:1,deny,log"\nSecAction "id:2,phase:1,log"'
    assert ids(inspected(rules)) == [1, 2]
    enforced = inspected(rules, enforces=True)
    assert (ids(enforced), enforced.is_blocked) == ([1], True)


def test_answers_are_looked_at_in_phases_3_and_4() -> None:
    rules = """
        SecRule RESPONSE_STATUS "^5" "id:1,phase:3,log"
        SecRule RESPONSE_BODY "SQL" "id:2,phase:4,log"
    """
    engine = Engine(build(seclang.parse(rules)))
    state = engine.inspect(HttpRequest(b"GET", b"/", b"1.1", ()))
    engine.response(state, HttpResponse(500, b"1.1", (), b"SQL syntax"))
    assert ids(state) == [1, 2]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ('SecRule ARGS "x" "phase:1"', "a rule without an id"),
        ('SecAction "id:1"\nSecAction "id:1"', "rules:2: rule 1 is already at rules:1"),
        ('SecAction "id:1,phase:9"', "there is no phase 9"),
        ('SecRule ARGS "x" "id:1,chain"', "the chain of rule 1 is not finished"),
        ('SecRule ARGS "x" "id:1,chain"\nSecMarker m', "rule 1 is a chain, and no rule follows"),
        ('SecRule ARGS "(" "id:1"', "rules:1: @rx: "),
        ('SecAction "id:1,setvar:args.x=1"', "wants collection.name"),
        ('SecAction "id:1,severity:loud"', "unknown severity 'loud'"),
        ('SecRuleUpdateActionById 1 "pass"', "there is no rule 1"),
        (f'SecAction "id:{"9" * 5000}"', "id wants a number of at most 18 digits"),
        (f'SecAction "id:1,severity:{"9" * 5000}"', "unknown severity"),
    ],
)
def test_rules_that_make_no_sense_are_errors_with_their_place(rules: str, message: str) -> None:
    with pytest.raises(SecLangError) as caught:
        build(seclang.parse(rules))
    assert message in str(caught.value)


def test_a_request_that_takes_longer_than_is_granted_is_denied() -> None:
    rules = build(
        seclang.parse('SecRule ARGS|REQUEST_HEADERS "@rx a\\s+b" "id:1,phase:2,log,deny,t:urlDecodeUni"')
    )
    long = b"%20b" * 4096
    form = ((b"content-type", b"application/x-www-form-urlencoded"),)
    requests = [
        HttpRequest(b"GET", b"/?q=" + long, b"1.1", ()),
        HttpRequest(b"GET", b"/", b"1.1", ((b"x", long),)),
        HttpRequest(b"POST", b"/", b"1.1", form, b"q=" + long),
    ]
    patient = Engine(rules)
    hasty = Engine(rules, limits=Limits(budget_ns=0))
    for one in requests:
        assert patient.judge(one).intervention is None
        verdict = hasty.judge(one)
        assert [matched.message for matched in verdict.matched] == ["takes too long to inspect"]
        assert verdict.intervention is not None and verdict.intervention.status == 403
        assert hasty.inspect(one).is_blocked
    assert hasty.judge(HttpRequest(b"GET", b"/?q=a", b"1.1", ())).intervention is None


def test_an_argument_that_is_known_and_means_nothing_is_an_error_with_its_place() -> None:
    rules = """SecAction "id:1,phase:1,nolog,setvar:tx.from=nowhere"
        SecRule REMOTE_ADDR "@ipMatch %{tx.from}" "id:2,phase:1,log"
    """
    with pytest.raises(SecLangError, match=r"rules:2: @ipmatch: 'nowhere' does not appear to be"):
        Engine(build(seclang.parse(rules)))


def test_an_argument_that_a_request_makes_nonsense_of_matches_nothing() -> None:
    rules = """
        SecRule ARGS:from "@rx (.*)" "id:1,phase:1,log,capture"
        SecRule REMOTE_ADDR "@ipMatch %{tx.1}" "id:2,phase:1,log"
    """
    assert ids(inspected(rules, b"/?from=192.0.2.0/24")) == [1, 2]
    assert ids(inspected(rules, b"/?from=nowhere")) == [1]


def test_rules_in_a_text_are_read_as_from_a_file_in_utf_8() -> None:
    assert ids(inspected('SecRule ARGS "@streq Ã¤€" "id:1,phase:1,log"', b"/?a=%c3%83%c2%a4%e2%82%ac")) == [1]
