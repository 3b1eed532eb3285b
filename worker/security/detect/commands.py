"""Commands of a shell within a value: behind a separator that ends what stood before, or in a substitution.

Many commands are English words: those count only with an argument that no sentence has. What a shell takes
away before it runs a command (quotes, carets, empty expansions) is taken away first. Knows nothing of where
the value came from.
"""

import re

from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_set_off, is_spoken, is_talk
from worker.security.detect.whole import is_code, is_command_line, is_document, is_record

LONGEST_BYTES = 4096  # whose disguise is taken away

# Nobody writes these in a sentence behind a semicolon.
_CLEAR = (
    rb"(?:whoami|ifconfig|ipconfig|uname|wget|curl|ncat|netcat|nc|socat|bash|sh|zsh|ksh|csh|tcsh|dash|ash|"
    rb"nslookup|tcpdump|traceroute|tracert|telnet|ftp|sftp|tftp|ss|ip|arp|iwconfig|nmap|"
    rb"chmod|chown|chgrp|chattr|sudo|su|passwd|useradd|adduser|usermod|userdel|crontab|systemctl|"
    rb"iptables|lsof|netstat|ps|pstree|ls|ll|dir|id|pwd|env|printenv|"
    rb"rm|mv|cp|ln|dd|mkdir|rmdir|scp|rsync|ssh|ssh-[\w-]+|openssl|gpg|python[23]?(?:\.\d+)?|strace|"
    rb"awk|gawk|mawk|sed|xxd|hexdump|md5sum|sha\d+sum|cmp|cksum|wc|"
    rb"powershell|pwsh|cmd|certutil|bitsadmin|mshta|rundll32|regsvr32|wmic|reg|netsh|systeminfo|"
    rb"schtasks|cscript|wscript|icacls|attrib|vssadmin|bcdedit|nltest|qwinsta|ver|hostname|"
    rb"tasklist|taskkill|findstr|nbtstat|whois|"
    rb"sleep|usleep|ping6?|dig|drill|busybox|mkfifo|mknod|eval|nohup|setsid|xargs|tar|gzip|gunzip|zip|"
    rb"unzip|7z|"
    rb"docker|kubectl|mysql|mysqldump|psql|sqlite3|redis-cli|mongo|apt|apt-get|yum|apk|dpkg|rpm|pip3?|npm|"
    rb"git|"
    rb"getent|uptime|dmesg|lscpu|lsblk|lsmod|insmod|modprobe|"
    rb"reboot|shutdown|halt|poweroff|df|du|mount|umount|vi|vim|nano|emacs|ed|strings|od|tac|rev|nl|fold|"
    rb"expand|pr|cut|tee|readlink|realpath|basename|dirname|truncate|shred|seq|pkill|killall)"
)
_ENGLISH = (
    rb"(?:cat|echo|find|locate|more|less|head|tail|sort|uniq|type|test|kill|date|time|who|last|touch|exec|"
    rb"source|export|read|alias|declare|join|split|paste|watch|file|"
    rb"mail|net|start|copy|move|del|erase|print|printf|wait|cd|grep|egrep|fgrep|zcat|zgrep|diff|make|man|"
    rb"which|"
    rb"while|for|if|forfiles|call|xcopy|ren|fish|at|top|go|sc|vol|tree|query|set|host|init|yes|route|history|"
    rb"timeout|stat|service|perl|ruby|lua|php\d?|node|nodejs|java|javac|gcc|cc|cargo|gdb|base64|base32)"
)
_ARGUMENT = (
    rb"(?:\s+|\$\{?IFS\}?(?:\$\d)?|<|\{)"
    rb"(?:[-/.~$\"'`<>\\|*%{\[]|[\w-]+[/\\.]\w|[a-z]:[/\\]|\w+\s*[|;&>]|https?:|"
    rb"\S+\s+(?:/|\.\.?/|>|\|))"
)
_END = (
    rb"(?:\s*$|\s*[;|&`)<>#\n\r]|\s+[-/.~$\"'\\|*>&;%\d+]|\s+\w+[./:@\\]|"
    rb"\s+\w+\s*(?:[;|&>`)#]|$)|\s+\w+\s+[-/\w.]*[-/.]\w|\$\{?IFS|\+)"
)
_NEXT_LINE = rb"^[^\r\n]{0,200}[\r\n]{1,4}"  # where one line is expected; a longer text has many
_SEPARATOR = rb"(?:[;|&]|(?:^|[^`])`|\|\||&&|\$\(|<\(|>\()"
_PATH = rb"(?:/(?:usr/)?(?:local/)?s?bin/|(?:\.{1,2}/)+|[\w$*?/\\]*[/\\])?"
_EXE = rb"(?:\.exe|\.com|\.cmd)?"

