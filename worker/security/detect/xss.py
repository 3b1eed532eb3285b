"""Script in what shall be text: read as HTML would read it between tags, within an attribute, in a URL, in
a script.

Plain markup (bold, links, pictures) is no attack; what runs code is. Knows nothing of where the value came
from.
"""

import html
import re
from itertools import chain, islice

from worker.security.detect.idle import is_idle, without_idle
from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_worded

LONGEST_BYTES = 16384  # looked at
TAGS = 500

# Events that browsers know (HTML, SVG, pointer, media, animation, clipboard).
_EVENTS = (
    rb"on(?:abort|activate|afterprint|afterscriptexecute|animation(?:cancel|end|iteration|start)|auxclick|"
    rb"before(?:copy|cut|input|paste|print|scriptexecute|toggle|unload|match|xrselect)|begin|blur|bounce|"
    rb"cancel|"
    rb"canplay(?:through)?|change|click|close|contentvisibilityautostatechange|contextmenu|copy|cuechange|"
    rb"cut|dblclick|"
    rb"drag(?:end|enter|exit|leave|over|start)?|drop|durationchange|end|ended|error|finish|focus(?:in|out)?|"
    rb"formdata|fullscreenchange|gesture\w+|gotpointercapture|hashchange|input|invalid|key(?:down|press|"
    rb"up)|load"
    rb"(?:eddata|edmetadata|end|start)?|lostpointercapture|message(?:error)?|mouse(?:down|enter|leave|move|"
    rb"out|over|"
    rb"up|wheel)|offline|online|page(?:hide|show|reveal|swap)|paste|pause|play(?:ing)?|pointer\w+|popstate|"
    rb"progress|"
    rb"propertychange|ratechange|readystatechange|repeat|reset|resize|scroll(?:end|snap\w+)?|search|"
    rb"securitypolicyviolation|seek(?:ed|ing)|select(?:ionchange|start)?|show|slotchange|stalled|start|"
    rb"storage|"
    rb"submit|suspend|timeupdate|toggle|touch(?:cancel|end|move|start)|transition(?:cancel|end|run|start)|"
    rb"unhandledrejection|unload|volumechange|waiting|webkit\w+|wheel)"
)

_TAG = re.compile(
    rb"<\s?/?\s?([a-z!?%][^\s>/<\x00\x0c]*)((?:[^<>\"']|\"[^\"]*(?:\"|$)|'[^']*(?:'|$))*)", re.IGNORECASE
)
# The same to who does not care for quotes: they may never have been opened.
_TAG_AT_ALL = re.compile(rb"<\s?/?\s?([a-z!?%][^\s>/<\x00\x0c]*)([^<>]*)", re.IGNORECASE)
_RUNS = {
    b"script", b"iframe", b"frame", b"frameset", b"object", b"embed", b"applet", b"base", b"bgsound", b"xml",
    b"xss", b"isindex", b"layer", b"ilayer", b"portal", b"fencedframe",
}  # fmt: skip
_RUNS_AS_WELL = re.compile(rb"!\[cdata|!entity(?!>)|\?xml-stylesheet|script(?![\[\\])")  # not of a regex
_CODE = b"(`=["  # one of them is in every script that does something
_EVENT_ATTRIBUTE = linear(rb"(?:^|[\s/\"'`\x00;])(" + _EVENTS + rb")[\s\x00\x0b/]*=")
_ATTRIBUTE = re.compile(
    rb"([a-z:_-]+)\s*=\s*(?:\"([^\"]*)\"?|'([^']*)'?|`([^`]*)`?|([^\s\"'`>]+))", re.IGNORECASE
)
_URL_ATTRIBUTES = {
    b"href", b"src", b"action", b"formaction", b"xlink:href", b"data", b"poster", b"background", b"to",
    b"from", b"values", b"srcdoc", b"code", b"codebase", b"content", b"lowsrc", b"dynsrc", b"folder",
}  # fmt: skip

