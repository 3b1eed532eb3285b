"""Ways to files that nobody is meant to reach: traversal, files of the system, wrappers that read files,
and the addresses that scanners try. Knows nothing of where the value came from.
"""

from worker.security.detect.linear import first, linear

_TRAVERSAL = linear(
    rb"(?:(?:^|[/\\=:;,\"'\s])\.{2,}[/\\;]+){2}|"  # ../../
    rb"(?:^|[/\\=:])\.\.[/\\]+(?:etc|proc|var|usr|home|root|windows|winnt|boot\.ini|win\.ini|web-inf|"
    rb"meta-inf|conf|"
    rb"config|admin|private|secret|\.)|"
    rb"(?:\.{3,}[/\\]){2}|(?:%c0|\xc0)(?:%ae|\xae|%2e|\.)|(?:0x2e){2}0x(?:2f|5c)|"
    rb"\.\.;[/\\]|\.{4,}[/\\]{2}|[/\\]\.\.[/\\]\.\.|\.\.[/\\]*\x00|\.\.(?:%c0%af|%c1%9c|\xc0\xaf|\xc1\x9c|"
    rb"%5c|%2f|0x2f)",
)
# A path and not a sentence about one: nothing stands before it but a path or a URL.
_SYSTEM_FILE = linear(
    rb"^\s*[\"']?\S{0,300}?(?:[/\\]etc[/\\]+(?:\.?[/\\])*(?:passwd|shadow|gshadow|master\.passwd|group|hosts|hostname|issue|"
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
    rb"expect://|ogg://|rar://|ssh2\.\w+://|data://text|data:[\w/+-]*;base64,PD9|file:/{1,3}[\w./\\]|"
    rb"jar:(?:file|https?):|"
    rb"netdoc:|local_file:|gopher://|dict://)",
)
# A program elsewhere, to be run here: its URL ends so that what is added to it does not count.
_REMOTE = linear(
    rb"^\s*(?:https?:|ftps?:)?//[^\s?#]+(?:\.(?:php\d?|txt|jpe?g|gif|png|inc|jsp|asp)\?+$|"
    rb"/(?:shell|cmd|c99|r57|backdoor|webshell)\.\w+)|^\\\\[\w.-]+\\.*\.(?:php|jsp|aspx?|dll|exe)$"
)
_CUT_OFF = linear(rb"\.[a-z]{2,5}\x00|\x00\.[a-z]{2,5}|%00")

# One of them matches wherever something is found.
HINTS = (_TRAVERSAL, _SYSTEM_FILE, _WRAPPER, _REMOTE, _CUT_OFF)


def find(value: bytes) -> bytes | None:
    """The part that leads astray; None if there is none."""
    for pattern in HINTS:
        found = first(pattern, value)
        if found is not None:
            return found
    return None