_BEHIND_SEPARATOR = linear(
    _SEPARATOR
    + rb"[ @({!]*"
    + _PATH
    + rb"(?:"
    + _CLEAR
    + _EXE
    + _END
    + rb"|"
    + _ENGLISH
    + _ARGUMENT
    + rb")|^\s*[;|&]{1,2}\s*"
    + _PATH
    + _CLEAR
    + _EXE
    + rb"\s+\S|^\s*[;|&]{1,2}\s*(?:set|history|last|who|export|date|time|top|w|ver|tree|host|net|"
    rb"alias)\s*;?\s*$|"
    rb"[;|&]\s*(?:timeout|kill|init|wait)\s+-?\d|"
    # Of what begins with a separator, any word may be a command.
    rb"^(?:;|\|\|?|&&)[a-z]{2}[\w-]*(?:\s+[\w/.:@-]+){0,8}\s*;?$|^;\.\s+/|"
    rb"^\s*&\s*(?:net\s+(?:users?|view|share|localgroup|use|start|stop)|sc\s+(?:query|stop|config)|"
    rb"query\s+user|"
    rb"echo\s+\^)",
)
# The words that a second line of text begins with, as a rule, are not commands.
_ON_NEXT_LINE = linear(
    _NEXT_LINE + rb" ?" + _PATH + rb"(?:" + _CLEAR + _END + rb"|(?:cat|echo|type|touch)" + _ARGUMENT + rb")"
)
_SUBSTITUTION = linear(
    rb"\$\(\s*" + _PATH + rb"(?:" + _CLEAR + rb"|" + _ENGLISH + rb")\b[^)]{0,200}\)|\$\(\s*<\s*/|"
    rb"(?:^|[^`])`\s*"
    + _PATH
    + rb"(?:"
    + _CLEAR
    + rb"(?:\s+[-/\w.$:@\"']+)*|"
    + _ENGLISH
    + rb"\s+[-/.$][^`]*)\s*`",
)
_SHELL = rb"(?:ba|z|k|c|da|a)?sh"
_TELLING = linear(
    rb"\$\{?IFS\b|\bIFS=[^\s\w]|/dev/(?:tcp|udp)/[\w.]+/\d|"
    rb"(?:[\s;|&`(>=]|^[\w.-]+[^\w\s\"'/.-]\s*)/(?:usr/)?s?bin/" + _SHELL + rb"\b|/bin/" + _SHELL + rb"\s+-|"
    rb"[;|&`(]\s*/(?:usr/)?(?:local/)?s?bin/\w|\b" + _SHELL + rb"\s+-[ic]\s|\bnc(?:at)?\s+(?:-\w+\s+)*-e\b|"
    rb"\bcmd(?:\.exe)?\s*/[ck]\b|"
    rb"\bpowershell(?:\.exe)?\s+-(?:e|enc|encodedcommand|c|command|nop|w|ep|exec)\b|\b(?:curl|"
    rb"wget)\s+(?:-\w+\s+)*\S+\s*\|\s*(?:sudo\s+)?" + _SHELL + rb"\b|"
    rb"^(?:[\w-]{1,30}[:=]\s*)?[\"']?\(\s*\)\s*\{|\{(?:cat|ls|wget|curl|ping|sleep|echo|nc|id),[^}\s]+\}|"
    rb"\brm\s+-r?f\w*\s+[/~*]\S*\s*$|[;|&]\s*\S+\s[^;|&]*>\s*/(?:tmp|etc|root|proc|var/www)/|"
    rb"\binvoke-(?:expression|webrequest|command)\b|\biex\s*\(|\bnew-object\s+(?:system\.)?net\.webclient|"
    rb"\bcertutil\S*\s+-urlcache|\$\{PATH:|\$\{HOME:\d|"
    rb"/\?\?\?/|[;|&]\s*(?:(?:/\w+)*/\w+[?*]\w*(?:\s|$)|\$\w+\$\w|\w+=\S+;\S*\$|\$\d?<<<|net\s+user\b|"
    rb"tee\s+/)|"
    rb"\bbase64\s+-d\b.{0,20}\||\b\w+=[\"']?\w*[\"']?;\s*\w+=[\"']?\w*[\"']?;\s*\$|"
    rb"^--?(?:oproxycommand=|use-askpass=|checkpoint-action=|use-compress-program=|(?:upload|receive)-pack=|"
    rb"rsh=|to-command=|post-file=|output-document=|config=/)|--checkpoint-action=exec|"
    rb"\$\{run\{|\$\{path%%|[;|&`]\s*\$'\\|[;|&`]\s*\$\(\s*tr\s|^-\w\s+proxycommand=|^--exec=|\s-tt?\s+'|"
    rb"[?&](?:cmd|exec|command|execute|shell|c)=(?:id|ls|dir|whoami|cat|uname|pwd|wget|curl|ping)\b",
)