# Where an attribute that holds the value would end, an event handler begins.
_BREAKS_OUT = linear(rb"(?:[\"'`]|^\s*\S*?[\s/])(?:[^<>]{0,200}?[\s/\"'`])?(" + _EVENTS + rb")\s*=\s*[^\s=]")

_SINK = (
    rb"(?:(?:window|self|top|parent|globalthis|this|document|frames)\s*(?:\.|\[)\s*[\w'\"]+|alert|confirm|"
    rb"prompt|print|"
    rb"eval|fetch|import|settimeout|setinterval|atob|open|location|navigator|console\s*\.\s*log|"
    rb"document\s*\.\s*(?:cookie|write(?:ln)?|domain|location|body)|xmlhttprequest|"
    rb"string\s*\.\s*fromcharcode|constructor|"
    rb"\[\s*\]\s*\[|reflect|throw|onerror)"
)
# Behind a quote that ends a string of a script, or in a template of one.
_IN_SCRIPT = linear(
    rb"(?:[\"'`]|\\x2[27]|\\u002[27])[ \t)\]}]*(?:[;,+*/%&|^?:=<>~-]+|\bin\b)[\s({\[!~+-]*(?:\w+\s*=\s*)?"
    + _SINK
    + rb"\s*[(`.=\[\"']|"
    rb"\$\{[^}]*\b" + _SINK + rb"\s*[(`]"
)
_CALLS = linear(
    rb"^\W{0,4}document\s*\.\s*cookie\W{0,4}$|[=+(,\[]\s*document\s*\.\s*cookie\b|"
    rb"\bdocument\s*\.\s*(?:cookie\s*=|write(?:ln)?\s*\()|\+ADw-\s*/?\w|"
    rb"\bfunction\s*\(\s*[\"'`]|string\s*\.\s*fromcharcode\s*\(|"
    rb"\b(?:window|self|top|parent|document)\s*\.\s*location\s*=|\beval\s*\(\s*(?:atob|unescape|string|"
    rb"name|location)|"
    rb"constructor\s*\.\s*constructor\s*\(|\[\s*[\"'](?:constructor|alert|eval)[\"']\s*\]|"
    rb"^\W{0,4}(?:alert|confirm|prompt)\s*[(`]\s*(?:\d+|document|[\"'`][^\"'`]*[\"'`]|/)|"
    rb"\b(?:window|self|top|parent|frames|globalthis)\s*\[[^\]]*[\"'][^\]]*\]\s*\(|"
    rb"\]\(\s*javascript:[^)\s]*[(`]|\b(?:x-init|hx-on[:\w-]*|x-on:\w+)\s*=\s*[\"']?[\w.$]+[(`]|"
    rb"\bon(?:error|load)\s*=\s*(?:alert|eval|confirm|prompt)\b"
)
_CODE_URL = re.compile(
    rb"(?:(?:java|vb|live)script:(?:[\w.$\[\]'\"\\/+*!~;%&#{},@-]*[(`=\[]|//|%)|data:(?:text/html"
    rb"|text/xml|application/xhtml\+xml|[\w/]*(?:javascript|ecmascript))[;,]|view-source:|mhtml:)",
    re.IGNORECASE,
)
_INERT = re.compile(rb"javascript:(?:void\(?0\)?|;|\{\})?;?[\"']?[a-z0-9?]*", re.IGNORECASE)
_SPOKEN_URL = re.compile(rb"javascript:\s", re.IGNORECASE)
_SPOKEN_CALL = re.compile(rb"\W{0,4}\w+\([^()]*\)\s+[a-z:][\w :)!?.-]*", re.IGNORECASE)
_IGNORED = rb"(?:[\x00-\x20\xad]|\xe2\x80[\x8b-\x8f])"  # in the name of a URL's scheme
_IGNORED_IN_URLS = re.compile(_IGNORED + b"+")
_SCHEMES = (b"script", b"data", b"view-source", b"mhtml")  # or ends of them
_STYLE = linear(
    rb"expression\s*\(|behaviou?r\s*:|-moz-binding|@import|javascript\s*:|url\s*\(\s*['\"]?\s*javascript"
)


