"""What is done once: rules whose outcome is known become what they set, and what cannot happen goes."""

import pytest

from worker.security.waf import seclang
from worker.security.waf.program import Assign, Program, program
from worker.security.waf.ruleset import Rule, build

READS = 'SecRule ARGS "@streq %{tx.a}%{tx.b}" "id:90,phase:2,log"\n'


def made(rules: str) -> Program:
    return program(build(seclang.parse(rules)))


def ids(found: Program) -> list[int]:
    return [rule.id for rule in found.rules]


def assigned(found: Program) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for entries in found.phases.values():
        for entry in entries:
            if isinstance(entry, Assign):
                values.update(entry.values)
    return values


def test_what_is_always_set_is_set_without_rules() -> None:
    found = made(
        """
        SecAction "id:1,phase:1,nolog,setvar:tx.a=1"
        SecRule &TX:a "@eq 0" "id:2,phase:1,nolog,setvar:tx.a=9"
        SecRule &TX:b "@eq 0" "id:3,phase:1,nolog,setvar:'tx.b=%{tx.a}'"
        SecRule TX:a "@ge 1" "id:4,phase:1,nolog,setvar:tx.b=+2"
        """
        + READS
    )
    assert (ids(found), assigned(found)) == ([90], {b"a": b"1", b"b": b"3"})


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param('SecRule TX:a "@eq 1" "id:2,phase:1,log"', id="reports"),
        pytest.param('SecRule TX:a "@eq 1" "id:2,phase:1,nolog,deny"', id="denies"),
        pytest.param('SecRule TX:a "@eq 1" "id:2,phase:1,nolog,ctl:ruleEngine=Off"', id="controls"),
        pytest.param('SecRule ARGS "1" "id:2,phase:1,nolog,setvar:tx.b=1"', id="looks-at-the-request"),
        pytest.param("SecAction \"id:2,phase:1,nolog,setvar:'tx.b=%{REMOTE_ADDR}'\"", id="sets-from-it"),
    ],
)
def test_what_depends_on_the_request_or_does_more_than_set_stays(rule: str) -> None:
    assert ids(made(f'SecAction "id:1,phase:1,nolog,setvar:tx.a=1"\n{rule}\n{READS}')) == [2, 90]


def test_what_is_jumped_over_for_every_request_goes() -> None:
    found = made(
        """
        SecRule &TX:shop "@eq 0" "id:1,phase:2,nolog,skipAfter:END-SHOP"
        SecRule ARGS "1" "id:2,phase:2,log"
        SecMarker END-SHOP
        SecRule ARGS "1" "id:3,phase:2,log"
        """
    )
    assert ids(found) == [3]


def test_behind_a_jump_that_may_happen_nothing_skipped_is_taken_for_granted() -> None:
    found = made(
        """
        SecRule ARGS "1" "id:1,phase:1,nolog,skipAfter:END"
        SecAction "id:2,phase:1,nolog,setvar:tx.a=1"
        SecMarker END
        SecRule TX:a "@eq 1" "id:3,phase:1,nolog,setvar:tx.b=x"
        """
        + READS
    )
    assert ids(found) == [1, 3, 90]
    first = found.phases[1][0]
    assert isinstance(first, Rule)
    assert found.phases[1][first.jump] is found.rules[1]


def test_a_variable_set_within_a_chain_is_not_known_to_its_next_link() -> None:
    found = made(
        """
        SecRule ARGS "(.)" "id:1,phase:2,log,capture,chain"
            SecRule TX:1 "@streq a"
        """
    )
    assert ids(found) == [1]


def test_a_rule_that_another_may_switch_off_stays() -> None:
    rules = """
        SecRule ARGS "1" "id:1,phase:1,nolog,ctl:ruleRemoveById=2"
        SecAction "id:2,phase:1,nolog,setvar:tx.a=1"
    """
    assert ids(made(rules + READS)) == [1, 2, 90]


def test_arguments_that_are_known_are_put_in() -> None:
    found = made(
        """
        SecAction "id:1,phase:1,nolog,setvar:'tx.methods=GET POST'"
        SecRule REQUEST_METHOD "!@within %{tx.methods}" "id:2,phase:1,log"
        """
    )
    (rule,) = found.rules
    assert rule.links[0].argument.text == "GET POST"
    assert rule.links[0].match is not None
    assert rule.links[0].match(b"POST") == ()


def test_what_has_no_effect_goes() -> None:
    rules = """
        SecRule ARGS "1" "id:1,phase:1,nolog,setvar:tx.nobody_asks=1"
        SecRule ARGS "1" "id:2,phase:1,nolog,ctl:auditEngine=On"
    """
    assert ids(made(rules)) == []


def test_nothing_goes_when_a_rule_asks_what_the_one_before_it_matched() -> None:
    rules = """
        SecRule ARGS "1" "id:1,phase:2,nolog"
        SecRule MATCHED_VAR "@streq 1" "id:2,phase:2,log"
    """
    assert ids(made(rules)) == [1, 2]
