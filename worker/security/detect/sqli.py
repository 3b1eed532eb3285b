"""Injected SQL, found by reading a value as SQL would: in the middle of a statement, or behind a quote it
closes.

A value is split into tokens, the tokens into kinds, the first of which make a short word, its shape. A
shape that begins where a string ended, or a number stood, and goes on as only SQL does, is an attack: `x'
or 1=1` is, `O'Brien or Smith` is not. Knows nothing of where the value came from.
"""

import re

from worker.security.detect.linear import linear
from worker.security.detect.talk import has_words, is_spoken
from worker.security.detect.whole import is_code, is_document, is_record, is_statement

_BACKTICK = 0x60
TOKENS = 40  # looked at: an injection has to fit the grammar from its first token on
LONGEST_BYTES = 8192  # of a value, from each place where it is read

# What must be there at all: a quote, or what goes on with a statement without one. Most values have neither.
_QUOTE = linear(rb"['\"`]")
_GOES_ON = (
    linear(rb"^\W*(?:/\*.*\*/\W*)?(?:[\d@]|or\b|and\b|\|\||&&)"),
    linear(
        rb"\bunion\b|;[\s(]*(?:select|insert|update|delete|drop|create|alter|truncate|exec|declare|"
        rb"shutdown|waitfor|grant|revoke|merge|values|attach|bulk|"
        rb"replace|load|copy|begin|set|rename|call)|/\*!"
    ),
)

