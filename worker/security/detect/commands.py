"""Commands of a shell within a value: behind a separator that ends what stood before, or in a substitution.

Many commands are English words: those count only with an argument that no sentence has. Knows nothing of
where the value came from.
"""

from worker.security.detect.linear import first, linear

# Nobody writes these in a sentence behind a semicolon.
_CLEAR = (
    rb"(?:whoami|ifconfig|ipconfig|uname|wget|curl|ncat|netcat|nc|bash|sh|zsh|ksh|csh|dash|nslookup|"
    rb"tcpdump|traceroute|telnet|"
    rb"chmod|chown|chgrp|sudo|passwd|useradd|adduser|crontab|systemctl|service|iptables|lsof|netstat|ps|ls|"
    rb"dir|id|pwd|env|"
    rb"printenv|rm|mv|cp|mkdir|rmdir|tftp|scp|rsync|ssh|python[23]?(?:\.\d+)?|perl|ruby|lua|php|node|gcc|"
    rb"awk|gawk|sed|xxd|base64|"
    rb"powershell|pwsh|cmd(?:\.exe)?|certutil|bitsadmin|mshta|rundll32|regsvr32|wmic|reg|netsh|systeminfo|"
    rb"tasklist|taskkill|"
    rb"sleep|usleep|ping6?|dig|busybox|mkfifo|mknod|eval|nohup|xargs|tar|gzip|unzip|7z|docker|kubectl|"
    rb"hostname|getent|"
    rb"reboot|shutdown|halt|poweroff|df|du|mount|umount|vi|vim|nano|emacs|strings|od|tac|rev|nl|fold|"
    rb"expand|pr|cut)"
)
_ENGLISH = (
    rb"(?:cat|echo|find|more|less|head|tail|sort|set|type|test|kill|date|time|who|last|w|touch|exec|"
    rb"source|export|read|"
    rb"mail|net|start|copy|move|del|print|printf|wait|cd|grep|egrep|diff|make|git|man|which|while|for|if)"
)
_ARGUMENT = (
    rb"(?:\s+|\$\{?IFS\}?(?:\$\d)?|<|\{)"
    rb"(?:[-/.~$\"'`<>\\|*%{\[]|\d+(?:\s|$)|\w+[/\\.]\w|[a-z]:[/\\]|\w+\s*[|;&>]|https?:)"
)
_END = (
    rb"(?:\s*$|\s*[;|&`)<>#\n\r]|\s+[-/.~$\"'\\|*>&;%\d+]|\s+\w+[./:@\\]|"
    rb"\s+\w+\s*(?:[;|&>`)#]|$)|\$\{?IFS|\+)"
)
_NEXT_LINE = rb"^[^\r\n]{0,200}[\r\n]{1,4}"  # where one line is expected; a longer text has many
_SEPARATOR = rb"(?:[;|&]|(?:^|[^`])`|\|\||&&|\$\(|<\(|>\(|\{)"
_PATH = rb"(?:/(?:usr/)?(?:local/)?s?bin/|(?:\.{1,2}/)+|[\w$*?/\\]*[/\\])?"

_BEHIND_SEPARATOR = linear(
    _SEPARATOR
    + rb"[ @({]*"
    + _PATH
    + rb"(?:"
    + _CLEAR
    + _END
    + rb"|"
    + _ENGLISH
    + _ARGUMENT
    + rb")|"
    # The words that a second line of text begins with, as a rule, are not commands.
    + _NEXT_LINE
    + rb" ?"
    + _PATH
    + rb"(?:"
    + _CLEAR
    + _END
    + rb"|(?:cat|echo|type|touch)"
    + _ARGUMENT
    + rb")",
)
_SUBSTITUTION = linear(
    rb"\$\(\s*" + _PATH + rb"(?:" + _CLEAR + rb"|" + _ENGLISH + rb")\b[^)]{0,200}\)|"
    rb"(?:^|[^`])`\s*"
    + _PATH
    + rb"(?:"
    + _CLEAR
    + rb"(?:\s+[-/\w.$:@\"']+)*|"
    + _ENGLISH
    + rb"\s+[-/.$][^`]*)\s*`",
)
_TELLING = linear(
    rb"\$\{?IFS\b|/dev/(?:tcp|udp)/[\w.]+/\d|/(?:usr/)?s?bin/(?:ba|z|k|c|da)?sh\b|/(?:usr/)?bin/(?:cat|id|"
    rb"ls|nc|wget|curl|python|perl|"
    rb"ping|whoami|uname)\b|\b(?:ba|z|da)?sh\s+-[ic]\b|\bnc(?:at)?\s+(?:-\w+\s+)*-e\b|"
    rb"\bcmd(?:\.exe)?\s*/[ck]\b|"
    rb"\bpowershell(?:\.exe)?\s+-(?:e|enc|encodedcommand|c|command|nop|w|ep|exec)\b|\b(?:curl|"
    rb"wget)\s+(?:-\w+\s+)*\S+\s*\|\s*"
    rb"(?:ba|z|da)?sh\b|"
    rb"^(?:[\w-]{1,30}[:=]\s*)?[\"']?\(\s*\)\s*\{|\{(?:cat|ls|wget|curl|ping|sleep|echo|nc|id),[^}\s]+\}|"
    rb"\b(?:w['\"\\]+h|c['\"\\]+a['\"\\]*t|wh['\"\\]+o|who['\"\\]+a)\S*|\brm\s+-r?f\w*\s+[/~*]|>\s*/(?:tmp|"
    rb"etc|root|proc|var/www)/|"
    rb"\binvoke-(?:expression|webrequest|command)\b|\bnew-object\s+net\.webclient|"
    rb"\bcertutil\S*\s+-urlcache|\$\{PATH:|"
    rb"/\?\?\?/|[;|&]\s*(?:(?:/\w+)*/\w+[?*]\w*\s|\w+\$[@*]\w+|\$\w+\$\w|net\s+user\b|tee\s+/)|"
    rb"\bbase64\s+-d\b.{0,20}\|",
)

HINTS = (_BEHIND_SEPARATOR, _SUBSTITUTION, _TELLING)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """The command; None if there is none."""
    for pattern in (_BEHIND_SEPARATOR, _SUBSTITUTION, _TELLING):
        found = first(pattern, value)
        if found is not None:
            return found.strip()
    return None
