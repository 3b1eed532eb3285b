"""Values that become more than data where they are read: entities of XML, prototypes, serialised objects,
look-ups of loggers and frameworks. Knows nothing of where the value came from.
"""

from worker.security.detect.linear import first, linear
from worker.security.detect.talk import is_spoken, is_worded
from worker.security.detect.whole import is_code

XML = linear(
    rb"<!ENTITY\s+(?:%\s*)?[\w.:-]+\s+(?:SYSTEM|PUBLIC|[\"'])|<!DOCTYPE\s+[^>\[]*(?:\[|\bSYSTEM\s+[\"']|"
    rb"PUBLIC\s+[\"'][^\"']*[\"']\s+"
    rb"[\"'](?:file|ftp|php|jar|https?://(?:[^w\s]|w[^w])))|<(?:\w+:)?include\s[^>]*(?:href|parse)\s*=|"
    rb"xmlns:xi\s*=|<\?xml-stylesheet\s",
)
PROTOTYPE = linear(
    rb"__proto__(?:[^\s]|$)|\bconstructor\s*(?:\]|\.|\[|['\"]\s*:)\s*\[?\s*\{?\s*['\"]?prototype\b|"
    rb"\b__(?:define|"
    rb"lookup)[GS]etter__|"
    rb"\bObject\.prototype(?:\.\w+\s*(?:=[^=]|$)|\s*\[|$)|\[\s*['\"]?constructor['\"]?\s*\]\s*\[",
)
LOOKUP = linear(
    rb"\$\{\s*jndi\s*:[^\n]{0,40}[:/]{1,3}[^\s.}\x80-\xff/]|"
    rb"\$\{\s*(?:env|sys|java|lower|upper|date|ctx|main|docker|k8s|spring|bundle|script|dns|url|"
    rb"xml|base64decoder|\$\{|)\s*:[^\n]{0,200}|"
    rb"\$\{[^}]{0,40}\$\{[^}]{0,60}:-|\bjndi\s*:\s*(?:ldaps?|rmi|dns|iiop|corba|nis|nds|"
    rb"https?):/{0,4}[^\s./}]|"
    rb"j\}?\$?\{[^}]{0,20}ndi\s*:[\w$]",
)
FRAMEWORK = linear(
    rb"\bclass(?:\.|\[['\"]?)(?:module|protectiondomain)(?:\.|\])|\bclass\[['\"]?classloader|"
    rb"\bclassloader\b[.\[]|#_memberaccess|@ognl\.|\(#\w+\s*=|%\{\(?#|"
    rb"\bredirect(?:action)?:\$?%?\{|^redirect(?:action)?:(?:https?:)?//|"
    rb"#(?:attr|parameters|application|session|context)(?:\[['\"\w]|\.\w+\()|^#parameters\.|"
    rb"^[\"'][^\"']*[\"']\.execute\(\)|"
    rb"^\W*new\s+processbuilder\s*\(|"
    rb"xwork\.methodaccessor|allowstaticmethodaccess|spring\.cloud\.function\.routing-expression|"
    rb"\b(?:javax?|org|com|sun)\.(?:naming|rmi|script|management|apache\.(?:commons\.collections|xalan|"
    rb"wicket|struts)|"
    rb"springframework\.context|mchange|rowset|syndication|jdbc)\b[\w.$]*|!!(?:javax?|com|org|"
    rb"python/)[\w./:]+",
)
SERIALISED = linear(
    rb"\brO0AB[A-Za-z0-9+/]|\xac(?:\xc3)?\xed\x00\x05|\bH4sIAAAAAAAA|\baced0005|(?:^|"
    rb"[;{:])[OC]:\+?\d+:\"[\w\\]+\":\d+:\{|^a:\d+:\{.*[OC]:\d+:\"|"
    rb"_\$\$ND_FUNC\$\$_|\bAAEAAAD/{4,}|\bTVqQAAMAAAA|^gA[JNRS][A-Za-z0-9+/=]{18}|\bAQAAAP/{4,}8BAAAA|"
    rb"^BAh[bcovUV]|<dynamic-proxy>|\bjava\.beans\.|"
    rb"^(?:java\.(?:net|io|rmi|nio|awt)|javax|sun|com\.sun)\.[\w.$]+$|\x80[\x02-\x05](?:c|"
    rb"\xc2?\x95).{0,40}(?:posix|nt|"
    rb"os|builtins|subprocess)|"
    rb"(?:^|[(\n'])[ci](?:os|posix|nt|subprocess|__builtin__|builtins)\n(?:system|popen|eval|exec|getattr|"
    rb"call|"
    rb"check_output|globals)\b|\$type[\"']?\s*:\s*[\"'][\w.]+,\s*\w+|"
    rb"\"@type\"\s*:\s*\"[\w.$\[]+\"|"
    rb"!ruby/(?:object|hash|class|struct|regexp)|!<tag:yaml\.org,2002:\w+[./]|!!js/(?:function|regexp)|"
    rb"^json_class$|\"json_class\"\s*:|"
    rb"(?:^|\n)\(?dp\d\n|\bobjectdataprovider\b|\b(?:los|binary|objectstate)formatter\b|\bexpandedwrapper\b|"
    rb"^(?:system|microsoft)\.[\w.]+, ?[a-z][\w.]+|<(?:java|javax|jdk|sun|com\.sun|"
    rb"org\.apache)\.\w+[\w.]*[\s>/]|_\$\$ND_\w+\$\$_|"
    rb"^/wEy[A-Za-z0-9+/]{12}|"
    rb"^(?:org\.apache|org\.hibernate|com\.mchange|com\.zaxxer|ch\.qos|org\.codehaus|org\.mozilla|bsh|groovy|"
    rb"clojure|net\.sf)\.[\w.]+\.[a-z]\w+$|\bpy/(?:object|reduce|function|type|module|tuple)\b|"
    rb"\bJdbcRowSetImpl\b|<java(?:\s|>).{0,80}<object\s",
)


def find_xml(value: bytes) -> bytes | None:
    """A declaration by which XML reads other files; None if there is none."""
    return first(XML, value)


def find_prototype(value: bytes) -> bytes | None:
    """A way to the prototype of all objects; None if there is none."""
    return first(PROTOTYPE, value)


def shows_prototype(value: bytes) -> bool:
    """Is it a program that knows of prototypes, or talk of them?"""
    return is_worded(value) or is_code(value)


def speaks_of_xml(value: bytes) -> bool:
    """Do words stand before it, where a document of XML has nothing?"""
    return not value.lstrip().startswith((b"<", b"\xef\xbb\xbf")) and is_spoken(value)


def find_lookup(value: bytes) -> bytes | None:
    """A look-up that a logger would carry out; None if there is none."""
    return first(LOOKUP, value)


def find_framework(value: bytes) -> bytes | None:
    """An expression or a class that a framework would load; None if there is none."""
    return first(FRAMEWORK, value)


def find_serialised(value: bytes) -> bytes | None:
    """A serialised object; None if there is none."""
    return first(SERIALISED, value)
