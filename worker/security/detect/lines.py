"""Lines that a value adds where one is expected: fields of HTTP answers, requests behind the request, fields
and commands of mail, commands of a cache's protocol, entries of a log.

What stands before the break tells them from text of several lines: one short piece, no field of its own and
no sentence. Knows nothing of where the value came from.
"""

import re

from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_talk

LONGEST_LINE = 200  # before the break: a text of many lines has longer ones, and more of them

# A line break, also as what remains of one once something has decoded it half.
_BREAK = (
    rb"(?:(?:\xc4\x8d)?\xc4\x8a|\xe5\x98\x8a(?:\xe5\x98\x8d)?|\r\n?(?:0[ad])?|\n(?:0[ad])?|"
    rb"\xe2\x80[\xa8\xa9]|\xc2\x85)"
)
_FIRST = rb"^[^\r\n]{0,%d}?" % LONGEST_LINE
_FIELD = (
    rb"(?:set-cookie2?|location|content-(?:type|length|security-policy|encoding|disposition|language|range)|"
    rb"transfer-encoding|x-[\w-]+|access-control-[\w-]+|refresh|host|link|cache-control|clear-site-data|"
    rb"status|p3p|strict-transport-security|authorization|proxy-[\w-]+|www-authenticate|connection|"
    rb"last-modified|expires|etag|pragma|server|vary|cookie|origin|referer|user-agent|accept(?:-[\w-]+)?|"
    rb"keep-alive|upgrade|age|via|warning|forwarded|sec-[\w-]+|cross-origin-[\w-]+|permissions-policy|"
    rb"referrer-policy|public-key-pins|report-to|sourcemap|alt-svc|http/[0-9.]+(?:\s+\d{3})?)"
)
_METHODS = rb"(?:GET|POST|PUT|DELETE|HEAD|OPTIONS|CONNECT|PATCH|TRACE|PROPFIND)"
HTTP = linear(
    _FIRST
    + _BREAK
    + rb"+\s*(?:"
    + _FIELD
    + rb"\s*:|http/[0-9.]+ \d|[a-z]{1,20}(?:-[a-z]{1,20}){1,4}\s*:)|^[^\r\n\s]{0,200}(?:\r\n?|"
    rb"\n){2,}\s*(?:<(?:html|script|svg|body|h1|"
    rb"img)|HTTP/1)|"
    + _FIRST
    + rb"(?:\r\n?|\n)+\s*"
    + _METHODS
    + rb" \S+ HTTP/|^\S* HTTP/1\.[01](?:\r\n?|\n)"
)
# Commands of Redis, memcached and FTP: neighbours that take lines from anybody.
_NEIGHBOUR = linear(
    rb"^\S{0,%d}(?:\r\n?|\n)+\s*(?:(?:slaveof|replicaof)\s+\S+\s+\S+|config\s+set\s|flushall\b|flushdb\b|"
    rb"(?:set|add|replace)\s+\S+\s+\d+\s+\d+\s+\d+|stats\b|quit\b|eval\s+[\"']|module\s+load\s|save\b\s*$|"
    rb"[*$]\d+\r?\n|user\s+\w+\r?\n|delete\s+\S+\s*$|retr\s|stor\s|dele\s|port\s+\d+,|gopher\b)"
    % LONGEST_LINE
)
# An entry of a log that nobody made.
_LOGGED = linear(
    rb"^[^\r\n\s]{0,80}(?:\r\n?|\n)+\s*(?:\[(?:info|warn(?:ing)?|error|debug|notice|crit(?:ical)?|alert|"
    rb"fatal)\]|"
    rb"(?:info|warn(?:ing)?|error|debug|notice|critical|fatal)\s*[:-]\s|\d{4}-\d\d-\d\d[t ]\d\d:\d\d|"
    rb"\d{1,3}(?:\.\d{1,3}){3} - |\w{3} +\d+ \d\d:\d\d:\d\d )"
)
MAIL = linear(
    rb"^[^\r\n]{0,%d}(?:\r\n?|\n)+[ \t,]{0,8}(?:(?:to|cc|bcc|reply-to|from|subject|date|content-[\w-]+|"
    rb"mime-version|"
    rb"in-reply-to|references|message-id|x-[\w-]+|sender|return-path|resent-[\w-]+|"
    rb"disposition-notification-to|importance|priority|received)\s*:|"
    rb"(?:rcpt to|mail from)\s*:|\.(?:\r\n?|\n)|(?:data|rset|quit|noop|starttls)\s*(?:\r?\n|$)|"
    rb"(?:helo|ehlo|vrfy|expn)\s|top\s+\d+\s+\d|[a-z]{1,2}\d+\s+(?:capability|"
    rb"login|fetch|select|create|delete|store|logout|list|search|copy|noop)\b)|^\d+ fetch \d|"
    rb"=\?[\w-]{1,20}\?q\?[^?]{0,100}=0[ad]|"
    rb"^[\"<]?[\w.+-]{1,64}@[\w.-]{1,100}[\">,]*(?:\r\n|\r|\n){2,}\s*\w[^@]*$" % LONGEST_LINE,
)
# Options that sendmail takes from an address.
_SENDMAIL = linear(
    rb"(?:^|\s)-o?queuedirectory=|(?:^|\s)-x\s?/[\w./-]+|(?:^|\s)-oq\s?/|\s-be\s+[\"']?\$\{|(?:^|"
    rb"\s)-c\s?/\w+/\S+\s.*@"
)
# Whoever pastes a letter has written sentences, or begins with its head.
_LETTER = re.compile(
    rb"^-{2,}|^(?:from|date|received|return-path|subject|to|delivered-to)\s?:?\s[^\r\n]*|[.!?]\s|"
    rb"\w+\s+\w+\s+\w+\s+\w+\s+\w+"
)
_ADDRESS_LINE = re.compile(rb"[\"'<]?[\w.+-]{1,64}@[\w.-]{1,100}[\"'>,]*[\r\n]")
# What is no value before a break: a field or a key of its own, a rule, a request as people paste one.
_HEAD = re.compile(
    rb"^\s*(?:[$#%>]\s|[\w.-]+\s*:(?:\s|$)|[\w.()-]+(?: [\w.()-]+){1,5}\s*:\s*$|[-#=*+|>{<\[].|"
    + _METHODS
    + rb" \S+ HTTP/|HTTP/\d|curl\s|version\b|\w+\s*=\s)",
    re.IGNORECASE,
)

HTTP_HINTS = (HTTP, _NEIGHBOUR, _LOGGED)  # one of them matches wherever something is found
MAIL_HINTS = (MAIL, _SENDMAIL)


def find_http(value: bytes) -> bytes | None:
    """The line that would be a field of an answer or a request of its own; None if there is none."""
    before = re.split(rb"[\r\n]", value[: LONGEST_LINE + 1], maxsplit=1)[0]
    if _HEAD.match(before) or _LETTER.search(before.lower()):
        return None
    return first(HTTP, value) or first(_NEIGHBOUR, value) or first(_LOGGED, value)


def speaks_of_mail(value: bytes) -> bool:
    """Is it talk? An address with a line break behind it is none, whatever the letter says."""
    return _ADDRESS_LINE.match(value) is None and is_talk(value)


def find_mail(value: bytes) -> bytes | None:
    """The line that would be a field or a command of mail; None if there is none."""
    options = first(_SENDMAIL, value) if b"@" in value or value.startswith(b"-") else None
    if options is not None:
        return options
    found = first(MAIL, value)
    return None if found is None or _LETTER.search(found.lower().partition(b"\n")[0]) else found
