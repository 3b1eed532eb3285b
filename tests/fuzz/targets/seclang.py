"""Rule files: what is read is a set of rules that can be run, or an error that says in which line."""

import re

from worker.security.waf import ruleset, seclang
from worker.security.waf.engine import Engine
from worker.security.waf.seclang import SecLangError
from worker.security.waf.transaction import HttpRequest
from worker.security.waf.words import ACTIONS, COLLECTIONS, CONTROLS, OPERATORS, SCALARS

SEEDS = (
    b"""# one
SecRule ARGS|!ARGS:x|&REQUEST_HEADERS:/^x-/ "@rx (?i)a+b" "id:1,phase:1,deny,status:403,t:none,t:lowercase,\\
    msg:'%{MATCHED_VAR}',tag:'a/b',logdata:'x',severity:CRITICAL,setvar:'tx.score=+5',chain"
SecRule TX:score "@gt 4" "ctl:ruleRemoveTargetById=2;ARGS:y,capture,multiMatch"
""",
    b"""SecDefaultAction "phase:2,log,auditlog,pass"
SecAction "id:2,phase:1,nolog,setvar:tx.a=1,skipAfter:END"
SecRule REQUEST_COOKIES "!@pm a b |41 42|" "id:3,block,skip:1"
SecMarker END
SecRuleRemoveById 1-3 7
SecRuleRemoveByTag "x"
SecRuleUpdateTargetById 2 "!ARGS:a"
SecRuleUpdateActionById 2 "severity:2,status:429"
""",
    b"""SecRuleEngine On
SecRule REQUEST_URI "@validateByteRange 32-126" "id:4"
SecRule REMOTE_ADDR "@ipMatch 10.0.0.0/8,::1" "id:5,pass,ctl:ruleRemoveById=1-5"
SecRule ARGS:/a\\/b/ "@within %{tx.a}" "id:6,t:urlDecodeUni"
""",
)
WORDS = (
    *(b"%b" % word.encode() for group in (ACTIONS, CONTROLS, OPERATORS) for word in sorted(group)),
    *(word.encode() for word in (*sorted(SCALARS), *sorted(COLLECTIONS))),
    b"SecRule", b"SecAction", b"SecMarker", b"SecDefaultAction", b"SecRuleRemoveById", b"SecRuleRemoveByMsg",
    b"SecRuleUpdateTargetByTag", b"IncludeOptional /nowhere/*", b"id:", b"phase:", b"@", b"%{", b"}", b"\\\n",
    b"'", b'"', b"99999999999999999999", b"(?#", b"[a-", b"(?=a)", b"\\x{", b"{1,9999}", b"0-99999999999",
)  # fmt: skip
MAX_BYTES = 2048

REQUEST = HttpRequest(
    b"GET", b"/p?x=1&y=aab", b"1.1", ((b"Host", b"h"), (b"Cookie", b"a=b"), (b"X-A", b"1")), b""
)


def check(data: bytes) -> None:
    text = data.decode("latin-1")
    if re.search("(?i)include|fromfile|pmf|ipmatchf", text):
        return  # other files are not part of the input
    try:
        rules = ruleset.build(seclang.parse(text, "f"))
        engine = Engine(rules)
    except SecLangError as error:
        place = re.match(r"f:(\d+): .", str(error))
        assert place is not None and int(place[1]) <= text.count("\n") + 1, str(error)
        return
    assert len({rule.id for rule in rules.rules}) == len(rules.rules)
    state = engine.inspect_all(REQUEST)
    assert {matched.id for matched in state.matched} <= {rule.id for rule in rules.rules}
