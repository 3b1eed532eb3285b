"""Code within a value that a template engine, an expression language or PHP would run.

A name in braces is a template as anybody may write one; a calculation or a way to the interpreter is none.
Knows nothing of where the value came from.
"""

import re

from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_worded
from worker.security.detect.whole import is_assignment, is_document

_CALCULATION = linear(
    rb"(?:\{\{-?|[$#%*@]\{|@\(|<%[=#-]?|"
    rb"\{#?|\[\[)\s*[(\"']*\s*\d+\s*[\"']?\s*[*+/%-]\s*[\"']?\d+[\"')]*\s*(?:-?\}\}|\}|\)|-?%>|\]\])|"
    rb"\{\{\s*['\"]\d['\"]\s*\*\s*\d\s*\}\}|\$\{\{<%\[%"
)
_INTERPRETER = linear(
    rb"(?:\{\{|\{%|[$#%*@~]\{|<%|\bT\(|\(\()[^\n]{0,100}(?:__\w+__|\bconfig\b(?:\.items|\[|\s*\}\})|"
    rb"\bself\b(?:\.|\s*\}\})|\brequest\s*[.|\[]\s*"
    rb"(?:application|environ|attr|class|\[|['\"])|\b(?:cycler|joiner|lipsum|namespace|url_for|"
    rb"get_flashed_messages)\s*\.\s*_|"
    rb"getruntime|processbuilder|java\.lang|forname|getclass|classloader|\bexec\s*\(|\bsystem\s*\(|popen|"
    rb"subprocess|\bimport\s*\(|"
    rb"\beval\s*\(|child_process|\bprocess\s*\.\s*(?:env|mainmodule|binding)|constructor\s*[.(\[]|"
    rb"scriptengine|freemarker|"
    rb"registerundefinedfiltercallback|filter\s*\(\s*['\"]|\|\s*(?:attr|map|filter|sort|reduce|system|"
    rb"passthru|"
    rb"exec)\s*\(?\s*['\"(]|"
    rb"\$smarty|_self\b|getfilter|require\s*\(|range\s*\(\s*\d{4,}|\bfile\.(?:read|open)|io\.popen|"
    rb"dump\s*\(\s*app|app\.request|"
    rb"#(?:_memberaccess|context|application|session|request)\b|@[\w.]+@\w+|\$\.\w+\.constructor|"
    rb"__import__|ognl|debug\s*(?:\}\}|-?%\})|\bsecret_key\b|\bsystem\.\w+\.|applicationscope|"
    rb"sessionscope|facescontext|pagecontext|\bmessages\.storages\b|\.data_model\b|\.getfile\b|\.env\.\w|"
    rb"['\"]\w*['\"]\s*\.\s*(?:to\w+case|constructor|concat)\b|pagecontext|initparam|\blookup\s+string)",
)
_DUNDER = linear(
    rb"__(?:class|mro|base|bases|subclasses|globals|builtins|import|dict|getattribute|reduce|getitem|"
    rb"code|self|call)__(?:\S|$)|__init__\s*(?:\.\s*__|\[)|"
    rb"\bgetruntime\s*\(|java\.lang\.(?:runtime|processbuilder)\b|[@('\"]java\.lang\.\w+|"
    rb"\bfreemarker\.template\.utility|"
    rb"#set\s*\(\s*\$|\$\w+\.(?:class|getclass)\b\.?(?:inspect|forname|\()|T\(\s*(?:java|org|com)\.|"
    rb"new\s+java\.|"
    rb"\{php\}|\{fetch\s+file=|\{var\s+\$\w+\s*=\s*['\"]|@\(?system\.(?:diagnostics|io|net|reflection)\.|"
    rb"<#list\s+\.data_model|\{\s*literal\s*\}|"
    rb"\[#assign|<#assign|\?new\s*\(\s*\)|#\{\s*(?:session|application|facescontext|request)\b|"
    rb"#foreach\s*\(|\{\{\s*constructor\b|"
    rb"\bruntime\.exec\b|process\.mainmodule|global\.process|require\s*\(\s*['\"]child_process|"
    rb"\.getenv\s*\(|os\.(?:system|popen)\s*\(|"
    rb"subprocess\.(?:popen|call|run|check_output)\s*\(|os\.execv?p?e?\(|child_process\b.{0,20}\bexec|"
    rb"\b__import__\s*\(|\$\{\s*T\s*\(",
)
_PHP = linear(
    rb"\b(?:print|echo|die|exit|var_dump|print_r)\s*\(?\s*md5\s*\(|"
    rb"^(?:globals|_(?:session|server|get|post|request|cookie|files|env))\[|<\?(?:php|=|\s*(?:echo|"
    rb"system|eval|passthru))|\b(?:system|passthru|shell_exec|proc_open|pcntl_exec|"
    rb"popen|assert|eval|exec|"
    rb"create_function|array_walk|call_user_func(?:_array)?|preg_replace|include(?:_once)?|"
    rb"require_once)\s*\(\s*(?:[\"'$](?:_(?:get|post|"
    rb"request|cookie|server)|[a-z_/\\.]|\{)|base64_decode|gzinflate|str_rot13|chr\s*\()|"
    rb"\bphpinfo\s*\(\s*\)|\bbase64_decode\s*\(\s*[\"'$]|"
    rb"\$_(?:get|post|request|cookie|server|session|files|env)\s*\[|\$globals\s*\[|\bfile_(?:get|"
    rb"put)_contents\s*\(|"
    rb"\b(?:allow_url_include|auto_prepend_file|disable_functions|open_basedir|safe_mode)\s*=|"
    rb"\bfopen\s*\(\s*[\"'$]|\bvar_dump\s*\(\s*\$|"
    rb"^\W{0,4}(?:var_dump|print_r|show_source|highlight_file|ini_set|array_map|usort|phpversion|"
    rb"get_defined_vars|readfile|scandir|register_shutdown_function|array_filter|extract|putenv|"
    rb"error_log|move_uploaded_file|call_user_func_array)\s*\([^\n]*\)\W*$|"
    rb"\bchr\s*\(\d+\)\s*\.\s*chr\s*\(|\bgzuncompress\s*\(|\binvokefunction\b|=PHP[0-9A-F]{8}-|"
    rb"\(\s*['\"]\w*['\"](?:\s*\.\s*['\"]\w*['\"])+\s*\)\s*\(|\(~[^\s()]{3,60}\)\s*\(|<%\s*(?:execute|eval)|"
    rb"\breflection(?:function|method)\s*(?:::|\()|\?phpinfo=|\{\$smarty\.|\{%\s*print\s*\(|\{\{\s*=\s*\d|"
    rb"\{\{\s*\.system\b|"
    rb"\bunserialize\s*\(|\bgetenv\s*\(\s*[\"']|\bprint\s*\(\s*`",
)
# A variable of a template in PHP, as "{{ name }}" is of others.
_DOES = re.compile(rb"[;$(=`'\"]")
_PRINTS = re.compile(rb"\s*<\?=\s*\$(?!_)\w+(?:->\w+|\['\w+'\])*\s*;?\s*\?>\s*")
_SERVER_SIDE = linear(
    rb"<!--\s*#\s*(?:exec|include|echo|config|printenv|set|flastmod)\b|<esi:(?:include|remove|vars|inline|"
    rb"debug)"
)

HINTS = (
    _CALCULATION,
    _INTERPRETER,
    _DUNDER,
    _PHP,
    _SERVER_SIDE,
)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """The part that would run; None if there is none."""
    for pattern in (_CALCULATION, _INTERPRETER, _DUNDER, _PHP, _SERVER_SIDE):
        found = first(pattern, value)
        if found is not None and not _is_idle(value, found):
            return found
    return None


def _is_idle(value: bytes, found: bytes) -> bool:
    """Is it PHP that does nothing, or shows a variable?"""
    return found.startswith(b"<?") and (_PRINTS.fullmatch(value) is not None or _DOES.search(value) is None)


def is_shown(value: bytes) -> bool:
    """Is it a program or a template of several lines, or talk of one?"""
    return is_document(value) or is_worded(value) or is_assignment(value)
