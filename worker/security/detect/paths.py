"""Ways to files that nobody is meant to reach: traversal, files of the system, wrappers that read files,
and the addresses that scanners try. Knows nothing of where the value came from.
"""

from worker.security.detect.linear import first, linear

_TRAVERSAL = linear(
    rb"(?:(?:^|[/\\=:;,\"'\s])\.{2,}[/\\;]+){2}|"  # ../../
    rb"(?:^|[/\\=:])\.\.[/\\]+(?:etc|proc|var|usr|home|root|windows|winnt|boot\.ini|win\.ini|web-inf|"
    rb"meta-inf|conf|"
    rb"config|admin|private|secret|\.)|"
    rb"\.\.;[/\\]|\.{4,}[/\\]{2}|[/\\]\.\.[/\\]\.\.|\.\.[/\\]*\x00|\.\.(?:%c0%af|%c1%9c|\xc0\xaf|\xc1\x9c|"
    rb"%5c|%2f|0x2f)",
)
# A path and not a sentence about one: nothing stands before it but a path or a URL.
_SYSTEM_FILE = linear(
    rb"^\s*[\"']?\S{0,300}?(?:[/\\]etc[/\\]+(?:\.?[/\\])*(?:passwd|shadow|group|hosts|hostname|issue|"
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

# What scanners ask every site for. Of a request's path alone: the same words in a value are talk.
PROBED = linear(
    rb"/(?:\.(?:env|git|svn|hg|aws|ssh|docker|kube|vscode|idea|ds_store|htpasswd|htaccess|bash_history|"
    rb"npmrc)\b|"
    rb"(?:[\w-]+/)*wp-config\.php(?:[.~_]\w*|\.\w+)?$|"
    rb"(?:[\w-]+/)*phpunit/(?:src/)?util/php/eval-stdin\.php|_ignition/execute-solution|"
    rb"(?:phpmyadmin|pma|myadmin|dbadmin)/(?:index\.php|scripts)|cgi-bin/.*(?:/\.\.|%2e|\.\.|;|\|)|"
    rb"actuator/(?:env|heapdump|"
    rb"gateway|jolokia|trace|mappings|shutdown)|jolokia/|solr/.*/(?:config|dataimport|"
    rb"select\?.*wt=velocity)|hnap1\b|boaform/|gponform/|goform/|"
    rb"setup\.cgi|shell\?|manager/html|invoker/(?:jmx|ejb)|jmx-console|console/(?:login|css/)|struts2?-|"
    rb"autodiscover/autodiscover\.json|owa/auth/x\.js|ecp/.*\.(?:js|xml)|remote/fgt_lang|dana-na/|"
    rb"mgmt/tm/util|tmui/login\.jsp|"
    rb"vpn/\.\./|cdn-cgi/\.\.|server-status$|server-info$|elmah\.axd|trace\.axd|telescope/requests|"
    rb"debug/default/view|"
    rb"(?:[\w-]+/)*(?:adminer|phpinfo|info|test|shell|cmd|c99|r57|wso|b374k|alfa|webshell|backdoor)\.php$|"
    rb"(?:[\w-]+/)*[\w-]*(?:backup|dump|db|database|site|www|wwwroot)\.(?:zip|tar|tgz|rar|7z|bak|tar\.gz)$|"
    rb"(?:[\w-]+/)*[\w-]+\.(?:sql(?:\.\w+)?|key|pem|swp)$|cgi-bin/(?:test|php|bash|sh|status|env|printenv)\b|"
    rb"solr/admin/|(?:[\w-]+/)*(?:docker-compose|secrets|credentials|database)\.ya?ml$|"
    rb"(?:[\w-]+/)*[\w-]+\.(?:php|asp|aspx|jsp|config|yml|yaml|ini|sql|log)(?:\.(?:bak|old|orig|save|swp|"
    rb"copy|tmp)|~)$|xmlrpc\.php$)",
)

# One of them matches wherever something is found.
HINTS = (_TRAVERSAL, _SYSTEM_FILE, _WRAPPER, _REMOTE, _CUT_OFF)


def find(value: bytes) -> bytes | None:
    """The part that leads astray; None if there is none."""
    for pattern in HINTS:
        found = first(pattern, value)
        if found is not None:
            return found
    return None


def find_probe(path: bytes) -> bytes | None:
    """The part of a request's path that only scanners ask for."""
    return first(PROBED, path)
