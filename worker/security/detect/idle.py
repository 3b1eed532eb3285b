"""What looks like script in markup and runs none: a tag without its attributes, data, somebody else's film,
handlers that call nothing.

Knows nothing of where the value came from.
"""

import re

# Of these a name alone does nothing.
_NAMED_ALONE = {b"iframe", b"frame", b"object", b"embed", b"applet", b"base", b"layer", b"portal"}
# Blocks that no browser runs.
_DATA = re.compile(
    rb"\s+type\s*=\s*[\"']?(?:application/(?:ld\+)?json|text/(?:template|plain|x-(?:template|handlebars|"
    rb"mathjax)[\w-]*))\b",
    re.IGNORECASE,
)
# A frame as pages have it to show a film or a map of somebody else's: of some size, all values in quotes.
_FRAMES = {b"iframe", b"object"}
_FRAME = re.compile(
    rb"(?=[^<>]*\s(?:width|height)=[\"']?\d{2,})(?=[^<>]*\s(?:src|data)=[\"'](?:https:)?//)"
    rb"(?![^<>]*\b(?:srcdoc|on\w+|name)\s*=)"
    rb"(?:\s+[\w-]+(?:=\"(?:(?!javascript|data:)[^\"<>])*\"|='(?:(?!javascript|data:)[^'<>])*'|=[\w%]+)?)+\s*/?",
    re.IGNORECASE,
)
# A handler as React has it: a function or its name, which HTML would name and not call.
_REACT_HANDLER = re.compile(rb"\bon[A-Z]\w*=\{(?:[\w.]+\}(?=[\s/>]|$)|\(?[\w, {}]*\)? ?=(?:>|$)|async )")
# Functions that every page has; others are the page's own.
_GIVEN = (
    rb"(?!(?:alert|confirm|prompt|eval|fetch|import|importscripts|open|stop|set(?:timeout|interval)|atob|function|"
    rb"execscript|postmessage|find|throw|void|delete|new)\b)"
)
# What a handler may do: nothing, what its own element has, or what the page has for it, told plain words.
_ACT = (
    rb"(?:true|false|confirm\((?!\1)[\"'][\w\s?!.,]*[\"']\)|history\.back\(\)|window\.print\(\)|"
    rb"window\.open\(this\.href(?:,\s*'\w*')?\)|this\.(?:form\.)?\w+\(\)|this\.classList\.\w+\('[\w-]+'\)|"
    rb"this\.(?:style\.\w+|src|onerror|value|disabled|alt)\s*=\s*(?:'[\w./#%: -]*'|null|true|false)|"
    + _GIVEN
    + rb"[a-z_$][\w$]*\((?:\s*+(?:(?!\1)[\"'][\w\s.:#-]*[\"']|\d+|this(?:\.\w+)?|event)\s*+,?)*+\))"
)
_IDLE_HANDLER = re.compile(
    rb"\bon[a-z]+\s*=\s*(?:\"[^\"'(`=\[&\\]*\"|'[^\"'(`=\[&\\]*'|([\"'])(?:\s*+(?:return\s++)?"
    + _ACT
    + rb"\s*+;?)+\s*+\1)",
    re.IGNORECASE,
)
# Markup to be read.
_ESCAPED = re.compile(rb"&lt;/?[a-z][^<>]{0,200}?&gt;", re.IGNORECASE)


def is_idle(name: bytes, attributes: bytes) -> bool:
    """Does a tag that might run something run nothing? `name` is in lower case."""
    if name == b"script":
        return _DATA.match(attributes) is not None
    if name in _NAMED_ALONE and b"=" not in attributes:
        return True
    return name in _FRAMES and _FRAME.fullmatch(attributes) is not None


def without_idle(markup: bytes) -> bytes:
    """The markup without the handlers and the escaped tags in it that run nothing."""
    return _ESCAPED.sub(b" ", _IDLE_HANDLER.sub(b" ", _REACT_HANDLER.sub(b" ", markup)))