# What a shell takes away: quotes in a word, escapes, carets, expansions of nothing.
_DISGUISE = re.compile(
    rb"(?<=[\w/.?*])(?:''|\"\"|\^|\$[@*!#]|\$\(\)|``|\$\{[a-z]\}|\\\n)(?=[\w/])|"
    rb"(?<=\w)['\"](?=\w)|(?<=[;|&`(\s])['\"](?=\w+['\"]\w)|(?<=[\w;|&` (])\\(?=\w)|\^(?=\w)",
    re.IGNORECASE,
)
_DISGUISED = linear(rb"[;|&`(\n\r]\s*[\"']?[\w/]*(?:[\"'\\^`]|\$[@*!({])[\"'\\^@*)}\w(]*\w")
_GLOB = linear(_SEPARATOR + rb"\s*/(?:usr/)?s?[\w?*\[\]]*/[\w?*\[\]-]*[?*\[][\w?*\[\]-]*(?:\s|$)")

# One of them matches wherever something is found.
HINTS = (_BEHIND_SEPARATOR, _ON_NEXT_LINE, _SUBSTITUTION, _TELLING, _DISGUISED, _GLOB)


def find(value: bytes) -> bytes | None:
    """The command; None if there is none."""
    for pattern in (_TELLING, _GLOB):
        found = first(pattern, value)
        if found is not None:
            return found.strip()
    found = _behind(value)
    if found is None and first(_DISGUISED, value) is not None:
        found = _behind(_DISGUISE.sub(b"", value[:LONGEST_BYTES]))
    return found


# What is fetched from an address without a name is meant for no reader.
_FETCHES = linear(
    rb"\b(?:wget|curl|tftp|ftpget|fetch)\b[^;|&]{0,200}[\s/@]\d{1,3}(?:\.\d{1,3}){3}\b.{0,200}\b(?:sh|chmod|"
    rb"bash)\b"
)


def is_shown(value: bytes) -> bool:
    """Is it a command line or a script as one shows it, and no piece added to one?"""
    forms = (is_command_line, is_document, is_spoken, is_code, is_record, is_set_off)
    return any(is_one(value) for is_one in forms) and (_FETCHES.search(value) is None or is_talk(value))


def _behind(value: bytes) -> bytes | None:
    for pattern in (_BEHIND_SEPARATOR, _ON_NEXT_LINE, _SUBSTITUTION):
        found = first(pattern, value)
        if found is not None:
            return found.strip()
    return None
