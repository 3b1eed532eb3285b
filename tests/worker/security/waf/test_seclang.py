"""Reading SecLang: what rule files say, and what is said about those that cannot be used."""

from pathlib import Path

import pytest

from worker.security.waf.seclang import (
    Action,
    DefaultAction,
    Marker,
    Operator,
    RemoveRules,
    Rule,
    SecLangError,
    Setting,
    Target,
    UpdateActions,
    UpdateTargets,
    parse,
    read,
)

CRS = Path("/usr/share/modsecurity-crs/rules")


def one_rule(text: str) -> Rule:
    (rule,) = parse(text)
    assert isinstance(rule, Rule)
    return rule


def test_a_rule_has_targets_an_operator_and_actions() -> None:
    rule = one_rule("""SecRule ARGS|!ARGS:/^utm_/|&REQUEST_HEADERS:Host "!@within GET POST" \\
        "id:1,\\
        phase:2,\\
        msg:'one, two',\\
        t:urlDecodeUni"
    """)
    assert rule.targets == (
        Target("ARGS"),
        Target("ARGS", "^utm_", is_pattern=True, excludes=True),
        Target("REQUEST_HEADERS", "Host", counts=True),
    )
    assert rule.operator == Operator("within", "GET POST", negated=True)
    assert rule.actions == (
        Action("id", "1"), Action("phase", "2"), Action("msg", "one, two"), Action("t", "urldecodeuni"),
    )  # fmt: skip
    assert (rule.position.file, rule.position.line) == ("rules", 1)


def test_without_an_at_sign_the_operator_is_a_regular_expression() -> None:
    assert one_rule('SecRule ARGS "a@b" "id:1"').operator == Operator("rx", "a@b")
    assert one_rule('SecRule ARGS "!a" "id:1"').operator == Operator("rx", "a", negated=True)


def test_in_quotes_only_an_escaped_quote_loses_its_backslash() -> None:
    assert one_rule(r'SecRule ARGS "@rx \"\\d\s" "id:1"').operator == Operator("rx", r'"\\d\s')


def test_no_byte_of_a_letter_in_utf_8_is_a_space_or_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "one.conf"
    file.write_text("# Ålesund …\nSecRule ARGS à|Å id:1,msg:à,tag:'voilà'\n")
    (rule,) = read(file)
    assert isinstance(rule, Rule) and rule.operator is not None
    assert rule.operator.argument.encode("latin-1").decode() == "à|Å"
    assert [action.value.encode("latin-1").decode() for action in rule.actions] == ["1", "à", "voilà"]


def test_a_continued_line_may_be_empty() -> None:
    assert parse("\\\n\n \\\n\t\n") == []


def test_a_bar_within_a_pattern_separates_no_targets() -> None:
    targets = one_rule('SecRule ARGS:/a|b/|ARGS:c "x" "id:1"').targets
    assert targets == (Target("ARGS", "a|b", is_pattern=True), Target("ARGS", "c"))


def test_every_directive_has_its_type() -> None:
    found = parse("""
        # a comment
        SecMarker END-OF-IT
        SecDefaultAction "phase:1,log,pass"
        SecRuleRemoveById 1 2-5
        SecRuleRemoveByTag attack-sqli
        SecRuleUpdateTargetById 942100 "!ARGS:password"
        SecRuleUpdateActionById 942100 "pass"
        SecCollectionTimeout 600
    """)
    kinds = [Marker, DefaultAction, RemoveRules, RemoveRules, UpdateTargets, UpdateActions, Setting]
    assert [type(directive) for directive in found] == kinds
    assert isinstance(found[2], RemoveRules)
    assert found[2].values == ("1", "2-5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "\n\nSecRul ARGS x", "rules:3: unknown directive 'secrul': did you mean secrule", id="directive"
        ),
        pytest.param(
            'SecRule ARG "x" "id:1"', "rules:1: unknown variable 'ARG': did you mean ARGS", id="variable"
        ),
        pytest.param(
            'SecRule ARGS "@rxx x" "id:1"', "unknown operator '@rxx': did you mean @rx", id="operator"
        ),
        pytest.param('SecRule ARGS "x" "id:1,pas"', "unknown action 'pas': did you mean pass", id="action"),
        pytest.param(
            'SecRule ARGS "x" "id:1,t:lower"', "unknown transformation 't:lower'", id="transformation"
        ),
        pytest.param('SecRule ARGS "x" "id:1,ctl:x=1"', "unknown control 'ctl:x': known are", id="control"),
        pytest.param('SecRule ARGS "@inspectFile x" "id:1"', "@inspectfile is not supported", id="refused"),
        pytest.param('SecRule ARGS "x', "a double quote is not closed", id="quote"),
        pytest.param("SecRule ARGS", "SecRule wants targets, operator and actions, got 1", id="arguments"),
        pytest.param("SecRule ARGS \\", "ends in a continuation line", id="continuation"),
        pytest.param('SecRule REQUEST_URI:x "x" "id:1"', "REQUEST_URI is one value", id="selector"),
        pytest.param('SecRule XML:/a/b "x" "id:1"', "XML knows the selectors /* and //@*", id="xpath"),
        pytest.param('SecRule "" "x" "id:1"', "no target", id="no-target"),
        pytest.param("""SecRule ARGS "x" "id:1,msg:'a" """, "cannot read the actions", id="actions"),
        pytest.param("Include nowhere/*.conf", "no file matches", id="include"),
    ],
)
def test_an_error_says_where_and_what_is_known(text: str, message: str) -> None:
    with pytest.raises(SecLangError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("rules:")


def test_includes_are_relative_to_the_file_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("SecMarker one\nInclude rules/*.conf\nIncludeOptional none*.conf\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "b.conf").write_text("SecMarker three\n")
    (tmp_path / "rules" / "a.conf").write_text("SecMarker two\n")
    names = [marker.name for marker in read(tmp_path / "main.conf") if isinstance(marker, Marker)]
    assert names == ["one", "two", "three"]


def test_a_file_that_includes_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("Include main.conf\n")
    with pytest.raises(SecLangError, match="does a file include itself"):
        read(tmp_path / "main.conf")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SecLangError, match=r"cannot read .*none\.conf: No such file"):
        read(tmp_path / "none.conf")


@pytest.mark.skipif(not CRS.is_dir(), reason="Debian's modsecurity-crs is not installed")
def test_the_whole_core_rule_set_of_debian_is_understood() -> None:
    found = [directive for path in sorted(CRS.glob("*.conf")) for directive in read(path)]
    assert sum(isinstance(directive, Rule) for directive in found) > 750
