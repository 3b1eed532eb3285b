"""Injection into queries other than SQL: operators of document databases, filters of LDAP, expressions of
XPath.

Knows nothing of where the value came from.
"""

from worker.security.detect.linear import first, linear

_OPERATORS = (
    rb"(?:ne|gt|gte|lt|lte|eq|in|nin|regex|where|exists|or|and|not|nor|expr|type|mod|text|all|size|"
    rb"elemMatch|jsonSchema|function|"
    rb"accumulator|lookup|merge|out|set|unset|inc|push|options)"
)
DOCUMENT = linear(
    rb"\[\s*['\"]?\$"
    + _OPERATORS
    + rb"['\"]?\s*\]|['\"{,]\s*['\"]?\$"
    + _OPERATORS
    + rb"['\"]?\s*:|^\$"
    + _OPERATORS
    + rb"$|"
    rb"['\"]\s*[;|&]{1,2}\s*(?:return\b|this\.|sleep\s*\(|while\s*\(|var\s|db\.|it\b|1\s*==|'\w*'\s*==|"
    rb"true\b)|"
    rb"\bthis\.\w+\s*(?:==|!=|\.match|\[|>|<)|\bdb\.\w+\.(?:find|drop|insert|remove|update|aggregate|"
    rb"count)\s*\(|"
    rb"\bdb\.(?:getCollection\w*|version|stats|adminCommand|dropDatabase)\s*\(|"
    rb"['\"]\s*\|\|\s*['\"]?\w+['\"]?\s*={2,3}\s*['\"]?\w+",
)
DIRECTORY = linear(
    rb"\*\s*\)\s*\(|\)\s*\(\s*[|&!]|\)\s*\(\s*(?:uid|cn|ou|dc|sn|mail|user|userpassword|objectclass|"
    rb"samaccountname|givenname|password|"
    rb"memberof|homedirectory)\s*[~<>]?=|\(\s*[|&]\s*\(\s*\w+\s*[~<>]?=|\*\)\)\s*(?:%00|\x00|\(|$)|^\*\)\(|"
    rb"^\*?\)\s*%00|\)\)\s*\(\|",
)
XPATH = linear(
    rb"['\"]\s*(?:\]|or|and)\s*[/|]|\b(?:count|string-length|substring|name|text|doc|document|"
    rb"unparsed-text|position)\s*\(\s*(?:/|\)|\.|'|//|\d)"
    rb".{0,40}(?:=|>|<|\bor\b|\])|['\"]\s*\]\s*(?:\||/)|\b(?:child|parent|ancestor|descendant|following|"
    rb"preceding|self)(?:-or-self)?::|"
    rb"//\w*\[|/\*\[\d",
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
