"""The WAF's engine: its quick way (patterns compiled into one, rules left out) finds what asking every rule
finds.
"""

from tests.fuzz.take import Take
from worker.security.waf import ruleset, seclang
from worker.security.waf.engine import Engine
from worker.security.waf.state import State
from worker.security.waf.transaction import HttpRequest

SEEDS = (
    b"/a/../etc?id=1%27%20or%201=1&x=%3Cscript%3E\0a=b; s=../..\0curl/8\0",
    b"/?a=%2527&b=&b=2&c[]=x\0\0Mozilla\0q=union select&z=%00",
    b"/x.php~?q=<!--%0d%0a\0x=%u0027\0\0a=1&a=2&a=3&a=4&a=5",
    b"/?score=7&n=12\0\0\0{}",
)
WORDS = (
    b"'", b"%27", b"%2527", b"<script", b"../", b"%2e%2e/", b"union", b"select", b"SLEEP(", b"&", b"=", b"?",
    b"\r\n", b"%0a", b"curl", b"admin", b"A" * 70, b"%00", b"7", b"-1", b"/etc/passwd", b";", b"+", b"%u0027",
    b"\xc0\xaf", b"/*", b"*/",
)  # fmt: skip
MAX_BYTES = 1024

RULES = r"""
SecAction "id:1,phase:1,nolog,pass,setvar:tx.level=2,setvar:tx.limit=5,setvar:'tx.methods=GET HEAD'"
SecRule TX:level "@lt 2" "id:2,phase:1,nolog,skipAfter:END"
SecRule REQUEST_METHOD "!@within %{tx.methods}" "id:3,phase:1,log,setvar:tx.score=+1"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES "@rx (?i)\bunion\b.*\bselect\b" "id:4,phase:2,log,t:urlDecodeUni,\
    t:replaceComments,capture,logdata:'%{TX.0}',setvar:tx.score=+5"
SecRule ARGS|REQUEST_HEADERS|!REQUEST_HEADERS:Cookie "@pm <script sleep( curl /etc/passwd" "id:5,phase:2,log,\
    t:lowercase,t:htmlEntityDecode,multiMatch,setvar:tx.score=+2"
SecRule REQUEST_URI "@contains ../" "id:6,phase:1,log,t:urlDecode,chain"
SecRule ARGS_NAMES "@streq id" "t:none,setvar:tx.hit=1"
SecRule &ARGS "@gt 3" "id:7,phase:2,log"
SecRule ARGS:score|ARGS:n "@ge %{tx.limit}" "id:8,phase:2,log,ctl:ruleRemoveById=9"
SecRule ARGS "@validateByteRange 32-126" "id:9,phase:2,log,t:none,t:urlDecode"
SecRule ARGS_GET "(?<!a)'" "id:10,phase:2,log,t:jsDecode,t:cssDecode"
SecRule REQUEST_BODY "@rx ^\{\}$" "id:11,phase:2,log,skip:1"
SecRule REQUEST_COOKIES_NAMES "@beginsWith s" "id:12,phase:2,log,t:trim"
SecMarker END
SecRule TX:hit "@eq 1" "id:13,phase:2,log"
SecRule REQUEST_FILENAME "@endsWith ~" "id:14,phase:1,log,t:normalizePath"
SecRule ARGS "!@rx ^[\x20-\x7e]*$" "id:15,phase:2,log,t:utf8toUnicode"
SecRule TX:score "@gt %{tx.limit}" "id:16,phase:2,deny,status:403,log,msg:'%{tx.score}'"
"""
# One keeps what it learns from request to request, as the product does.
ENGINES = [Engine(ruleset.build(seclang.parse(RULES)), enforces=enforces) for enforces in (False, True)]


def check(data: bytes) -> None:
    take = Take(data)
    target, cookie, agent, body = take.piece(), take.piece(), take.piece(), take.rest()
    fields = [(b"Host", b"h"), (b"Cookie", cookie), (b"User-Agent", agent)]
    if body:
        fields.append((b"Content-Type", b"application/x-www-form-urlencoded"))
    method = b"POST" if body else b"GET"
    request = HttpRequest(method, target or b"/", b"1.1", tuple(fields), body, "192.0.2.1", 1)
    for engine in ENGINES:
        asked = _outcome(engine.inspect_all(request))
        assert _outcome(engine.inspect(request)) == asked
        for _ in range(2):
            verdict = engine.judge(request)
            assert ([one.id for one in verdict.matched], verdict.intervention) == (asked[0], asked[1])


def _outcome(state: State) -> tuple[list[int], object, list[tuple[bytes, bytes]]]:
    matched = [(one.variable.encode(), one.part) for one in state.matched]
    return [one.id for one in state.matched], state.intervention, matched