_TOKEN = re.compile(
    rb"""
    (?P<space>[\s\x00\xa0]+|/\*(?!!)(?:[^*]|\*(?!/))*\*/)
  | (?P<evil>/\*!\d*|\*/)
  | (?P<comment>--(?=[\s\x00-]|$).*|--.*|\#.*|/\*.*)
  | (?P<string>'(?:[^'\\]|\\.|'')*(?:'|$)|"(?:[^"\\]|\\.|"")*(?:"|$)|[nbx]'[^']*(?:'|$))
  | (?P<quoted>`[^`]*(?:`|$)|\[[^\]]*\])
  | (?P<number>0x[0-9a-f]+|0b[01]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:(?=union)|(?![0-9a-z_$])))
  | (?P<variable>@@?[a-z_][\w$.]*|@@?`[^`]*`)
  | (?P<word>[a-z_\x80-\xff0-9$](?:[\w$.\x80-\x9f\xa1-\xff]|(?<=[\x80-\xff])\xa0)*)
  | (?P<logic>&&|\|\||\^(?!=)|&|\||!(?!=))
  | (?P<operator><=>|<>|!=|<=|>=|:=|[=<>+*/%~^-])
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
  | (?P<stop>;)
  | (?P<other>.)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_KINDS = {
    "evil": "X", "comment": "c", "string": "s", "quoted": "w", "number": "n", "variable": "v", "logic": "&",
    "operator": "o", "open": "(", "close": ")", "comma": ",", "stop": ";", "other": "?",
}  # fmt: skip

_WORDS = {
    word: kind
    for kind, words in {
        "&": b"and or xor",
        "!": b"not",
        "o": b"like rlike regexp div mod is in between sounds ilike similar collate glob match escape",
        "U": b"union intersect except minus",
        "E": b"select values",
        "T": b"insert update delete drop create alter truncate exec execute declare shutdown waitfor grant "
        b"revoke bulk merge replace load copy attach call begin set rename",
        "F": b"from where into join table database procedure schema",
        "B": b"having limit offset order group",
        "K": b"case when then",
        "n": b"null true false current_user user unhex",
        "a": b"all distinct by as asc desc top",
    }.items()
    for word in words.split()
}

# Functions and names that have no business in a value, wherever they stand.
_TELLING = linear(
    rb"\b(?:sleep|pg_sleep|benchmark|load_file|extractvalue|updatexml|xp_cmdshell|xp_dirtree|xp_regread|"
    rb"sp_executesql|dbms_pipe\.receive_message|dbms_lock\.sleep|utl_http\.request|"
    rb"utl_inaddr\.get_host_\w+|ctxsys\.drithsx\.sn|randomblob|load_extension|pg_read_file|lo_import|"
    rb"sqlite_version|group_concat|make_set)\s*\(|\bwaitfor\s+delay\s*['\"]|"
    rb"\binto\s+(?:out|dump)file\s*['\"]|\binformation_schema\s*\.\s*\w+|"
    rb"\b(?:sys(?:\.|objects|columns|databases)|pg_catalog\.|mysql\.user|sqlite_master|all_tables|"
    rb"msysaccessobjects)\b.{0,60}\b(?:where|from|union|select|limit|order)\b|"
    rb"\bprocedure\s+analyse\s*\(|@@(?:version|datadir|hostname|basedir|servername)\b"
)
# A query within brackets. In a whole statement, as people show one another, it has nothing to say.
_SUBQUERY = linear(
    rb"\b(?:(?:elt|make_set|iif|if)\s*\(|case\s+when\s*\(?)\s*(?:\d+|'\w*')\s*=\s*(?:\d|')|"
    rb"\(\s*select\b[\s(]*(?:case\b|@@|\d|['\"]|\w+\s*\(|[^;]{1,200}\bfrom\b)|"
    rb"\bselect\b[^;]{1,100}\bfrom\s*\(\s*select\b"
)
_STATEMENT = linear(rb"^\s*(?:select|insert|update|delete|create|alter|with|explain|merge|replace)\s")
_SQL_BESIDE = re.compile(
    rb"\b(?:select|union|and|or|where|rlike|from|if|case|having|exec|declare)\b|['\";|]", re.IGNORECASE
)
# A quotation, from the quote that opens it: a word follows, and another quote closes it.
_QUOTATION = re.compile(rb"[\"'`][\w<$\x80-\xff][^\"'`]*[\"'`]")
_BEFORE_QUOTATION = b" \t\r\n([{=:,>"
LONGEST_BEFORE = 100  # bytes before a quote that tell what it is
_WORDS_BEFORE = re.compile(
    rb"(?<![a-z\x80-\xff])[a-z\x80-\xff]{2,}[^\"'`\d]*\s[\"'`(\[{=:,>]*$", re.IGNORECASE
)
_OF_A_TAG = re.compile(rb"<[a-z][\w-]*\s(?:[^<>\"']|\"[^\"]*\")*=$", re.IGNORECASE)
_QUOTED_SEARCH = re.compile(rb"([\"'])[^\"'`]*\1(?:\s+[a-z]{2,})*\s+[a-z]{3,}\s*", re.IGNORECASE)

# Shapes. A string that was closed, or a number, then ...
_CONSTANT = "[snvf]"
_BEHIND_QUOTE = re.compile(
    rf"""s(?:
        c$                                        # the rest of the statement cut off
      | &!*w(?:c|B|;[TE]|o!?[nsvfE])              # or a=b; a name alone may be somebody's
      | &!*[snvf](?:$|c|o|&|;)
      | &!*[(E]|&!*wE | &c
      | &!*f+[^?;]{{0,30}}?(?:E|o[nsvfE]|c$)        # and length(x)=6
      | !*o{_CONSTANT}(?:$|c|[o&])                # '=', '+', like
      | !*o(?:E|w?E|K)|oc|o[fv]
      | (?:[;])+[TE]
      | B[anw]
      | Ua?E
      | c.*U
      | ;c
      | EF|TF
    )""",
    re.VERBOSE,
)
_IN_THE_OPEN = re.compile(
    rf"""(?:[nsv]|^)(?:
        [&]!*{_CONSTANT}o{_CONSTANT}(?:$|[co&;,B])  # 1 or 1=1
      | [&]!*wo[n]c
      | [&]!*{_CONSTANT}c
      | [&]!*E[onsvfw]
      | [&]!*f+[^?;]{{0,30}}?(?:E|o[nsvf]|c$)
      | Ba?n(?:$|c|,)                             # 1 order by 10
      | ;+(?:T[Fwnc]|E[onsvf]|Twf)
      | oE[onsvfwK]
      | oK
    )|[nv]c$                                      # 1--
    """,
    re.VERBOSE,
)
_TAG = re.compile(rb"\s*<[a-z!]", re.IGNORECASE)
_UNION = re.compile(r"Ua?[(]*Ea?(?:[nsvfo]|w[,Fc])|(?:^|[nsvc;])Ua?Ea?w$|UX|XU|XE|XT")
_SAME = re.compile(rb"(\d+)\W{0,3}(?:\bor\b|\|\|)\W{0,3}\1\W{0,3}", re.IGNORECASE)  # 1 or 1
_STACKED = re.compile(r";(?:TF|TwF|Tv|Tf|Eo|En,|Ef|Ev)")

HINTS = (_QUOTE, *_GOES_ON, _TELLING, _SUBQUERY)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """Injected SQL, from the quote that ends what it is put into; None if there is none."""
    found = _injection(value[:LONGEST_BYTES])
    return None if found is None else value[found[1] : LONGEST_BYTES]


def is_shown(value: bytes) -> bool:
    """Is it a whole statement, program or log, or talk of one?"""
    if any(is_one(value) for is_one in (is_statement, is_code, is_record, is_spoken)):
        return True
    return has_words(value, enough=1) and is_document(value)  # lines alone are spaces in disguise


def is_sqli(value: bytes) -> str | None:
    """The shape of injected SQL, its kind of place first ("'", '"' or "-"); None for what is none."""
    found = _injection(value[:LONGEST_BYTES])
    return None if found is None else found[0]


def _injection(value: bytes) -> tuple[str, int] | None:
    """Shape and place."""
    telling = _TELLING.search(value)
    if telling is not None and _is_in_sql(value, telling.start(), telling.end()):
        return "telling", telling.start()
    subquery = _SUBQUERY.search(value)
    if subquery is not None and not _STATEMENT.search(value):
        return "subquery", subquery.start()
    for quote in b"'\"`":
        if quote == _BACKTICK and value.count(b"`") % 2 == 0:
            continue  # none, or code set off in a sentence: nothing is left open
        # An escape before the quote may itself be escaped by the time it is read.
        for end in dict.fromkeys((_closing(value, quote), value.find(quote))):
            if end < 0 or _opens(value, end):
                continue
            shape = "s" + _shape(value[end + 1 :])
            if (_BEHIND_QUOTE.match(shape) and not _is_prose(shape, value, end)) or _injects(shape):
                return chr(quote) + shape, end
    if not any(pattern.search(value) for pattern in _GOES_ON):
        return None
    shape = _shape(value)
    if _SAME.fullmatch(value) or (_IN_THE_OPEN.match(shape) and not _TAG.match(value)) or _injects(shape):
        return "-" + shape, 0
    return None


def _is_in_sql(value: bytes, start: int, end: int) -> bool:
    """Is a function among words of SQL, or the argument or the operand of something?"""
    before = value[:start].rstrip()
    return (
        before.endswith((b"(", b"-", b"+", b"*", b"/", b"^", b"&", b",", b"="))
        or _SQL_BESIDE.search(before + b" " + value[end:]) is not None
        or b"(" in value[end : end + 40]
    )


def _opens(value: bytes, quote: int) -> bool:
    """Does the quote begin a quotation within words, rather than end what somebody has written before it?"""
    if quote == 0:
        return _QUOTED_SEARCH.fullmatch(value) is not None
    if value[quote - 1] not in _BEFORE_QUOTATION:
        return False
    before = value[max(0, quote - LONGEST_BEFORE) : quote]
    return _OF_A_TAG.search(before) is not None or (
        _QUOTATION.match(value, quote) is not None and _WORDS_BEFORE.search(before) is not None
    )


def _injects(shape: str) -> bool:
    return _UNION.search(shape) is not None or _STACKED.search(shape) is not None


def _closing(value: bytes, quote: int) -> int:
    """Where a string that the value continues would end; -1 if nowhere."""
    at, size = 0, len(value)
    while at < size:
        byte = value[at]
        if byte == 0x5C:
            at += 2
            continue
        if byte == quote:
            if at + 1 < size and value[at + 1] == quote and at + 2 < size and value[at + 2] != quote:
                # A doubled quote stands for itself, unless nothing follows that could close the string.
                if value.find(quote, at + 2) >= 0:
                    at += 2
                    continue
            return at
        at += 1
    return -1


def _is_prose(shape: str, value: bytes, end: int) -> bool:
    """Do words go on behind what looks like a comment, as a dash or a hash does in a sentence?"""
    if not shape.startswith("sc"):
        return False
    rest = value[end + 1 :].lstrip()
    if re.match(rb"--[A-Za-z]", rest):
        return True  # an option of a command
    if rest.startswith(b"/*"):
        return False
    said = rest.lstrip(b"-#+ ")
    return bool(re.match(rb"[A-Za-z0-9]+[ ,.!?]", said)) or bool(
        re.match(rb"#\w", rest) and end and value[end - 1] != 32
    )


def _shape(text: bytes) -> str:
    """The kinds of the first tokens, simple arithmetic and signs folded away."""
    kinds: list[str] = []
    signed = False
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count >= TOKENS:
            break
        group = token.lastgroup
        assert group is not None
        if group == "space":
            continue
        if group == "word":
            kind = _word(token[0].lower(), text, token.end())
        else:
            kind = _KINDS[group]
        if kind in "()":
            continue  # they change nothing about what follows what
        if (
            kind == "n"
            and signed
            and kinds
            and kinds[-1] == "o"
            and (len(kinds) == 1 or kinds[-2] in "&,Eo;U")
        ):
            kinds[-1] = "n"  # a sign
        else:
            kinds.append(kind)
        signed = token[0] in (b"-", b"+", b"~")
    return "".join(kinds)


def _word(word: bytes, text: bytes, end: int) -> str:
    kind = _WORDS.get(word)
    if kind is not None:
        return kind
    if text[end : end + 1] == b"(" or (text[end : end + 1].isspace() and text[end:].lstrip()[:1] == b"("):
        return "f"
    return "w"
