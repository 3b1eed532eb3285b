"""Lines that a value adds where one is expected: fields of HTTP answers, fields and commands of mail.

Knows nothing of where the value came from.
"""

import re

from worker.security.detect.linear import first, linear

LONGEST_LINE = 200  # before the break: a text of many lines has longer ones, and more of them

HTTP = linear(
    rb"^[^\r\n]{0,%d}(?:\r\n?|\n|\xe5\x98\x8a)+\s*(?:\xe5\x98\x8d)?(?:set-cookie|location|content-(?:type|"
    rb"length|security-policy|encoding)|"
    rb"transfer-encoding|x-[\w-]+|access-control-[\w-]+|refresh|http/[0-9.]+(?:\s+\d{3})?|host|link|"
    rb"cache-control|clear-site-data)\s*[: ]|"
    rb"(?:\r\n?|\n){2,}\s*(?:<(?:html|script|svg|body)|HTTP/1)|^[^\r\n]{0,%d}(?:\r\n?|\n)(?:GET|POST|PUT|"
    rb"DELETE|HEAD|OPTIONS|CONNECT) \S+ HTTP/" % (LONGEST_LINE, LONGEST_LINE),
)
MAIL = linear(
    rb"^[^\r\n]{0,%d}(?:\r\n?|\n)+(?:(?:to|cc|bcc|reply-to|from|subject|content-type|mime-version|"
    rb"x-mailer|sender|return-path|resent-to|content-transfer-encoding|disposition-notification-to)\s*:|"
    rb"(?:rcpt to|mail from)\s*:|\.(?:\r\n?|\n)|data\r?\n|(?:helo|ehlo)\s|[a-z]{1,2}\d+\s+(?:capability|"
    rb"login|fetch|select|create|delete|store|logout)\b)|^\d+ fetch \d" % LONGEST_LINE,
)
# Whoever pastes a letter has written sentences, or begins with its head.
_LETTER = re.compile(
    rb"^(?:from|date|received|return-path)\s?:?\s[^\r\n]*@|[.!?]\s|\w+\s+\w+\s+\w+\s+\w+\s+\w+"
)


def find_http(value: bytes) -> bytes | None:
    """The line that would be a field of an answer; None if there is none."""
    return first(HTTP, value)


def find_mail(value: bytes) -> bytes | None:
    """The line that would be a field or a command of mail; None if there is none."""
    found = first(MAIL, value)
    return None if found is None or _LETTER.search(found.lower().partition(b"\n")[0]) else found
