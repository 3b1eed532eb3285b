"""Pages that servers make of a directory: the heading, and all entries below it."""

from worker.reasons import Leak
from worker.security.leaks.rule import Rule

# Everything up to what ends the list.
_ENTRIES = rb"(?:[^<]|<(?:[^/]|/(?:a|h1|h2|i|b|tt|td|th|tr|li|div|span|thead|head|title)[ >])){1,100}"

RULES: tuple[Rule, ...] = tuple(
    Rule(Leak.DIRECTORY_LISTING, sign, b"(?i)" + begin, _ENTRIES)
    for sign, begin in (
        # Apache, nginx, lighttpd, and Apache with table
        (rb"<h[12]>Index of /", rb"<h[12]>Index of /[^<]{0,256}</h[12]>"),
        # Python, Tomcat
        (rb"<h1>Directory listing for ", rb"<h1>Directory listing for [/\[][^<]{0,256}</h1>"),
        # Jetty
        (rb"<h1[^>]{0,60}>Directory: /", rb"<h1[^>]{0,60}>Directory: /[^<]{0,256}</h1>"),
        # IIS
        (rb"\[To Parent Directory\]", rb"<a href=\"[^\"]{0,256}\">\[To Parent Directory\]</a>"),
    )
)
