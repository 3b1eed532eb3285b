"""What a value is when it is a whole: a statement, a command line, a program, a log or a document, as people
show it to one another. An attack is a piece that goes on behind what somebody else has written.

Knows nothing of attacks and nothing of where the value came from.
"""

import re

LONGEST_BYTES = 2048  # looked at: what a value is shows at its beginning

_PROMPT = (
    rb"^[ \t]*(?:```\w*\s+|[$#%>]\s+|\d+\.\s+`?|[-*]\s+`|[\w.-]+@[\w.-]+[:~\w/.-]*[$#]\s|[\w-]+=?[#>]\s|"
    rb"(?:-\s+)?(?:RUN|CMD|run:|script:|command:)\s+)?"
)
_COMMAND_LINE = re.compile(
    _PROMPT
    + rb"(?:#!\s*/|(?:sudo|apt|apt-get|yum|dnf|brew|pip3?|npm|npx|yarn|git|docker|kubectl|helm|make|cmake|"
    rb"cargo|go|"
    rb"tar|ps|cat|ls|cd|cp|mv|rm|mkdir|echo|export|curl|wget|find|grep|awk|sed|ssh|scp|rsync|ping|dig|psql|"
    rb"mysql|systemctl|journalctl|df|du|chmod|chown|for|while|if|export|python3?|node|php|ruby|"
    rb"perl|openssl|ffmpeg|head|tail|sort|kill|nohup|env|conda|terraform|ansible|vagrant|test\s+-\w|"
    rb"iptables|crontab|"
    rb"source|alias|unset|screen|tmux|netstat|lsof|useradd|usermod|mount|umount|dd|unzip|gzip|gunzip|ln|wc|"
    rb"cut|xargs|"
    rb"tee|uniq|diff|patch|gcc|javac|java|dotnet|composer|bundle|rails|flask|pytest|mvn|gradle|"
    rb"\[\[?)\s+\S|(?:get|set|new|start|stop|remove|import|test|add|invoke-(?:webrequest|restmethod))(?:-\w+)?\s+-\w+\s+\S)",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    rb"^\s*(?:(?:--|#)[^\n]*\n\s*)*(?:[\w-]+=?[#>]\s+)?(?:select\s+(?:distinct\s+|top\s+\d+\s+|"
    rb"all\s+)?(?:\*|[\w\"`.\[]|count)|"
    rb"insert\s+into\s|update\s+[\w.\"`\[\]]+\s+(?:\w+\s+)?set\s|delete\s+from\s|merge\s+into\s|"
    rb"replace\s+into\s|"
    rb"(?:create|alter|drop|truncate)\s+(?:or\s+replace\s+|temp(?:orary)?\s+|unique\s+|global\s+)*"
    rb"(?:table|view|index|database|schema|function|procedure|trigger|user|role|sequence|type|extension)\s|"
    rb"with\s+(?:recursive\s+)?\w+\s*(?:\([^)]*\)\s*)?as\s*\(|explain\s|grant\s+\w|revoke\s+\w|begin\b|"
    rb"declare\s|if\s+(?:not\s+)?exists\s*\(|proc\s+sql\b|do\s+\$\$|use\s+\w+;|where\s+\w|(?:left|right|inner|outer|cross)\s+join\s|set\s+\w+\s*=|show\s+\w)",
    re.IGNORECASE,
)
# What a program says first, where an injection would go on behind a value.
_CODE_LINE = re.compile(
    rb"\s*(?:(?:const|let|var|val|auto|final|my|local|dim|public|private|protected|static|export|async|func|"
    rb"fn|def|"
    rb"class|import|from|package|using|namespace|module|return|string|int|char|bool|float|double|"
    rb"void)\s+[\w.$@%<*]|"
    rb"[$@%]?[a-z_][\w.]*(?:\[[^\]]{1,40}\])?\s*(?::=|[+.]?=)\s+[\"'`\w$({\[]|"
    rb"[$\w]+(?:\.|->|::)\w+\(|(?:if|for|while|foreach|switch|elsif|unless)\s+\(|new\s+\w+\(\{|"
    rb"#\s*include\b|#!/|@\w+\(|//\s|/\*\*?\s|std::|"
    rb"(?:query|mutation|subscription)\b[^'\"]{0,40}\{|\{\s*\w+\s*[({]|s/[^/]{1,80}/[^/]{0,80}/[gimsx]*\s*$|"
    rb"=[A-Z]{2,}\(|=\$?[A-Z]{1,2}\$?\d|```\w*\n|\^?(?:\(\?[:!=<]|\[\^|\\[bsdw])|\^[(\[\\a-z])",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(
    rb"\s*(?:(?:const|let|var|val|my|local|string|int)\s+)?[$@%]?[a-z_]\w*(?:\[[^\]]{1,40}\])?\s+(?::=|[+.]?=)\s+\S|"
    rb"\s*(?:if|for|while|foreach|switch|elsif|unless)\s+\(",
    re.IGNORECASE,
)
_RECORD = re.compile(
    rb"\s*(?:[0-9a-f.:]{7,39} \S+ \S+ \[|\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\[\d\d/\w{3}/\d{4}[: ]|"
    rb"[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d \S|"
    rb"\[\w{3} \w{3} \d|diff --git |--- \S[^\n]*\n\+\+\+ \S|@@ -\d)"
)
_LINES = 3  # make a document
_FIRST_LINE = 12  # bytes, with a space among them, make one of two


def is_statement(value: bytes) -> bool:
    """Is it SQL from its first word on, and no piece of it?"""
    return _STATEMENT.match(value[:LONGEST_BYTES]) is not None


def is_command_line(value: bytes) -> bool:
    """Does it begin as what one types into a shell, or keeps in a script?"""
    return _COMMAND_LINE.match(value[:LONGEST_BYTES]) is not None


def is_code(value: bytes) -> bool:
    """Does it begin as a line of a program, or as a formula of a spreadsheet?"""
    return _CODE_LINE.match(value[:LONGEST_BYTES]) is not None


def is_assignment(value: bytes) -> bool:
    """Does it begin as a program that gives a name to something, or decides?"""
    return _ASSIGNMENT.match(value[:LONGEST_BYTES]) is not None


def is_record(value: bytes) -> bool:
    """Does it begin as an entry of a log, or as a diff?"""
    return _RECORD.match(value) is not None


def is_document(value: bytes) -> bool:
    """Has it lines, as a program, a letter or a listing has?"""
    lines = [line for line in value[:LONGEST_BYTES].splitlines() if line.strip()]
    return len(lines) >= _LINES or (
        len(lines) > 1 and len(lines[0]) >= _FIRST_LINE and b" " in lines[0].strip()
    )
