"""Ways to files that nobody is meant to reach: traversal, files of the system, wrappers that read files,
and the addresses that scanners try. Knows nothing of where the value came from.
"""

import re

from worker.security.detect.linear import first, linear

LONGEST_SEARCH = 200  # bytes

_TRAVERSAL = linear(
    rb"(?:(?:^|[/\\=:;,\"'\s])\.{2,}[/\\;]+){2}|"  # ../../
    rb"(?:^|[/\\=:])\.\.[/\\]+(?:etc|proc|var|usr|home|root|windows|winnt|boot\.ini|win\.ini|web-inf|"
    rb"meta-inf|conf|"
    rb"config|admin|private|secret|\.)|"
    rb"(?:\.{3,}[/\\]){2}|(?:%c0|\xc0)(?:%ae|\xae|%2e|\.)|(?:0x2e){2}0x(?:2f|5c)|"
    rb"\.\.;[/\\]|\.{4,}[/\\]{2}|[/\\]\.\.[/\\]\.\.|\.\.[/\\]*\x00|\.\.(?:\xe2\x81\x84|\xe2\x88[\x95\x96])|"
    rb"^/\w+\.\./\w|^\.\.[/\\][\w.-]+\.(?:py|php\d?|ya?ml|ini|conf|cfg|key|pem|properties|sqlite3?|env|"
    rb"log)$|\.\.(?:%c0%af|%c1%9c|\xc0\xaf|\xc1\x9c|"
    rb"%5c|%2f|0x2f)",
)
# A path and not a sentence about one: nothing stands before it but a path or a URL.
_SYSTEM_FILE = linear(
    rb"^\s*[\"']?\S{0,300}?(?:[/\\]etc[/\\]+(?:\.?[/\\])*(?:passwd|shadow|gshadow|master\.passwd|group|"
    rb"hosts|hostname|issue|environment|"
    rb"sudoers|ssh|crontab|fstab|"
    rb"mysql|apache2?|nginx|"
    rb"httpd|php|resolv|os-release|security|pam|ssl)|"
    rb"[/\\]proc[/\\]+(?:self|version|cmdline|mounts|\d+|net|sys|cpuinfo|meminfo|sched_debug)\b|"
    rb"[/\\]var[/\\]+(?:log|mail|spool|lib[/\\]+mysql|run[/\\]+secrets)[/\\]|[/\\](?:root|"
    rb"home[/\\]\w+)[/\\]+\.(?:ssh|bash|aws|"
    rb"kube|docker|gnupg|netrc|mysql)|\bid_(?:rsa|dsa|ed25519|ecdsa)\b|"
    rb"\b[a-z]:[/\\]+(?:windows|winnt|boot\.ini|inetpub|xampp)|\b(?:boot|"
    rb"win|system|desktop)\.ini\b|"
    rb"system32[/\\]|(?:^|[/\\])(?:web\.config|wp-config\.php|\.htpasswd|\.htaccess|\.env(?:\.\w+)?|"
    rb"\.git[/\\]|\.svn[/\\]|"
    rb"\.aws[/\\]|\.ssh[/\\]|\.docker[/\\]|\.kube[/\\]|web-inf[/\\]|meta-inf[/\\]))",
)
_WRAPPER = linear(
    rb"\b(?:php://(?:filter|input|output|fd|memory|temp|stdin)|phar://|zip://|compress\.(?:zlib|bzip2)://|"
    rb"zlib:|glob://|"
    rb"expect://|ogg://|rar://|ssh2\.\w+://|data://text|data:[\w/+-]*;base64,PD9|file:/{1,9}[\w.\\]|"
    rb"jar:(?:file|https?):|"
    rb"netdoc:|local_file:|gopher://|dict://)",
)
# A program elsewhere, to be run here: its URL ends so that what is added to it does not count.
_REMOTE = linear(
    rb"^\s*(?:https?:|ftps?:)?//[^\s?#]+(?:\.(?:php\d?|txt|jpe?g|gif|png|inc|jsp|asp)\?+$|"
    rb"/(?:shell|cmd|c99|r57|backdoor|webshell)\.\w+)|^\\\\\d+(?:\.\d+){3}\\|^\\\\[\w.-]+\\.*\.(?:php|jsp|"
    rb"aspx?|dll|exe)$"
)
_CUT_OFF = linear(rb"\.[a-z]{2,5}\x00|\x00\.[a-z]{2,5}|%00")

# What pages of the web refer to, from where they lie; and documents at somebody's home.
_OF_A_PAGE = re.compile(
    rb"(?:\.\.?/)+(?!etc/|proc/|var/|windows/|web-inf/)[\w@-][\w./@-]*\.(?:css|s[ac]ss|less|m?js|jsx|tsx?|"
    rb"vue|svg|png|jpe?g|"
    rb"gif|webp|avif|ico|woff2?|ttf|html?|md|mp[34]|webm|pdf|csv)(?:[?#][\w=.-]*)?",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    rb"file:///(?:[a-z]:/)?(?:home|users)/[\w%-]+/(?:[\w%-][\w%. -]*/)*[\w%-][\w% .-]*", re.IGNORECASE
)
# Names of files that the web has pages about, in an address of the web, or with words behind them.
_ABOUT = re.compile(rb"https?://[^?=]*|[^\s\"'<>]+(?:\s+[a-z][\w'.-]*|\s+\d[\w.]*)+[?!.]*\s*", re.IGNORECASE)

# One of them matches wherever something is found.
HINTS = (_TRAVERSAL, _SYSTEM_FILE, _WRAPPER, _REMOTE, _CUT_OFF)


def find(value: bytes) -> bytes | None:
    """The part that leads astray; None if there is none."""
    if _OF_A_PAGE.fullmatch(value) or _DOCUMENT.fullmatch(value):
        return None
    for pattern in HINTS:
        found = first(pattern, value)
        if found is not None and not (pattern is _SYSTEM_FILE and _is_about(value)):
            return found
    return None


def _is_about(value: bytes) -> bool:
    """Is it a search, or a page of the web, about a file?"""
    return len(value) <= LONGEST_SEARCH and _ABOUT.fullmatch(value) is not None
