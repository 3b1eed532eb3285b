"""Injection into queries other than SQL: operators of document databases, filters of LDAP, expressions of
XPath.

Knows nothing of where the value came from.
"""

from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_search, is_worded
from worker.security.detect.whole import is_assignment

_OPERATORS = (
    rb"(?:ne|gt|gte|lt|lte|eq|in|nin|regex|where|exists|or|and|not|nor|expr|type|mod|text|all|size|"
    rb"elemMatch|jsonSchema|function|"
    rb"accumulator|lookup|merge|out|set|unset|inc|push|rename|options)"
)
DOCUMENT = linear(
    rb"\[\s*['\"]?\$"
    + _OPERATORS
    + rb"['\"]?\s*\]|['\"{,]\s*['\"]?\$"
    + _OPERATORS
    + rb"['\"]?\s*:|(?:^|\.)\$"
    + _OPERATORS
    + rb"\s*(?:$|:)|"
    rb"\bdo\s*\{.*\}\s*while\s*\(|"
    rb"['\"]\s*[;|&]{1,2}\s*(?:return\b|this\.|sleep\s*\(|while\s*\(|var\s|db\.|it\b|1\s*==|'\w*'\s*==|"
    rb"true\b)|"
    rb"\bthis\.\w+\s*(?:==|!=|\.match|\[|>|<)|\bdb\.\w+\.(?:drop|insert|remove|update|(?:find|aggregate|"
    rb"count)\s*\(\s*(?:\)|\{\s*(?:\}|[\"']?\$)|[^{\[\s]))"
    rb"|"
    rb"\bfunction\s*\(\s*\)\s*\{\s*return\s+this\b|['\"}]\s*\)\s*(?:match\s*\(|return\s+\w+\s+(?:union|//)|"
    rb"detach\s)|"
    rb"\bdb\.(?:get[A-Z]\w*|version|stats|adminCommand|dropDatabase)\s*\(|"
    rb"['\"]\s*\|\|\s*['\"]?\w+['\"]?\s*={2,3}\s*['\"]?\w+",
)
DIRECTORY = linear(
    rb"\*\s*\)\s*\(|\)\s*\(\s*[|&!]|\)\s*\(\s*(?:uid|cn|ou|dc|sn|mail|user|userpassword|objectclass|"
    rb"samaccountname|givenname|password|"
    rb"memberof|homedirectory)\s*[~<>]?=|\(\s*[|&]\s*\(\s*\w+\s*[~<>]?=|\*\)\)\s*(?:%00|\x00|\(|$)|^\*\)\(|"
    rb"^\*?\)\s*%00|^[(|&!]*\(\w+=\*\)|\*\(\)\s*[|&]|\)\)\s*\(\|",
)
_FUNCTIONS = (
    rb"(?:count|string|string-length|substring(?:-before|-after)?|name|local-name|starts-with|contains|"
    rb"translate|concat|normalize-space|position|last|not|true|false|boolean|doc|doc-available|document|"
    rb"unparsed-text|text)"
)
XPATH = linear(
    rb"['\"]\s*[\])]*\s*\|\s*/|['\"]\s*\]\s*(?:or|and|/)|"
    rb"['\"]\s*\)?\s*(?:or|and)\s*(?:/|(?:not\s*\()?" + _FUNCTIONS + rb"\s*\()|"
    rb"\b" + _FUNCTIONS + rb"\s*\(\s*(?:/[/\w*]|\.\s*[,)]|//)|"
    rb"\b(?:child|parent|ancestor|descendant|following|preceding|self|attribute)(?:-or-self|-sibling)?::"
    rb"(?:\*|node\(|text\(|\w+\s*[\[/=])|"
    rb"(?:^|[^:])//[\w*]+\[|/\*\[\d|^\(?//\w+(?:/\w+)*/text\(\)|\bin\s+//\w+\s+return\b|\b(?:doc|document|"
    rb"unparsed-text)\s*\(\s*['\"](?:/|https?:|file:|ftp:)|"
    rb"^/(?:[\w*]+/)+[\w*]+\[[^\]]*[=(]|^/\*/\*"
)


def find_document(value: bytes) -> bytes | None:
    """The operator or code of a document database; None if there is none."""
    return first(DOCUMENT, value)


def find_directory(value: bytes) -> bytes | None:
    """The piece of a filter of LDAP (RFC 4515); None if there is none."""
    return first(DIRECTORY, value)


def find_xpath(value: bytes) -> bytes | None:
    """The piece of an expression of XPath; None if there is none."""
    return first(XPATH, value)


def is_shown(value: bytes) -> bool:
    """Is it talk of a query, a search for one, or a program that has one?"""
    return is_worded(value) or is_search(value) or is_assignment(value)