def _spread(name: bytes) -> bytes:
    """As a pattern, with whatever is ignored between its letters and behind them."""
    return b"".join(b"%c%b*" % (one, _IGNORED) for one in name)


HINTS = (
    linear(rb"<\s?/?\s?[a-z!?%]"),
    _BREAKS_OUT,
    linear(b"(?:%b)[:&]|&#" % b"|".join(map(_spread, _SCHEMES))),
    _IN_SCRIPT,
    _CALLS,
)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """The part of the value that would run; None if there is none."""
    value = value[:LONGEST_BYTES]
    return (
        (_in_markup(value) if b"<" in value else None)
        or _breaks_out(value)
        or (None if _SPOKEN_URL.match(value) and is_worded(value) else _code_url(value))
        or first(_IN_SCRIPT, value)
        or (None if is_worded(value) or _SPOKEN_CALL.fullmatch(value) else first(_CALLS, value))
    )


def is_xss(value: bytes) -> bool:
    """Would some part of the value run?"""
    return find(value) is not None


def _breaks_out(value: bytes) -> bytes | None:
    return None if first(_BREAKS_OUT, value) is None else first(_BREAKS_OUT, without_idle(value))


def _in_markup(value: bytes) -> bytes | None:
    last_code = max(value.rfind(byte) for byte in _CODE)
    for tag in chain(islice(_TAG.finditer(value), TAGS), islice(_TAG_AT_ALL.finditer(value), TAGS)):
        name = tag[1].lower().partition(b":")[2] or tag[1].lower()
        if (name == b"script" and not tag[2] and tag.end() > last_code) or is_idle(name, tag[2]):
            continue  # the name of the tag, in a sentence, or one that runs nothing
        if name.strip(b"\x00") in _RUNS or _RUNS_AS_WELL.match(name):
            return tag[0][:100]
        if name == b"style" and _STYLE.search(value[tag.end() :]):
            return tag[0][:100]
        if _has_handler(tag[2]) or _runs_by_attribute(name, tag[2]):
            return tag[0][:100]
    return None


def _has_handler(attributes: bytes) -> bool:
    return (
        _EVENT_ATTRIBUTE.search(attributes) is not None
        and _EVENT_ATTRIBUTE.search(without_idle(attributes)) is not None
    )


def _runs_by_attribute(name: bytes, attributes: bytes) -> bool:
    for key, *given in _ATTRIBUTE.findall(attributes):
        key, content = key.lower(), next(filter(None, given), b"")
        if (key in _URL_ATTRIBUTES or name == b"param") and _code_url(content) is not None:
            return True
        if name == b"use" and content.lower().startswith(b"data:"):
            return True
        if key == b"style" and _STYLE.search(content):
            return True
        if name == b"meta" and key == b"http-equiv" and content.lower() in (b"refresh", b"set-cookie"):
            return True
        if name == b"link" and key == b"rel" and content.lower() in (b"stylesheet", b"import", b"preload"):
            return True
        if key == b"attributename" and content.lower().startswith((b"on", b"href", b"xlink")):
            return True
        if key == b"srcdoc":
            return True
    return False


def _code_url(value: bytes) -> bytes | None:
    """Does a URL begin here that runs code? Browsers skip control characters within a scheme."""
    if b":" not in value and b"&" not in value:
        return None
    text = html.unescape(value[:2048].decode("latin-1")).encode("latin-1", "replace")
    stripped = _IGNORED_IN_URLS.sub(b"", text[:400])
    stripped = stripped.lstrip(b"\"'`")
    found = None if _INERT.fullmatch(stripped) else _CODE_URL.match(stripped)
    return None if found is None else found[0][:100]
